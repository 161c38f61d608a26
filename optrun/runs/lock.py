"""One process at a time works on a run, or drives a sweep.

The lock is the kernel's (`flock` on the file .lock), so it ends with its process, however that dies, within a
millisecond: there is no stale lock, nothing to clean up, and what the file says is only for the error message.

A lock belongs to the open file, and a forked child shares it: a DataLoader worker that outlives a killed training
would keep the run locked. Therefore each child of a fork closes its copy at once. (A program started by one never
has it: Python's files do not pass through an exec.)
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, Self

from optrun.errors import RunLocked
from optrun.runs import files
from optrun.runs.layout import Layout, SweepLayout

__all__ = ["GroupLock", "Held", "Lock", "host_of", "is_locked", "sweep_up"]

_TAKEN = {errno.EAGAIN, errno.EACCES}
_ATTEMPTS = 200
"""Of 2.5 ms on average. They are needed only while others look whether the lock is held, which takes microseconds."""


class Held(Protocol):
    """What is held until `release`, or to the end of a `with` block."""

    def release(self) -> None: ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *exception: object) -> None: ...


class Lock:
    """Holds the lock of `directory` until `release`, the end of the `with` block, or the death of the process.

    Raises RunLocked, at once, if another process (or this one, elsewhere) holds it, and RunError if the directory
    or its file system has no place for a lock.
    """

    def __init__(self, directory: Path) -> None:
        path = Layout(directory).lock
        with files.reporting("lock", path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
            _held.add(self)
            try:
                if not _take(self._file):
                    raise _in_use(directory, _holder(self._file))
                if (group := _group_of(directory)) is not None:
                    raise _in_use(directory, group)
            except BaseException:
                self._close()
                raise
        with suppress(OSError):  # a full disk: the lock holds all the same, and only its message knows less
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"process {os.getpid()} on {platform.node()}".encode(), 0)

    def release(self) -> None:
        """Let go of the lock. The file stays: were it removed, two processes could each lock their own."""
        if self._file >= 0:
            with suppress(OSError):
                os.ftruncate(self._file, 0)
            # Not only by closing: a child that a C library forked may still have a copy.
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._close()

    def _close(self) -> None:
        _held.discard(self)
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


class GroupLock:
    """Holds the locks of many runs of one sweep by one file in the sweep's directory, until `release` or death.

    `member` gives what an `Experiment` holds of it. Raises RunError if there is no place for the file.
    """

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self.directory = directory
        groups = SweepLayout(directory).groups
        with files.reporting("lock", groups):
            files.make_directory(groups, exist_ok=True)
            self.path = groups / f"{os.getpid()}-{os.urandom(8).hex()}"
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(self.path, flags, 0o666)
            _held.add(self)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            lines = [f"process {os.getpid()} on {platform.node()}", *names]
            os.write(self._file, "".join(f"{line}\n" for line in lines).encode())

    def member(self, directory: Path) -> Held:
        """The lock of a run of the group. Raises RunLocked if another process works on the run."""
        holder = "another process" if _own_is_taken(directory) else _group_of(directory, besides=self.path)
        if holder is not None:
            raise _in_use(directory, holder)
        return _Member()

    def release(self) -> None:
        """Let go of all of them; nothing is left of the file."""
        if self._file >= 0:
            with suppress(OSError):
                os.unlink(self.path)
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._close()

    def _close(self) -> None:
        _held.discard(self)
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


class _Member:
    """A run's part of a group's lock, which the group lets go of."""

    def release(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None: ...


_held: set[Lock | GroupLock] = set()


def _close_in_child() -> None:
    """After a fork: close the copies of all locks. Closing one does not unlock it in the parent."""
    for lock in list(_held):
        lock._close()


os.register_at_fork(after_in_child=_close_in_child)


def is_locked(directory: Path) -> bool:
    """Whether a process works on `directory`, this one included. Changes nothing on the disk."""
    return _own_is_taken(directory) or _group_of(directory) is not None


def host_of(directory: Path) -> str | None:
    """The machine whose process holds the lock, or held it when it died; None if it was let go, or never taken.

    Not every shared file system shows one machine the locks of another: there `is_locked` sees nothing, and this does.
    """
    with suppress(OSError):
        _, found, host = Layout(directory).lock.read_bytes()[:200].decode(errors="replace").partition(" on ")
        return host if found and host.isprintable() else None
    return None


def _own_is_taken(directory: Path) -> bool:
    file = _to_look_at(Layout(directory).lock)
    if file is None:
        return False
    try:
        return not _try(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


def _group_of(directory: Path, besides: Path | None = None) -> str | None:
    """Who trains the run in `directory` in a group, if anybody does, `besides` the one with that file."""
    groups = SweepLayout(directory.parent).groups
    try:
        paths = list(os.scandir(groups))
    except OSError:
        return None
    for path in paths:
        file = _to_look_at(Path(path)) if Path(path) != besides else None
        if file is None:
            continue
        try:
            if not _try(file, fcntl.LOCK_SH):
                holder, *names = os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace").splitlines() or [""]
                if directory.name in names:
                    return holder if holder.isprintable() else "another process"
        finally:
            os.close(file)
    return None


def sweep_up(directory: Path) -> None:
    """Remove what groups of the sweep in `directory` have left that were killed. Whoever holds the sweep's own lock may
    do so: nobody begins a group meanwhile."""
    groups = SweepLayout(directory).groups
    with suppress(FileNotFoundError):
        for path in groups.iterdir():
            file = _to_look_at(path)
            if file is not None:
                if _try(file, fcntl.LOCK_EX):
                    path.unlink(missing_ok=True)
                os.close(file)


def _to_look_at(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None


def _take(file: int) -> bool:
    """Lock `file`; False if somebody holds it. Who only looks, in `is_locked`, shares it for a moment: that passes."""
    for _ in range(_ATTEMPTS):
        if _try(file, fcntl.LOCK_EX):
            return True
        if not _try(file, fcntl.LOCK_SH):
            return False
        fcntl.flock(file, fcntl.LOCK_UN)
        # Different for each, or two would meet again; from the system, as Python's generator belongs to the training.
        time.sleep(os.urandom(1)[0] / 50_000)
    return False


def _try(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def _in_use(directory: Path, holder: str) -> RunLocked:
    host = holder.partition(" on ")[2] or host_of(directory)
    return RunLocked(f"{directory} is in use by {holder}; wait for it, or stop it", host)


def _holder(file: int) -> str:
    with suppress(OSError):
        text = os.pread(file, 200, 0).decode(errors="replace").strip()
        if text and text.isprintable():
            return text
    return "another process"
