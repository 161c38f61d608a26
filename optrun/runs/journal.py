"""Runs that are written on one machine and kept on another, which share no file system.

A `Journal` stands in the place of `files.system` where a run is trained, and keeps what is done to its files, call by
call. A `Copy`, where the run is kept, does the same calls in the same order. So whatever becomes of either machine, the
copy is at any time what a run leaves that was killed between two of its calls: good to be read and to be resumed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from optrun.runs import files
from optrun.runs.layout import Layout

__all__ = ["PIECE", "Call", "Copy", "Journal", "packed", "unpack"]

Call = tuple[Any, ...]
"""The name of a method of `System`, and its arguments; paths are relative, and files are numbers."""

PIECE = 8 << 20
"""Bytes written by one call at most, so that a large checkpoint crosses the network in pieces."""


class Journal(files.System):
    """Does what it is asked, and keeps those calls that change one of the directories `names` in `root`.

    Nothing is brought to this machine's disk: these files are not those that must outlive it.
    """

    def __init__(self, root: Path, names: Collection[str]) -> None:
        self.root, self.names = root, names
        self.calls: list[Call] = []
        self._followed: set[int] = set()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """In the block the files of this process are written by it."""
        before, files.system = files.system, self
        try:
            yield
        finally:
            files.system = before

    def taken(self) -> Iterator[list[Call]]:
        """The calls since the last time, about a `PIECE` at a time."""
        calls, self.calls = self.calls, []
        part: list[Call] = []
        size = 0
        for call in calls:
            part.append(call)
            size += len(call[2]) if call[0] == "write" else 0
            if size >= PIECE:
                yield part
                part, size = [], 0
        if part:
            yield part

    def open(self, path: Path, flags: int) -> int:
        file = super().open(path, flags)
        if (name := self._name(path)) is not None:
            self._followed.add(file)
            self.calls.append(("open", file, name, flags))
        return file

    def write(self, file: int, data: memoryview) -> int:
        written = super().write(file, data[:PIECE])
        if file in self._followed:
            self.calls.append(("write", file, bytes(data[:written])))
        return written

    def truncate(self, file: int, size: int) -> None:
        super().truncate(file, size)
        self._keep_of(file, "truncate", file, size)

    def fsync(self, file: int) -> None:
        self._keep_of(file, "fsync", file)

    def close(self, file: int) -> None:
        super().close(file)
        self._keep_of(file, "close", file)
        self._followed.discard(file)

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self._keep("rename", old, new)

    def link(self, old: Path, new: Path) -> None:
        super().link(old, new)
        self._keep("link", old, new)

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._keep("unlink", path)

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self._keep("mkdir", path)

    def _keep_of(self, file: int, *call: Any) -> None:
        if file in self._followed:
            self.calls.append(call)

    def _keep(self, kind: str, *paths: Path) -> None:
        names = [self._name(path) for path in paths]
        if None not in names:
            self.calls.append((kind, *names))

    def _name(self, path: Path) -> str | None:
        """The path from the root, if it is to be followed."""
        if path == self.root:
            return "."
        if not path.is_relative_to(self.root):
            return None
        name = path.relative_to(self.root)
        return str(name) if name.parts[0] in self.names else None


class Copy:
    """Does the calls of a journal again, in the directories `names` of `root`, whose locks the caller holds."""

    def __init__(self, root: Path, names: Collection[str]) -> None:
        self.root, self.names = root, names
        self._files: dict[int, int] = {}

    def follow(self, calls: Iterable[Call]) -> None:
        """Raises OSError if the disk does not take it: then the copy stays behind, and must not be gone on with."""
        for kind, *arguments in calls:
            getattr(self, f"_{kind}")(*arguments)

    def close(self) -> None:
        """No further calls come."""
        for file in self._files.values():
            with suppress(OSError):
                files.system.close(file)
        self._files.clear()

    def _path(self, name: str) -> Path:
        path = self.root / name
        inside = Path(name).parts
        if ".." in inside or (inside and inside[0] not in self.names):
            raise ValueError(f"{name} is in none of the runs")
        return path

    def _open(self, file: int, name: str, flags: int) -> None:
        self._files[file] = files.system.open(self._path(name), flags)

    def _write(self, file: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[files.system.write(self._files[file], rest) :]

    def _truncate(self, file: int, size: int) -> None:
        files.system.truncate(self._files[file], size)

    def _fsync(self, file: int) -> None:
        files.system.fsync(self._files[file])

    def _close(self, file: int) -> None:
        files.system.close(self._files.pop(file))

    def _rename(self, old: str, new: str) -> None:
        files.system.rename(self._path(old), self._path(new))

    def _link(self, old: str, new: str) -> None:
        files.system.link(self._path(old), self._path(new))

    def _unlink(self, name: str) -> None:
        files.system.unlink(self._path(name))

    def _mkdir(self, name: str) -> None:
        files.system.mkdir(self._path(name))


def packed(directory: Path) -> dict[str, bytes | None]:
    """What there is in the run in `directory`, by its path from there: files, unfinished ones included, and None for
    a directory, so that one that is empty is not made twice. No links, and not its lock.

    Raises OSError.
    """
    lock = Layout(directory).lock
    found = [path for path in sorted(directory.rglob("*")) if not path.is_symlink() and path != lock]
    directories = {str(path.relative_to(directory)): None for path in found if path.is_dir()}
    return directories | {str(path.relative_to(directory)): files.read(path) for path in found if path.is_file()}


def unpack(content: Mapping[str, bytes | None], directory: Path) -> None:
    """Make `directory`, with what was packed in it. Raises OSError."""
    directory.mkdir(parents=True)
    for name, data in content.items():
        if data is None:
            (directory / name).mkdir()
        else:
            (directory / name).write_bytes(data)
