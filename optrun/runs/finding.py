"""Which runs a command means: paths, globs, names, or the beginnings of names."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from glob import glob
from pathlib import Path

from optrun.errors import NoRunsYet, NotARun
from optrun.runs.layout import Layout, is_run
from optrun.runs.reader import Run, read

__all__ = ["directory_of", "find", "resolve", "runs_in"]

_DEPTH = 4
"""Levels of directories below the one that is searched: runs/<project>/<sweep>/<trial> and one to spare."""


def find(paths: Iterable[str | Path], runs_dir: Path) -> list[Run]:
    """The runs that `paths` mean, each once: runs, directories of runs (sweeps), globs, or names as in `resolve`.

    No paths: all runs in `runs_dir`, which may be missing. What exists and is no directory holds no runs: a shell's
    glob names every file of a sweep. Raises NoRunsYet where nothing holds any, NotARun for what does not exist.
    """
    words = list(map(str, paths))
    if not words:
        return _read_all(runs_in(runs_dir))
    found: dict[str, Path] = {}
    for text in words:
        matches = _matches(text) or _matches(os.path.join(runs_dir, text)) or [_named_or_near(text, runs_dir)]
        for directory in (run for match in matches for run in runs_in(match)):
            found.setdefault(os.path.realpath(directory), directory)
    if not found:
        raise NoRunsYet(f"there are no runs in {', '.join(words)}")
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


def _named_or_near(text: str, runs_dir: Path) -> Path:
    """The run that is called so. Raises NotARun, naming the directory that may be meant."""
    try:
        return resolve(text, runs_dir)
    except NotARun:
        above, name = os.path.split(text)
        directories = [os.path.join(above, each) for each in _directories(above or ".")] + _directories(str(runs_dir))
        near = difflib.get_close_matches(text, directories, n=1) if name else []
        if not near:
            raise
        raise NotARun(f"there is no {text}; did you mean {near[0]}?") from None


def _directories(above: str) -> list[str]:
    """The names of those in the directory `above`."""
    with suppress(OSError), os.scandir(above) as entries:
        return [entry.name for entry in entries if entry.is_dir()]
    return []


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


def directory_of(text: str | Path, runs_dir: Path) -> Path:
    """The directory that a command's PATH means, a path or a name in `runs_dir`: a run, a sweep, or one of such.

    Raises NotARun, naming the directory that may be meant.
    """
    here = next((path for path in (Path(text), runs_dir / text) if path.is_dir()), None)
    return here or _named_or_near(str(text), runs_dir)


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
