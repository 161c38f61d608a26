"""The reader of run directories, for every command that shows runs. It writes nothing, and needs no torch.

What it meets may be half-written by a running process, torn by a dead one or mangled by anybody: that is reported in
`Run.problems`, the rest is read, and nothing of it is raised.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Any

from optrun.errors import ConfigError, NotARun
from optrun.runs import files
from optrun.runs.layout import Layout, is_run
from optrun.runs.lock import is_locked

__all__ = ["Run", "find", "read", "resolve", "row_of", "runs_in"]

Number = float | int | None

_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("run", "name", "status", "config_hash", "engine", "error"), str),
    **dict.fromkeys(("epochs", "steps", "parameters"), int),
    **dict.fromkeys(("train_time", "wall_time", "samples_per_second", "clipped_fraction"), (int, float)),
    **dict.fromkeys(("final", "best", "target"), dict),
}
"""What a summary holds under each key, if not null. Keys that are not here are passed on as they are."""

_DEPTH = 4
"""Levels of directories below the one that is searched: runs/<project>/<sweep>/<trial> and one to spare."""


@dataclass
class Run:
    """What is known of the run in `path`. `problems` are sentences on what could not be read; reading adds to them."""

    path: Path
    summary: dict[str, Any]
    """summary.json, its numbers all numbers again; {} if there is none. Every known key has its type, or is null."""
    status: str
    """`running | completed | failed | diverged | interrupted | pruned`; one that says `running`, and is not, is
    `interrupted`."""
    problems: list[str] = field(default_factory=list)

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.yaml as plain data, not judged; {} if it cannot be read."""
        from optrun.config import document  # imports yaml, which takes longer than reading all summaries

        path = Layout(self.path).config
        try:
            return dict(document.parse(files.read(path), str(path)).data)
        except ConfigError as error:
            self.problems.append(str(error))
        except OSError as error:
            self.problems.append(f"{path}: it cannot be read: {error.strerror}")
        return {}

    @cached_property
    def environment(self) -> dict[str, Any]:
        """environment.json; {} if it cannot be read."""
        return _read_object(Layout(self.path).environment, self.problems)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl so far, in order: keys `step`, `epoch`, `time`, `train/loss`, …

        Each value is a number, None or a list of numbers, and `step` is there. A last line that is still being written
        is no problem; other lines that are no rows are.
        """
        path = Layout(self.path).metrics
        try:
            lines = files.read(path).split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        except OSError as error:
            self._complain(f"{path}: it cannot be read: {error.strerror}")
            return []
        rows = [row_of(line) for line in lines]
        mangled = [number for number, row in enumerate(rows, 1) if row is None]
        if mangled:
            lines_are = "1 line is no row" if len(mangled) == 1 else f"{len(mangled)} lines are no rows"
            self._complain(f"{path}:{mangled[0]}: {lines_are}, and left out")
        return [row for row in rows if row is not None]

    def _complain(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def read(path: Path) -> Run:
    """The run in the directory `path`. Raises NotARun if that is none."""
    if not is_run(path):
        raise NotARun(f"{path} is not a run: it has no config.yaml")
    summary, status, problems = _read_summary(path)
    if status == "running" and not is_locked(path):
        # It may have ended between the two looks, and then its summary, written before it let go, says how.
        summary, status, problems = _read_summary(path)
        if status == "running" and not is_locked(path):
            status = "interrupted"
    return Run(path, summary, status, problems)


def find(paths: Iterable[str | Path], runs_dir: Path) -> list[Run]:
    """The runs that `paths` mean, each once: runs, directories of runs (sweeps), globs, or names as in `resolve`.

    No paths: all runs in `runs_dir`, which may be missing. Raises NotARun for a path without any run.
    """
    paths = list(paths)
    if not paths:
        return _read_all(runs_in(runs_dir))
    found: dict[str, Path] = {}
    for text in map(str, paths):
        matches = _matches(text) or _matches(os.path.join(runs_dir, text))
        directories = [run for match in matches for run in runs_in(match)]
        for directory in directories or [resolve(text, runs_dir)]:
            found.setdefault(os.path.realpath(directory), directory)
    return _read_all(found.values())


def _read_all(paths: Iterable[Path]) -> list[Run]:
    """The runs in `paths`, without those that were removed meanwhile."""
    runs = []
    for path in paths:
        with suppress(NotARun):
            runs.append(read(path))
    return runs


def _matches(pattern: str) -> list[Path]:
    """The path itself if it exists, though there be a `*` in it, or else what it matches as a glob."""
    return [Path(name) for name in ([pattern] if os.path.exists(pattern) else sorted(glob(pattern)))]


def resolve(text: str | Path, runs_dir: Path) -> Path:
    """The run directory that a command's RUN means: a path, a name in `runs_dir` or its beginning, or `last`.

    `last` is the run started last, be it in a sweep. Raises NotARun, naming those that could be meant.
    """
    text = str(text)
    if text and is_run(Path(text)):
        return Path(text)
    if os.path.isdir(text) and (inside := next(runs_in(Path(text)), None)):
        raise NotARun(f"{text} is a directory of runs; name one of them, such as {inside}")
    runs = {str(path.relative_to(runs_dir)): path for path in runs_in(runs_dir)}
    if not runs:
        raise NotARun(f"there is no run {text}: {runs_dir} holds no runs")
    newest_first = sorted(runs, key=lambda name: -_started(runs[name]))
    names = newest_first[:1] if text == "last" else _named(text, newest_first)
    if len(names) == 1:
        return runs[names[0]]
    if names:
        more = f", and {len(names) - 3} more" if len(names) > 3 else ""
        raise NotARun(f"{len(names)} runs are called {text}…: {', '.join(names[:3])}{more}; name one of them")
    near = difflib.get_close_matches(text, runs, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the newest is {newest_first[0]}"
    raise NotARun(f"there is no run {text} in {runs_dir}; {hint}")


def _named(text: str, names: list[str]) -> list[str]:
    """Those of `names` (`run`, `sweep/trial`) that are `text`, with or without the sweep, or that begin with it."""
    whole = [name for name in names if f"/{name}".endswith(f"/{text}")]
    return whole or [name for name in names if text and f"/{text}" in f"/{name}"]


def runs_in(directory: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """The run directories at and below `directory`, at each level sorted by name; hidden ones are left out."""
    if is_run(directory):
        yield directory
    elif depth:
        try:
            with os.scandir(directory) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        except OSError:
            return
        for name in names:
            yield from runs_in(directory / name, depth - 1)


def _started(run: Path) -> int:
    """Nanoseconds since 1970 when config.yaml, a run's first file, was written; 0 if it has just disappeared."""
    try:
        return os.stat(Layout(run).config).st_mtime_ns
    except OSError:
        return 0


def _read_summary(run: Path) -> tuple[dict[str, Any], str, list[str]]:
    """The summary, the status it gives (`running` if it gives none, as before it is first written), and problems."""
    path, problems = Layout(run).summary, list[str]()
    summary = _read_object(path, problems)
    for key, kind in _KINDS.items():
        value = summary.get(key)
        if kind is not str:
            value = _with_numbers(value)
        if value is not None and not isinstance(value, kind):
            problems.append(f"{path}: {key} is not what it should be, and left out")
            value = None
        if key in summary:
            summary[key] = value
    for table in ("final", "best"):
        for key, value in (summary.get(table) or {}).items():
            if not isinstance(value, Number | str):
                problems.append(f"{path}: {table} {key} is not what it should be, and left out")
                summary[table] = {**summary[table], key: None}
    return summary, summary.get("status") or "running", problems


def _read_object(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        value = json.loads(files.read(path))
    except FileNotFoundError:
        return {}
    except OSError as error:
        problems.append(f"{path}: it cannot be read: {error.strerror}")
        return {}
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        problems.append(f"{path}: it is damaged, and left out")
        return {}
    return value


def row_of(line: bytes) -> dict[str, Any] | None:
    """The row in a line of metrics.jsonl; None if it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if b'"NaN"' in line or b'Infinity"' in line:
        row = _with_numbers(row)
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) and _are_numbers(row.values()) else None


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, Number) or (isinstance(value, list) and _are_numbers(value)) for value in values)


def _with_numbers(value: Any) -> Any:
    """`value` with the words for NaN and the infinities as floats again."""
    if isinstance(value, str):
        return _WORDS.get(value, value)
    if isinstance(value, dict):
        return {key: _with_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_numbers(item) for item in value]
    return value
