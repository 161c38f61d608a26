"""The reader of a run directory, for every command that shows runs. It writes nothing, and needs no torch.

What it meets may be half-written by a running process, torn by a dead one or mangled by anybody: that is reported in
`Run.problems`, the rest is read, and nothing of it is raised.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from optrun.errors import ConfigError, NotARun
from optrun.runs import files
from optrun.runs.layout import Layout, is_run
from optrun.runs.lock import is_locked

__all__ = ["Run", "environment_of", "read", "row_of"]

Number = float | int | None

_LATEST = 1 << 15
"""Bytes at the end of metrics.jsonl in which whoever watches a run looks for its rows."""

_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("run", "name", "status", "config_hash", "engine", "error"), str),
    **dict.fromkeys(("epochs", "steps", "parameters"), int),
    **dict.fromkeys(("train_time", "wall_time", "samples_per_second", "clipped_fraction"), (int, float)),
    **dict.fromkeys(("final", "best", "target"), dict),
}
"""What a summary holds under each key, if not null. Keys that are not here are passed on as they are."""


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
        return environment_of(self.path, self.problems)

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

    def latest_rows(self) -> list[dict[str, Any]]:
        """The last of the rows, as many as tell how a run goes; what is none of them is left out."""
        path = Layout(self.path).metrics
        try:
            with path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LATEST))
                is_whole = file.tell() == 0
                lines = file.read().split(b"\n")[:-1]
        except OSError:
            return []
        return [row for line in lines[0 if is_whole else 1 :] if (row := row_of(line)) is not None]

    def _complain(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def environment_of(run: Path, problems: list[str] | None = None) -> dict[str, Any]:
    """environment.json of the run in that directory; {} if it cannot be read, which is added to `problems`."""
    return _read_object(Layout(run).environment, [] if problems is None else problems)


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
            if not isinstance(value, str | None if table == "best" and key in ("metric", "mode") else Number):
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
