"""Checkpoints: the whole state of a run in one file that is either good or known to be damaged.

A checkpoint is what `torch.save` writes, a zip archive, with a seal in the archive's comment: the SHA-256 of
everything before it. `torch.load(path, weights_only=True)` reads it like any other; `load` checks the seal first and
goes back to the checkpoint before if it is broken. Nothing in a checkpoint is ever executed.

A state is a dict of tensors, numbers, strings, None, and dicts, lists and tuples of these.
"""

from __future__ import annotations

import collections
import hashlib
import io
from typing import TYPE_CHECKING, Any, Literal

from optrun.errors import CheckpointError
from optrun.runs import files

if TYPE_CHECKING:
    from pathlib import Path

    from optrun.runs.layout import Layout

__all__ = ["Keep", "exists", "load", "read", "remove_all", "save", "tidy"]

Keep = Literal["all", "last", "none"]

_SEAL = b"optrun 1 sha256 "
_SEAL_LENGTH = len(_SEAL) + 64
_END_OF_ARCHIVE = b"PK\x05\x06"
"""The zip format's last record is 22 bytes, the last two of them the length of the comment that follows (APPNOTE.TXT,
4.3.16, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT)."""


def save(paths: Layout, state: dict[str, Any], *, kind: Literal["last", "best"] = "last") -> None:
    """Write `state` as the run's last or best checkpoint; it is on the disk when this returns.

    The last checkpoint so far becomes the previous one. Killed at any instant, or out of space, the run has a good
    last checkpoint, the old or the new one. Raises RunError if it cannot be written, TypeError if `state` holds
    something that `load` would refuse.
    """
    data = _pack(state)
    path = paths.last if kind == "last" else paths.best
    with files.reporting("write", path, paths.directory):
        _make_directory(paths.checkpoints)
        if kind == "last":
            files.write_keeping_old(path, data, paths.previous)
        else:
            files.write_atomically(path, data)


def load(paths: Layout) -> tuple[dict[str, Any], list[str]]:
    """The newest state that is whole, its tensors on the CPU, and notes: sentences on what was wrong with a newer one.

    Raises CheckpointError, with the reasons, if the run has no checkpoint that can be read.
    """
    reasons: list[str] = []
    for path in (paths.last, paths.previous):
        try:
            state = read(path)
        except CheckpointError as error:
            reasons.append(str(error))
        else:
            return state, [f"{reason}; the one before it, {path}, is used" for reason in reasons]
    raise CheckpointError("\n".join(reasons))


def read(path: Path) -> dict[str, Any]:
    """The state in the checkpoint `path`, its tensors on the CPU. Raises CheckpointError if it is not whole."""
    import torch

    try:
        data = files.read(path)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    if not _is_whole(data):
        raise CheckpointError(f"the checkpoint {path} is damaged: its content is not what its checksum says")
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whole, but not what `save` writes: who made it can have put anything into it
        raise CheckpointError(f"the checkpoint {path} holds more than data, and is not loaded") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"the checkpoint {path} holds no state of a run")
    return state


def exists(paths: Layout) -> bool:
    """Whether the run has a checkpoint to go on from, good or not."""
    return paths.last.exists() or paths.previous.exists()


def tidy(paths: Layout, keep: Keep) -> None:
    """When a run has ended: remove the checkpoints that `keep` does not ask for. Raises RunError.

    "all" keeps last, previous and best; "last" and "none" only the last, which "none" writes at the end alone.
    """
    surplus = [] if keep == "all" else [paths.previous, paths.best]
    leftovers = [files.temporary(path) for path in (paths.last, paths.previous, paths.best)]
    for path in surplus + leftovers:
        with files.reporting("remove", path):
            files.remove(path)


def remove_all(paths: Layout) -> None:
    """Remove every checkpoint that a resume would look at: the run then starts over. Raises RunError."""
    for path in (paths.last, paths.previous):
        with files.reporting("remove", path):
            files.remove(path)


def _make_directory(path: Path) -> None:
    """A link in its place could lead out of the run directory."""
    if path.is_symlink():
        raise NotADirectoryError(0, "its directory is a link")
    files.make_directory(path, exist_ok=True)


def _pack(state: dict[str, Any]) -> memoryview:
    """The bytes of a sealed checkpoint."""
    import torch

    buffer = io.BytesIO()
    if _is_plain(state):
        torch.save(_without_the_rest(state), buffer)
        return _seal(buffer)
    torch.save(state, buffer)
    buffer.seek(0)
    refused = torch.serialization.get_unsafe_globals_in_checkpoint(buffer)
    if refused:
        raise TypeError(f"a checkpoint holds tensors and plain values only, not {', '.join(sorted(refused))}")
    return _seal(buffer)


_PLAIN = (str, int, float, bool, bytes, type(None))


def _is_plain(value: Any) -> bool:
    """Whether there are only tensors and plain values in it, which every loader takes."""
    import torch

    if type(value) in (dict, collections.OrderedDict):
        return all(type(key) in _PLAIN and _is_plain(item) for key, item in value.items())
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return type(value) in (*_PLAIN, torch.Tensor, torch.nn.Parameter)


def _without_the_rest(value: Any) -> Any:
    """The state with copies of tensors that are views: torch would save all that they are views of."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.clone() if value.untyped_storage().nbytes() > value.nbytes else value
    if isinstance(value, dict):
        return type(value)((key, _without_the_rest(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return type(value)(map(_without_the_rest, value))
    return value


def _seal(buffer: io.BytesIO) -> memoryview:
    """The archive in `buffer` with its checksum as its comment."""
    assert buffer.getbuffer()[-22:-18] == _END_OF_ARCHIVE, "torch.save no longer ends in an empty comment"
    buffer.seek(-2, io.SEEK_END)
    buffer.write(_SEAL_LENGTH.to_bytes(2, "little"))
    buffer.write(_SEAL)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    buffer.write(digest.encode())
    return buffer.getbuffer()


def _is_whole(data: bytes) -> bool:
    content, seal = memoryview(data)[:-64], data[-_SEAL_LENGTH:]
    return seal == _SEAL + hashlib.sha256(content).hexdigest().encode()
