"""Where runs come from: when they were started, with which imported files, on which data (environment.json)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from optrun.config.labels import counted
from optrun.runs import reader
from optrun.runs.layout import Layout

if TYPE_CHECKING:
    from optrun.comparisons.grouping import Group

__all__ = ["Provenance", "mixtures", "provenance", "started"]


@dataclass(frozen=True)
class Provenance:
    """What results depend on and no config says; None where nobody knows."""

    imports: tuple[tuple[str, str], ...] | None
    """The files of `--import`: name and SHA-256."""
    data: str | None
    """The fingerprint of the data."""


def provenance(run: Path) -> Provenance:
    """Of the run in that directory."""
    known = reader.environment_of(run)
    listed, data = known.get("imports"), known.get("data_fingerprint")
    imports = None
    if isinstance(listed, list) and all(isinstance(each, dict) for each in listed):
        imports = tuple(sorted((os.path.basename(str(each.get("path"))), str(each.get("sha256"))) for each in listed))
    return Provenance(imports, data if isinstance(data, str) else None)


def started(run: Path) -> float:
    """When the run was begun, in seconds since 1970; where no environment says so, when its config was written."""
    with suppress(KeyError, TypeError, ValueError):
        return datetime.fromisoformat(reader.environment_of(run)["started"]).timestamp()
    with suppress(OSError):
        return os.stat(Layout(run).config).st_mtime
    return 0.0


def mixtures(groups: Sequence[Group]) -> list[str]:
    """Sentences on runs that are equal by their configs, and not by the code or the data that they were made with."""
    known = [(group.label, [provenance(each.path) for each in group.outcomes if each.counts]) for group in groups]
    code = [(label, {its.imports for its in of if its.imports is not None}) for label, of in known]
    data = [(label, {its.data for its in of if its.data is not None}) for label, of in known]
    versions = set().union(*(its for _, its in code))
    notes = []
    if mixed := [label for label, its in code if len(its) > 1]:
        notes.append(f"{_in(mixed)} not only the seed differs: the runs were made with different {_files(versions)}")
    elif len(versions) > 1:
        notes.append(f"not all groups were made with the same {_files(versions)}: a difference may be the code's")
    if mixed := [label for label, its in data if len(its) > 1]:
        notes.append(f"{_in(mixed)} not only the seed differs: the runs were made on different data")
    return notes


def _in(labels: Sequence[str]) -> str:
    return f"in {counted(len(labels), 'group')} ({'; '.join(labels[:3])}{'; …' if len(labels) > 3 else ''})"


def _files(versions: Iterable[tuple[tuple[str, str], ...]]) -> str:
    """The names of the files that differ."""
    listed = [dict(each) for each in versions]
    names = sorted({name for files in listed for name in files})
    return ", ".join(name for name in names if len({files.get(name) for files in listed}) > 1)
