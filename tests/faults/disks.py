"""Disks that fail, processes that die between two system calls, files that are damaged afterwards."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from experiments import write_config
from sweeping import metrics
from test_resume import BASE
from test_runs import failing, killing

from faults.kills import assert_same_run
from faults.processes import ended, go_on, started
from optrun.cli.app import run as command
from optrun.config.loading import load
from optrun.errors import CheckpointError
from optrun.experiment import Experiment
from optrun.runs import checkpoint, files
from optrun.runs.layout import Layout, is_run
from optrun.runs.reader import Run, read

__all__ = ["CALLS", "CUTS", "FAILS", "as_if_killed", "cut", "damaged", "failed_at_a_call", "killed_at_a_call"]

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


def as_if_killed(run: Path) -> None:
    """The summary of a completed run says now what one says whose process was killed."""
    summary = run / "summary.json"
    summary.write_text(summary.read_text().replace('"completed"', '"running"'))


def _on(disk: Callable[..., files.System], n: int, more: tuple[Any, ...], config: Path, directory: Path) -> None:
    files.system = disk(n, *more)
    go_on(config, directory)


def killed_at_a_call(number: int, folder: Path) -> int:
    """The process dies before its n-th system call that changes the disk; then the run is gone on with."""
    config, whole = small()
    kept = 0
    for tried, n in enumerate(range(number + 1, 1000, CALLS)):
        directory = folder / str(n)
        code = ended(started(_on, killing, n, (), config, directory))
        if code == 0:
            assert n > 60  # all of them were reached
            return tried
        assert code == -signal.SIGKILL
        kept = _kept(directory, kept)
        assert ended(started(go_on, config, directory)) == 0
        assert_same_run(read(directory), whole)
        shutil.rmtree(directory)
    raise AssertionError("the run never ended")


def _kept(directory: Path, least: int) -> int:
    """The step that a run has kept: no earlier one than the `least` that it has when the fault comes sooner."""
    if not Layout(directory).config.exists():
        assert least == 0
        return 0
    assert read(directory).status in ("interrupted", "failed", "completed")
    step, notes = 0, []
    if checkpoint.exists(Layout(directory)):
        state, notes = checkpoint.load(Layout(directory))
        step = state["step"]
    assert notes == []
    assert step >= least
    return step


def failed_at_a_call(number: int, folder: Path) -> int:
    """The n-th system call fails, for three reasons: one sentence, exit code 1, nothing lost, and on it goes."""
    if number >= CALLS:
        return _full(number - CALLS, folder)
    config, whole = small()
    tried, kept = 0, 0
    for n in range(number + 1, 1000, CALLS):
        codes, found = set(), set()
        for reason in (errno.ENOSPC, errno.EIO, errno.EACCES):
            directory, said = folder / f"{n}-{reason}", folder / "said"
            code = ended(started(_commanded, n, reason, config, directory, said))
            _is_a_sentence(code, said.read_text(), reason)
            assert is_run(directory) or "optrun resume" not in said.read_text()
            codes.add(code)
            found.add(_kept(directory, kept))
            assert ended(started(go_on, config, directory)) == 0
            assert_same_run(read(directory), whole)
            shutil.rmtree(directory, ignore_errors=True)
        if codes == {0} and n > 60:
            return tried
        tried, kept = tried + 3, min(found)
    raise AssertionError("the run never ended")


def _is_a_sentence(code: int, said: str, reason: int) -> None:
    """What is said of a disk that fails, unless the run does without."""
    assert code in (0, 1), said
    assert said.count("\n") == code, said
    assert code == 0 or os.strerror(reason).lower() in said.lower(), said


def _commanded(n: int, reason: int, config: Path, directory: Path, said: Path) -> None:
    files.system = failing(n, reason)
    with said.open("w") as file, contextlib.redirect_stderr(file):
        code = command(["train", str(config), "--run-dir", str(directory), "--quiet"])
    os._exit(code)


FAILS = CALLS + 20
"""The last of them are disks that are too small, of 20 sizes."""

_ON_A_SMALL_DISK = """
mount -t tmpfs -o size={size}k small {disk} || exit 77
{python} -m optrun train {config} --run-dir {disk}/run --quiet
code=$?
cp -r {disk}/. {found}
mount -o remount,size=1g {disk}
cd {disk}
test -e run/config.yaml && again="resume run" || again="train {config} --run-dir run"
{python} -m optrun $again --quiet >/dev/null 2>&1 && cp -r {disk}/. {ended}
exit $code
"""


def _full(number: int, folder: Path) -> int:
    """A real disk that is full after some KiB, and has space later. None where nobody but root may mount one."""
    config, whole = small()
    size = 4 + number * 8
    for name in ("disk", "found", "ended"):
        (folder / name).mkdir()
    places = {name: folder / name for name in ("disk", "found", "ended")}
    script = _ON_A_SMALL_DISK.format(size=size, python=sys.executable, config=config, **places)
    if shutil.which("unshare") is None:
        return 0
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True)
    if "optrun" not in done.stderr + done.stdout and done.returncode in (1, 77):
        return 0
    _is_a_sentence(done.returncode, done.stderr, errno.ENOSPC)
    _kept(folder / "found" / "run", 0)
    assert_same_run(read(folder / "ended" / "run"), whole)
    return done.returncode


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
    if number < 4 or number % 50 == 0:
        _ends_in_spite_of(layout.last.read_bytes(), whole, folder / "run")
    return 1


def _ends_in_spite_of(damaged: bytes, whole: Run, directory: Path) -> None:
    """The command goes on from the checkpoint before, says so, and comes to the same end."""
    shutil.copytree(whole.path, directory)
    as_if_killed(directory)
    (directory / "checkpoints" / "last.pt").write_bytes(damaged)
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        assert command(["resume", str(directory)]) == 0
    assert "previous.pt" in err.getvalue()
    assert_same_run(read(directory), whole)


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


FILES = ("metrics.jsonl", "summary.json", "environment.json", "sweep.yaml")
PARTS = 20
"""Into which the bytes of each file are divided: of part i every 20th, from the i-th on."""
CUTS = len(FILES) * PARTS


def cut(number: int, folder: Path) -> int:
    """A file cut within its last record: everything that reads it works, and the run goes on to the same end."""
    part, name = divmod(number, len(FILES))
    if FILES[name] == "sweep.yaml":
        return _cut_a_sweep(part, folder)
    config, whole = small()
    killed, directory = _killed_on_the_way(), folder / "run"
    content = (killed / FILES[name]).read_bytes()
    record = content.rstrip(b"\n").rfind(b"\n") + 1 if name == 0 else 0  # a document is one record
    lengths = range(record + part, len(content), PARTS)
    for length in lengths:
        shutil.copytree(killed, directory)
        (directory / FILES[name]).write_bytes(content[:length])
        for words in (["list"], ["show", "run"], ["compare"]):
            assert _answered(*words, "--runs-dir", str(folder), "--json", "--quiet") in (0, 2), words
        assert len(read(directory).rows()) >= 2
        assert ended(started(go_on, config, directory)) == 0
        assert_same_run(read(directory), whole)
        shutil.rmtree(directory)
    return len(lengths)


@functools.cache
def _killed_on_the_way() -> Path:
    """What is left of the small run when it is killed after a row that its checkpoint does not know yet."""
    directory = Path(_FOLDER.name, "killed")
    assert ended(started(_die_after, 9, small()[0], directory)) == -signal.SIGKILL
    return directory


def _die_after(step: int, config: Path, directory: Path) -> None:
    experiment = Experiment.new(load(config), directory=directory)
    for event in experiment.events():
        if event.step == step:
            experiment.record.flush()
            os.kill(os.getpid(), signal.SIGKILL)


def _answered(*words: str) -> int:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return command(list(words))


def _cut_a_sweep(part: int, folder: Path) -> int:
    """The sweep's own file: the plan is written anew by the next start, whatever is left of it."""
    base = {**SMALL, "steps": 2}
    given = write_config(folder / "s.yaml", {"name": "s", "base": base, "seeds": 2})
    start = ["sweep", str(given), "--runs-dir", str(folder), "--executor", "inline", "--quiet"]
    assert _answered(*start) == 0
    sweep = folder / "s"
    content, rows = (sweep / "sweep.yaml").read_bytes(), metrics(sweep)
    lengths = range(part, len(content), PARTS)
    for length in lengths:
        (sweep / "sweep.yaml").write_bytes(content[:length])
        for words in (["compare", str(sweep)], ["list"], ["show", next(iter(rows))]):
            assert _answered(*words, "--runs-dir", str(sweep), "--json", "--quiet") == 0, words
        assert _answered(*start) == 0
        assert (sweep / "sweep.yaml").read_bytes() == content
        assert metrics(sweep) == rows
    return len(lengths)
