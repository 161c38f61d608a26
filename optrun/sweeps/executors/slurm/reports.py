"""Reports as lines of JSON in a file that the job writes and the driver reads, on whichever machine each is.

Not pickled: a sweep's directory may come from a stranger, and reading it must run nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from optrun.sweeps.executors.interface import Lost
from optrun.sweeps.tasks import Ended, Noted, Progressed, Refused, Verified

__all__ = ["Began", "Inbox", "Outbox", "Over", "Requeued", "Stopped", "is_over"]

FLUSH_SECONDS = 1.0
"""How long reports of progress wait for others in the job: each write is one that a file server has to make."""


@dataclass(frozen=True)
class Began:
    """A job works on the task, for the first time or again."""

    job: str


@dataclass(frozen=True)
class Requeued:
    """The work is saved, and its job is queued again."""


@dataclass(frozen=True)
class Stopped:
    """The work is saved, and its job waits for what becomes of it: to be killed, or to be queued again."""


@dataclass(frozen=True)
class Over:
    """There is nothing more to come."""


_KINDS: dict[str, type] = {
    kind.__name__: kind for kind in (Began, Ended, Lost, Noted, Over, Progressed, Refused, Requeued, Stopped, Verified)
}


class Outbox:
    """Appends reports to a file; what is not only progress is in the file at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[str] = []
        self._flushed = 0.0

    def put(self, report: Any) -> None:
        """Add a report. Raises OSError."""
        self._lines.append(json.dumps(_plain(report)) + "\n")
        said = report[1] if isinstance(report, tuple) else report
        if not isinstance(said, Progressed) or time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Let the driver see all of them. Closed, a file is what others see of it on a network file system."""
        text, self._lines = "".join(self._lines), []
        self._flushed = time.monotonic()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)


class Inbox:
    """Reads what has been added to a file since it was last asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def new(self) -> Iterator[Any]:
        """The reports that are there as whole lines; what is none is left out, and so is a file that is not there."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                whole, newline, _ = file.read().rpartition(b"\n")
        except OSError:
            return
        self._position += len(whole) + len(newline)
        for line in whole.split(b"\n"):
            try:
                yield _report(json.loads(line))
            except (ValueError, TypeError, KeyError, RecursionError):
                continue


def is_over(path: Path) -> bool:
    """Whether the last line of a file of reports is `Over`."""
    last = json.dumps(_plain(Over())).encode() + b"\n"
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - len(last)))
            return file.read() == last
    except OSError:
        return False


def _plain(report: Any) -> Any:
    if isinstance(report, tuple):
        return [_plain(part) for part in report]
    if is_dataclass(report) and not isinstance(report, type):
        return {"kind": type(report).__name__, **asdict(report)}
    return report


def _report(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_report(part) for part in value)
    if isinstance(value, dict):
        return _KINDS[value.pop("kind")](**value)
    return value
