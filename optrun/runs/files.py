"""The two ways in which optrun writes a file, and the system calls that both are made of.

- `write_atomically`: the whole file. Whatever happens, the old content is there or the new one, never a mixture.
- `LineFile`: line by line. A line is there whole or not at all.

Both survive the death of the process at any instant, and leave nothing half-written on a full disk. The functions
here raise OSError; `reporting` makes of it the sentence for the user.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from optrun.errors import RunError

__all__ = [
    "LineFile",
    "System",
    "make_directory",
    "read",
    "remove",
    "reporting",
    "size",
    "sync_directory",
    "temporary",
    "together",
    "write_atomically",
    "write_keeping_old",
]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_BLOCK = 1 << 16


class System:
    """The system calls that change a disk. A test puts one that fails, or dies, in the place of `files.system`."""

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC, 0o666)

    def write(self, file: int, data: memoryview) -> int:
        return os.write(file, data)

    def truncate(self, file: int, size: int) -> None:
        os.ftruncate(file, size)

    def fsync(self, file: int) -> None:
        os.fsync(file)

    def close(self, file: int) -> None:
        os.close(file)

    def rename(self, old: Path, new: Path) -> None:
        os.replace(old, new)

    def link(self, old: Path, new: Path) -> None:
        os.link(old, new)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def mkdir(self, path: Path) -> None:
        os.mkdir(path)


system = System()


class _Together(System):
    """A system whose files reach the disk later, by one call for all of them."""

    def __init__(self) -> None:
        self.is_asked = False
        """Whether there is something that should be on the disk."""

    def fsync(self, file: int) -> None:
        self.is_asked = True


@contextmanager
def together(directory: Path) -> Iterator[None]:
    """What is written in the block, on the file system of `directory`, is on the disk when the block has ended, and not
    before: for many small files that is a hundred times faster. The death of the process harms nothing meanwhile; a
    power cut can leave several runs without their newest files.

    Where the kernel cannot bring one file system to the disk, nothing is put off.
    """
    global system
    if _syncfs is None or type(system) is not System:
        yield
        return
    system = putting_off = _Together()
    try:
        yield
    finally:
        system = System()
        if putting_off.is_asked:
            _sync_file_system(directory)


def _sync_file_system(directory: Path) -> None:
    assert _syncfs is not None
    file = system.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _syncfs(file) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(directory))
    finally:
        system.close(file)


def _found_syncfs() -> Callable[[int], int] | None:
    """Linux has it, Python does not (https://man7.org/linux/man-pages/man2/syncfs.2.html)."""
    try:
        return ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None


_syncfs = _found_syncfs()


@contextmanager
def reporting(action: str, path: Path, run: Path | None = None) -> Iterator[None]:
    """Turn an OSError in the block into a RunError: what could not be done, why, and what to do about it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        again = f"`optrun resume {run}`" if run else "try again"
        if error.errno in _FULL:
            advice = f"free some space and {again}"
        elif error.errno in _FORBIDDEN:
            advice = f"allow it and {again}"
        else:
            advice = f"mend the cause and {again}"
        raise RunError(f"cannot {action} {path}: {reason[:1].lower()}{reason[1:]}; {advice}") from error


def temporary(path: Path) -> Path:
    """The name under which a new `path` is prepared: in the same directory, since a rename cannot leave a file system.

    It is always the same name, so what killed processes leave behind is one file at most, written over by the next.
    Hence one process at a time may write a path, which for a run directory its lock sees to.
    """
    return path.with_name(f".{path.name}.tmp")


def write_atomically(path: Path, data: bytes | memoryview, durable: bool = True) -> None:
    """Give `path` the content `data`. Raises OSError; then `path` is as it was.

    If not `durable`, a power cut in the next seconds may take the file along; the death of the process never does.
    """
    prepared = _prepare(path, data, durable)
    try:
        system.rename(prepared, path)
    except BaseException:
        _remove_quietly(prepared)
        raise
    if durable:
        sync_directory(path.parent)


def write_keeping_old(path: Path, data: bytes | memoryview, old: Path) -> None:
    """Like `write_atomically`; the file that was at `path` becomes `old`, which must be in the same directory.

    The old file gets its new name only after the new file has its own: if it is damaged, it cannot replace the good
    one at `old` while there is nothing better. At every instant `path` exists, if it did before.
    """
    prepared, kept = _prepare(path, data), temporary(old)
    try:
        remove(kept)
        linked = _link(path, kept, old)
        system.rename(prepared, path)
        if linked:
            system.rename(kept, old)
    except BaseException:
        _remove_quietly(prepared)
        _remove_quietly(kept)
        raise
    sync_directory(path.parent)


def _link(path: Path, kept: Path, old: Path) -> bool:
    """Give the file at `path` the second name `kept`; False if there is no such file, or it was moved to `old`."""
    try:
        system.link(path, kept)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # A file system without hard links (FAT, some network ones). For an instant there is no `path`, only `old`.
        with suppress(FileNotFoundError):
            system.rename(path, old)
        return False
    return True


def _prepare(path: Path, data: bytes | memoryview, durable: bool = True) -> Path:
    """Write `data` to the temporary file of `path`, if `durable` through to the disk, and return its name."""
    prepared = temporary(path)
    try:
        remove(prepared)
        # O_EXCL follows no link, so nothing outside the directory can be written through one that a stranger left.
        file = system.open(prepared, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            _write_all(file, data)
            if durable:
                system.fsync(file)
        finally:
            system.close(file)
    except BaseException:
        _remove_quietly(prepared)
        raise
    return prepared


def _write_all(file: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[system.write(file, rest) :]


def remove(path: Path) -> None:
    """Remove the file `path` if it exists."""
    with suppress(FileNotFoundError):
        system.unlink(path)


def _remove_quietly(path: Path) -> None:
    with suppress(OSError):
        remove(path)


def make_directory(path: Path, exist_ok: bool = False) -> None:
    """Make `path`, and its parents where they are missing. Raises FileExistsError, unless `exist_ok` and it is one."""
    try:
        system.mkdir(path)
    except FileNotFoundError:
        make_directory(path.parent, exist_ok=True)
        make_directory(path, exist_ok)
    except FileExistsError:
        if not (exist_ok and path.is_dir()):
            raise
    else:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Bring the names in the directory `path` to the disk; a rename is not safe from a power cut before that."""
    file = system.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        system.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):  # a file system that cannot do this
            raise
    finally:
        system.close(file)


def read(path: Path, last: int | None = None) -> bytes:
    """The content of a regular file, or its `last` bytes.

    Raises OSError, also for a pipe or a device, which could be read for ever.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        _check_regular(file.fileno(), path)
        if last is not None:
            file.seek(max(0, os.fstat(file.fileno()).st_size - last))
        return file.read()


def size(path: Path) -> int:
    """Bytes of the file at `path`; 0 if there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _check_regular(file: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))


class LineFile:
    """A file that grows line by line. Made if it is missing, cut to its first `keep` bytes and to whole lines.

    It is open only while it is written to. What `append` adds can be read at once and outlives the process; `sync`
    makes it outlive the machine.
    """

    def __init__(self, path: Path, keep: int | None = None) -> None:
        """Raises OSError; also for a link, which could lead out of the run directory."""
        self._path = path
        with self._opened() as file:
            if keep is not None and keep < _size(file):
                system.truncate(file, keep)
            _cut_torn_tail(file)

    @property
    def size(self) -> int:
        """Bytes in the file. Asked of the file: a count of our own would be wrong after an interrupted write."""
        return os.stat(self._path, follow_symlinks=False).st_size

    def append(self, lines: bytes) -> None:
        """Add lines, each of which ends in a newline. Raises OSError; then the file is as it was."""
        with self._opened() as file:
            before = _size(file)
            try:
                _write_all(file, lines)
            except BaseException:
                with suppress(OSError):  # then the next one to open the file cuts what is torn
                    system.truncate(file, before)
                raise

    def sync(self) -> None:
        """Bring all lines to the disk."""
        with self._opened() as file:
            system.fsync(file)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        file = system.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            _check_regular(file, self._path)
            yield file
        finally:
            system.close(file)


def _size(file: int) -> int:
    return os.fstat(file).st_size


def _cut_torn_tail(file: int) -> None:
    """Cut what follows the last newline: a line that was being written when the process or the disk gave up."""
    size = end = _size(file)
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        system.truncate(file, end)
