"""The file of a sweep and the run that it varies, each with the overrides that are meant for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optrun.config import document as documents
from optrun.config.document import Document, KeyPath, Place, parse_value
from optrun.config.loading import ONLY_OF_SWEEPS, is_sweep
from optrun.config.overrides import Assignment, apply, assign
from optrun.config.sweep.reading import KeyReader
from optrun.config.text import legible
from optrun.config.types import shown
from optrun.errors import ConfigError, Problem

__all__ = ["Base", "open_sweep"]

Overrides = Sequence[str] | Mapping[str, Any]

_OF_BOTH = ("name", "notes", "tags")

_NO_OVERRIDES = {
    "base": "the base cannot be changed here; override its keys, such as optimizer.lr=0.1",
    "grid": "an override cannot set the grid; write --grid KEY=VALUE,VALUE for each axis",
}


@dataclass(frozen=True)
class Base:
    """The run that is varied."""

    document: Document
    stem: str
    """The name of the run, unless its config gives one."""
    folder: Path
    """Where the relative paths in its file start."""


def open_sweep(path: Path, overrides: Overrides, seeds: str | None) -> tuple[KeyReader, Base | None]:
    """The sweep in the file at `path`, and its base, with the overrides of each; no base if it cannot be read.

    A file with the config of a run is the base of a sweep that says nothing more. `seeds` are those of the command
    line. Raises ConfigError if the file itself cannot be read; other problems are the reader's.
    """
    whole = documents.read(path)
    problems: list[Problem] = []
    of_sweep = is_sweep(whole)
    to_sweep, to_base = _routed(overrides, of_sweep, problems)
    if of_sweep:
        reader = KeyReader(_with_seeds(_changed(whole, to_sweep, problems), seeds, problems))
        base = _read_base(reader, path)
        if base is not None:
            base = Base(_changed(base.document, to_base, problems), base.stem, base.folder)
    else:
        run = _changed(_of_a_run(whole, problems), to_base, problems)
        base = Base(run, path.stem, path.parent)
        named = {"name": run.data["name"]} if "name" in run.data else {}
        places: dict[KeyPath, Place] = {(): run.place(()), ("name",): run.place(("name",))}
        sweep = _changed(Document(named, whole.source, places, places), to_sweep, problems)
        reader = KeyReader(_with_seeds(sweep, seeds, problems))
    _judge_seeds(reader, to_sweep, to_base, seeds)
    reader.problems.extend(problems)
    return reader, base


def _routed(overrides: Overrides, of_sweep: bool, problems: list[Problem]) -> tuple[Overrides, Overrides]:
    """Of overrides after a sweep (or else after the config of a run) those that change it, and those of its base."""
    own = (*ONLY_OF_SWEEPS, *_OF_BOTH) if of_sweep else ONLY_OF_SWEEPS
    to_sweep: list[Any] = []
    to_base: list[Any] = []
    for override, key, place in _each(overrides):
        first = key.partition(".")[0].strip()
        if first in _NO_OVERRIDES:
            problems.append(Problem(*place, first, _NO_OVERRIDES[first]))
        else:
            (to_sweep if first in own else to_base).append(override)
    return (dict(to_sweep), dict(to_base)) if isinstance(overrides, Mapping) else (to_sweep, to_base)


def _each(overrides: Overrides) -> Iterator[tuple[Any, str, Place]]:
    """Each override, its key, and its place."""
    for override in overrides.items() if isinstance(overrides, Mapping) else overrides:
        text = override if isinstance(override, str) else str(override[0])
        yield override, text.partition("=")[0].strip(), Place(f"override {legible(text, 80)}", 0, 0)


def _judge_seeds(reader: KeyReader, to_sweep: Overrides, to_base: Overrides, seeds: str | None) -> None:
    """Complain of overrides that seeds leave without effect."""
    if seeds is not None:
        for place in [place for _, key, place in _each(to_sweep) if key == "seeds"]:
            reader.problems.append(Problem(*place, "seeds", "stands beside --seeds; remove one of the two"))
    if reader.document.data.get("seeds") is not None:
        for place in [place for _, key, place in _each(to_base) if key == "seed"]:
            reader.problems.append(Problem(*place, "seed", "stands beside seeds; remove one of the two"))


def _changed(document: Document, overrides: Overrides, problems: list[Problem]) -> Document:
    try:
        return apply(document, overrides)
    except ConfigError as error:
        problems.extend(error.problems)
        return document


def _with_seeds(document: Document, text: str | None, problems: list[Problem]) -> Document:
    """The document with the seeds of the command line: `5` or `0,3,7`."""
    if text is None:
        return document
    place = Place(f"--seeds {legible(text, 80)}", 0, 0)
    try:
        data = parse_value(f"[{text}]" if "," in text and "[" not in text else text, place.source).data
    except ConfigError as error:
        problems.extend(Problem(*place, "seeds", problem.message) for problem in error.problems)
        return document
    if data is None:
        problems.append(Problem(*place, "seeds", "the value is missing; write --seeds 5 or --seeds 0,3,7"))
    return assign(document, [Assignment(("seeds",), Document(data, place.source, {(): place}, {(): place}))])


def _of_a_run(whole: Document, problems: list[Problem]) -> Document:
    """The document without keys of a sweep, about which it complains."""
    found = [key for key in ONLY_OF_SWEEPS if key in whole.data]
    message = "this is a key of a sweep, in the config of a run; put the run below base: or in a file of its own"
    problems.extend(Problem(*whole.place((key,)), key, message) for key in found)
    data = {key: value for key, value in whole.data.items() if key not in found}
    return Document(data, whole.source, whole.keys, whole.values)


def _read_base(reader: KeyReader, path: Path) -> Base | None:
    """The run at `base`; None with problems."""
    value, name = (reader.document.data.get(key) for key in ("base", "name"))
    if isinstance(value, Mapping):
        document = reader.document.inside(("base",))
        return _run(reader, Base(document, name if isinstance(name, str) else path.stem, path.parent), "this")
    if value is None or value == "":
        reader.complain(("base",), "the run to vary is missing; give its config, such as base: digits.yaml")
        return None
    if not isinstance(value, str):
        reader.complain(("base",), f"must be the path of a run's config, or the config itself, not {shown(value)}")
        return None
    try:
        document = documents.read(path.parent / value)
    except ConfigError as error:
        for problem in error.problems:
            if problem.line:
                reader.problems.append(problem)
            else:  # there is no such file, it is empty, …
                reader.complain(("base",), str(problem))
        return None
    return _run(reader, Base(document, Path(value).stem, (path.parent / value).parent), document.source)


def _run(reader: KeyReader, base: Base, called: str) -> Base | None:
    """The base, unless it is a sweep."""
    if not is_sweep(base.document):
        return base
    reader.complain(("base",), f"{called} is a sweep itself; a base is the config of one run")
    return None
