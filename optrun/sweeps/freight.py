"""The user's data on machines that do not have it: the files and folders that configs name, sent once to each."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from optrun.config.spec import Spec
from optrun.runs.journal import PIECE

__all__ = ["Freight", "Piece", "Stock", "freight", "pieces"]

_PATIENCE = 60.0
"""Seconds without a new byte after which whoever brings the data is held for dead."""

Piece = tuple[str, str | None, bytes]
"""The path of a file or folder at home, the name of a file in it, and bytes that follow there; None ends it."""


@dataclass(frozen=True)
class Freight:
    """A file or folder at home."""

    path: str
    files: tuple[tuple[str, int, int], ...]
    """Of each file: its name in the folder (`.` for a file itself), its bytes, and when it was changed, in ns."""

    @property
    def key(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()[:32]

    def is_at_home(self) -> bool:
        """Whether this machine sees the very same at the same path: it shares a file system, or has a faithful copy."""
        with contextlib.suppress(OSError):
            return _looked_at(self.path) == self
        return False


def freight(specs: Iterable[Spec]) -> list[Freight]:
    """What the data sets of configs name that exists. Raises OSError."""
    values = {value for spec in specs for value in spec.dataset.settings.values() if isinstance(value, str)}
    return [_looked_at(value) for value in sorted(values) if os.path.isabs(value) and os.path.exists(value)]


def pieces(given: Sequence[Freight], lacking: Sequence[str]) -> Iterator[Piece]:
    """The content of those that are lacking. Raises OSError."""
    for each in given:
        if each.path in lacking:
            for name, _, _ in each.files:
                with open(Path(each.path, name), "rb") as file:
                    yield each.path, name, file.read(PIECE)
                    while data := file.read(PIECE):
                        yield each.path, name, data
            yield each.path, None, b""


class Stock:
    """What of `given` there is on this machine, for all its processes, in `folder`."""

    def __init__(self, given: Sequence[Freight], folder: Path) -> None:
        self.given = {each.path: each for each in given}
        self.folder = folder
        self._coming = Path(tempfile.gettempdir(), "coming")
        """This process's own: whoever else receives the same does not disturb it."""

    def places(self) -> dict[str, str | None]:
        """Where each is here; None for those that are lacking."""
        return {path: self._place(each) for path, each in self.given.items()}

    def receive(self, path: str, name: str | None, data: bytes) -> None:
        """The next piece of one that was lacking. Raises OSError, also when it is not what it was at first."""
        each = self.given[path]
        coming = self._coming / each.key
        to = coming / Path(path).name
        if name is not None:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            with open(to / name, "ab") as file:
                file.write(data)
            return
        if any((to / of).stat().st_size != size for of, size, _ in each.files):
            raise OSError(f"{path} has changed while it was sent")
        if not each.files:
            to.mkdir(parents=True)
        with contextlib.suppress(OSError):  # somebody else was faster
            coming.rename(self.folder / each.key)

    def wait(self) -> None:
        """Until another process has received what is lacking, or is seen to receive nothing any more."""
        size, since = -1, time.monotonic()
        while any(place is None for place in self.places().values()) and time.monotonic() - since < _PATIENCE:
            with contextlib.suppress(FileNotFoundError):  # it has come
                now = sum(path.stat().st_size for path in self.folder.glob("worker-*/coming/**/*"))
                if now != size:
                    size, since = now, time.monotonic()
            time.sleep(0.2)

    def clear(self) -> None:
        """Forget what was received in part."""
        shutil.rmtree(self._coming, ignore_errors=True)

    def _place(self, each: Freight) -> str | None:
        here = self.folder / each.key / Path(each.path).name
        return each.path if each.is_at_home() else str(here) if here.exists() else None


def _looked_at(path: str) -> Freight:
    if not os.path.isdir(path):
        return Freight(path, (_stat(path, "."),))
    found = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    return Freight(path, tuple(sorted(_stat(file, os.path.relpath(file, path)) for file in found)))


def _stat(file: str, name: str) -> tuple[str, int, int]:
    known = os.stat(file)
    return name, known.st_size, known.st_mtime_ns
