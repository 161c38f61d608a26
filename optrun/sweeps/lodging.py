"""Where optrun keeps its files on a machine of a cluster: in one folder, which only its user can enter."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

from optrun.runs.lock import Lock, is_locked

__all__ = ["lodge", "lodging"]


def lodging() -> Path:
    """`optrun-<user>` in the temporary directory, where the next sweep finds it. Raises OSError if it is another's."""
    folder = Path(tempfile.gettempdir(), f"optrun-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    known = folder.lstat()
    if not stat.S_ISDIR(known.st_mode) or known.st_uid != os.getuid() or known.st_mode & 0o077:
        raise PermissionError(f"{folder} must be a directory of yours that only you can enter; remove it")
    return folder


def lodge(folder: Path) -> Lock:
    """Keep this process's temporary files in a folder of its own in `folder`, and remove those of processes that were
    killed. Holds the lock that is returned. Raises OSError."""
    door = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        for left in folder.glob("worker-*"):
            if not is_locked(left):
                shutil.rmtree(left, ignore_errors=True)
        own = tempfile.mkdtemp(prefix="worker-", dir=folder)
        lock = Lock(Path(own))
    finally:
        os.close(door)
    tempfile.tempdir = own
    return lock
