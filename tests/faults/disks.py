"""Disks that fail, processes that die between two system calls, files that are damaged afterwards."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import random
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from experiments import write_config
from test_resume import BASE
from test_runs import failing, killing

import optrun
from faults.kills import assert_same_run
from faults.processes import ended, go_on, started
from optrun.cli.app import run as command
from optrun.errors import CheckpointError
from optrun.runs import checkpoint, files
from optrun.runs.layout import Layout
from optrun.runs.reader import Run, read

__all__ = ["CALLS", "cut", "damaged", "failed_at_a_call", "killed_at_a_call"]

SMALL = {
    **BASE,
    "steps": 12,
    "log_every": 3,
    "checkpoint_every": {"steps": 5},
    "optimizer": {"name": "Adam", "lr": 0.01},
    "scheduler": {"name": "ExponentialLR", "gamma": 0.9},
    "clip_norm": 1.0,
}
CALLS = 20
"""Parts into which the system calls of a run are divided: trial i takes every 20th call, from the i-th on."""

_FOLDER = tempfile.TemporaryDirectory(prefix="faults-")


@functools.cache
def small() -> tuple[Path, Run]:
    """A small run that nothing happened to."""
    config = write_config(Path(_FOLDER.name, "small.yaml"), SMALL)
    assert ended(started(go_on, config, Path(_FOLDER.name, "small"))) == 0
    return config, read(Path(_FOLDER.name, "small"))


def _on(disk: Callable[..., files.System], n: int, more: tuple[Any, ...], config: Path, directory: Path) -> None:
    files.system = disk(n, *more)
    go_on(config, directory)


def killed_at_a_call(number: int, folder: Path) -> int:
    """The process dies before its n-th system call that changes the disk; then the run is gone on with."""
    config, whole = small()
    for tried, n in enumerate(range(number + 1, 1000, CALLS), 1):
        directory = folder / str(n)
        code = ended(started(_on, killing, n, (), config, directory))
        if code == 0:
            assert n > 60  # all of them were reached
            return tried
        assert code == -signal.SIGKILL
        _is_found(directory)
        assert ended(started(go_on, config, directory)) == 0
        assert_same_run(read(directory), whole)
        shutil.rmtree(directory)
    raise AssertionError("the run never ended")


def _is_found(directory: Path) -> None:
    """A run that is there can be read, and its checkpoints are whole."""
    if not Layout(directory).config.exists():
        return
    found = read(directory)
    assert found.status in ("interrupted", "failed", "completed")
    if checkpoint.exists(Layout(directory)):
        _, notes = checkpoint.load(Layout(directory))
        assert notes == []


def failed_at_a_call(number: int, folder: Path) -> int:
    """The n-th system call fails, for three reasons: one sentence, exit code 1, nothing lost, and on it goes."""
    config, whole = small()
    tried = 0
    for n in range(number + 1, 1000, CALLS):
        codes = set()
        for reason in (errno.ENOSPC, errno.EIO, errno.EACCES):
            directory = folder / f"{n}-{reason}"
            codes.add(ended(started(_on, failing, n, (reason,), config, directory)))
            tried += 1
            if directory.exists():
                _is_found(directory)
            assert ended(started(go_on, config, directory)) == 0
            assert_same_run(read(directory), whole)
            shutil.rmtree(directory)
        assert codes <= {0, 1}, codes
        if codes == {0} and n > 60:
            return tried
    raise AssertionError("the run never ended")


def damaged(number: int, folder: Path) -> int:
    """The newest checkpoint is not what it was: the one before it is used, and said so; never something else."""
    _, whole = small()
    layout = Layout(folder)
    for name in ("last.pt", "previous.pt"):
        layout.checkpoints.mkdir(exist_ok=True)
        shutil.copy(whole.path / "checkpoints" / name, layout.checkpoints)
    good = layout.last.read_bytes()
    before = checkpoint.read(layout.previous)
    layout.last.write_bytes(_damage(number, good))
    with pytest.raises(CheckpointError, match=re.escape(str(layout.last))):
        checkpoint.read(layout.last)
    state, notes = checkpoint.load(layout)
    assert state["step"] == before["step"]
    assert len(notes) == 1
    assert str(layout.previous) in notes[0]
    return 1


def _damage(number: int, good: bytes) -> bytes:
    dice = random.Random(number)
    match number:
        case 0:
            return b""
        case 1:
            return bytes(len(good))
        case 2:
            return good + b"\0"
        case 3:
            return good[:-1]
    if number % 7 == 0:
        return good[: dice.randrange(len(good))]
    flipped = bytearray(good)
    flipped[dice.randrange(len(good))] ^= 1 << dice.randrange(8)
    return bytes(flipped)


def cut(number: int, folder: Path) -> int:
    """A file cut at every byte of its last record: everything that reads it works, and the run goes on to its end."""
    config, whole = small()
    name = ("metrics.jsonl", "summary.json", "environment.json", "metrics.jsonl", "summary.json", "sweep.yaml")[number]
    if name == "sweep.yaml":
        return _cut_a_sweep(folder)
    directory = folder / "run"
    content = (whole.path / name).read_bytes()
    lengths = list(_lengths(content))
    for length in lengths:
        if number < 3 or length == lengths[0] or length % 40 == 0:
            shutil.copytree(whole.path, directory)
            (directory / name).write_bytes(content[:length])
            _everything_reads(folder)
            if number >= 3:  # once more from the beginning of the end
                assert ended(started(go_on, config, directory)) == 0
                assert read(directory).status == "completed"
            shutil.rmtree(directory)
    return len(lengths)


def _lengths(content: bytes) -> Iterator[int]:
    """Lengths that end within the last line, or for a document anywhere."""
    last = content.rstrip(b"\n").rfind(b"\n") + 1
    yield from range(last, len(content)) if content.startswith(b'{"step"') else range(0, len(content), 3)


def _everything_reads(folder: Path) -> None:
    for words in (["list"], ["show", "run"], ["compare"]):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            code = command([*words, "--runs-dir", str(folder), "--json", "--quiet"])
        assert code in (0, 2), (words, code)
    assert read(folder / "run").rows() is not None


def _cut_a_sweep(folder: Path) -> int:
    """The sweep's own file: the plan is written anew by the next start, whatever is left of it."""
    base = {**SMALL, "steps": 2}
    sweep = write_config(folder / "s.yaml", {"name": "s", "base": base, "seeds": 2})
    optrun.sweep(sweep, runs_dir=folder, executor="inline")
    path = folder / "s" / "sweep.yaml"
    content = path.read_bytes()
    lengths = range(0, len(content), max(1, len(content) // 40))
    for length in lengths:
        path.write_bytes(content[:length])
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert command(["compare", str(folder / "s"), "--json", "--quiet"]) == 0
    optrun.sweep(sweep, runs_dir=folder, executor="inline")
    assert path.read_bytes() == content
    return len(lengths)
