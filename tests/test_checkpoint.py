"""Checkpoints: whole or known to be damaged, whatever happens while they are written or lie on the disk."""

from __future__ import annotations

import errno
import io
import pickle
import random
import re
import signal
from collections import OrderedDict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_runs import ShortWrites, failing, in_process, killing, start, until_done

from optrun.errors import CheckpointError, RunError
from optrun.runs import checkpoint, files
from optrun.runs.layout import Layout


@pytest.fixture
def run(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "run")


@pytest.fixture(autouse=True)
def _directory(run: Layout) -> None:
    run.directory.mkdir()


def state(step: int) -> dict[str, Any]:
    return {"step": step, "model": {"weight": torch.full((4, 5), float(step))}}


def step_of(run: Layout) -> int:
    loaded, _ = checkpoint.load(run)
    assert torch.equal(loaded["model"]["weight"], state(loaded["step"])["model"]["weight"])
    return int(loaded["step"])


def equal(one: Any, other: Any) -> bool:
    """Equal in type, structure and every bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        if (one.dtype, one.shape, one.stride()) != (other.dtype, other.shape, other.stride()):
            return False
        return torch.equal(one.flatten().view(torch.uint8), other.flatten().view(torch.uint8))
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return repr(one) == repr(other)


def complete_state() -> dict[str, Any]:
    """What a run's state is made of."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, betas=(0.8, 0.9))
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 2, 5])
    model(torch.randn(8, 3)).sum().backward()
    optimizer.step()
    scheduler.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "random": {
            "python": random.getstate(),
            "numpy": np.random.default_rng(0).bit_generator.state,
            "torch": torch.get_rng_state(),
            "cuda": [],
        },
        "position": (3, 17),
        "metrics_bytes": 2**70,
        "best": None,
        "early_stop": {"waited": 2, "best": float("-inf"), "name": "val/loss", "done": False},
        "dtypes": [torch.ones(3, dtype=dtype) for dtype in (torch.bfloat16, torch.float64, torch.int8, torch.bool)],
        "shapes": [torch.tensor(1.5), torch.zeros(0, 3), torch.arange(6.0).reshape(2, 3).t()],
    }


def test_a_state_comes_back_as_it_was(run: Layout) -> None:
    saved = complete_state()
    checkpoint.save(run, saved)
    loaded, notes = checkpoint.load(run)
    assert notes == []
    assert isinstance(loaded["model"], OrderedDict)
    assert equal(loaded, saved)


def test_plain_torch_loads_it(run: Layout) -> None:
    saved = complete_state()
    checkpoint.save(run, saved)
    checkpoint.save(run, saved, kind="best")
    for path in (run.last, run.best):
        assert equal(torch.load(path, weights_only=True), saved)
        assert equal(torch.load(path, weights_only=True, mmap=True), saved)


@pytest.mark.parametrize("value", [np.float64(1), np.zeros(3), Path("x"), print, torch.nn.Linear(1, 1)])
def test_what_could_not_be_loaded_is_not_saved(run: Layout, value: Any) -> None:
    checkpoint.save(run, state(1))
    with pytest.raises(TypeError, match="a checkpoint holds tensors and plain values only, not"):
        checkpoint.save(run, {"step": 2, "value": value})
    assert step_of(run) == 1


def test_the_last_two_are_kept(run: Layout) -> None:
    assert not checkpoint.exists(run)
    for step in range(1, 5):
        checkpoint.save(run, state(step))
        assert checkpoint.exists(run)
    assert sorted(file.name for file in run.checkpoints.iterdir()) == ["last.pt", "previous.pt"]
    assert checkpoint.read(run.last)["step"] == 4
    assert checkpoint.read(run.previous)["step"] == 3


@pytest.mark.parametrize(
    ("keep", "left"), [("all", ["best.pt", "last.pt", "previous.pt"]), ("last", ["last.pt"]), ("none", ["last.pt"])]
)
def test_tidying(run: Layout, keep: checkpoint.Keep, left: list[str]) -> None:
    checkpoint.tidy(run, keep)
    for step in (1, 2):
        checkpoint.save(run, state(step))
    checkpoint.save(run, state(1), kind="best")
    for path in (run.last, run.previous, run.best):
        files.temporary(path).write_bytes(b"left by a killed process")
    checkpoint.tidy(run, keep)
    assert sorted(file.name for file in run.checkpoints.iterdir()) == left
    assert step_of(run) == 2


# --- damage ----------------------------------------------------------------------------------------------------------


def damages(content: bytes) -> list[bytes]:
    """`content` with each of many things done to it that disks, copying and people do."""
    chance = random.Random(0)
    flipped = []
    for _ in range(200):
        changed = bytearray(content)
        changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        flipped.append(bytes(changed))
    cut = [content[: chance.randrange(len(content))] for _ in range(50)]
    cut += [content[:-1], content[:-64], content[:-80], content[:-102], content[1:], b""]
    return [*flipped, *cut, bytes(len(content)), content + b"\0", content + content]


def test_any_damage_is_found_and_the_previous_one_used(run: Layout) -> None:
    for step in (1, 2):
        checkpoint.save(run, state(step))
    damaged = f"the checkpoint {run.last} is damaged: its content is not what its checksum says"
    for content in damages(run.last.read_bytes()):
        run.last.write_bytes(content)
        loaded, notes = checkpoint.load(run)
        assert loaded["step"] == 1
        assert notes == [f"{damaged}; the one before it, {run.previous}, is used"]


def test_a_missing_one_is_told_too(run: Layout) -> None:
    for step in (1, 2):
        checkpoint.save(run, state(step))
    run.last.unlink()
    loaded, notes = checkpoint.load(run)
    assert loaded["step"] == 1
    assert notes == [f"there is no checkpoint {run.last}; the one before it, {run.previous}, is used"]


def test_two_damaged_ones_are_an_error_that_names_both(run: Layout) -> None:
    for step in (1, 2):
        checkpoint.save(run, state(step))
    for path in (run.last, run.previous):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(run)
    assert str(caught.value) == "\n".join(
        f"the checkpoint {path} is damaged: its content is not what its checksum says"
        for path in (run.last, run.previous)
    )


def test_what_was_not_saved_by_us_is_not_loaded(run: Layout) -> None:
    run.checkpoints.mkdir()
    torch.save(state(1), run.last)
    with pytest.raises(CheckpointError, match=r"last.pt is damaged: .*\nthere is no checkpoint .*previous.pt"):
        checkpoint.load(run)


class Evil:
    """Writes a file when it is unpickled the ordinary way."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> Any:
        return Path.touch, (self.ran,)


def sealed(value: Any) -> memoryview:
    """A checkpoint as a stranger would forge it: anything at all, with the right checksum."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return checkpoint._seal(buffer)


def test_a_strangers_checkpoint_runs_nothing(run: Layout, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    run.checkpoints.mkdir()
    for value in (Evil(ran), {"model": Evil(ran)}, {"model": {"weight": torch.nn.Linear(1, 1)}}):
        run.last.write_bytes(sealed(value))
        with pytest.raises(CheckpointError, match="holds more than data, and is not loaded"):
            checkpoint.read(run.last)
    assert not ran.exists()
    run.last.write_bytes(sealed([1, 2]))
    with pytest.raises(CheckpointError, match="holds no state of a run"):
        checkpoint.read(run.last)
    pickle.loads(pickle.dumps(Evil(ran)))
    assert ran.exists()  # it would have run


def test_checkpoints_elsewhere_are_not_written(run: Layout, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    run.checkpoints.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"cannot write .*last.pt: its directory is a link"):
        checkpoint.save(run, state(1))
    assert list((tmp_path / "elsewhere").iterdir()) == []


# --- faults while saving ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_failed_save_destroys_nothing(run: Layout, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    checkpoint.save(run, state(1))
    checkpoint.save(run, state(2))
    newest = 2

    def save(disk: files.System) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(files, "system", disk)
            checkpoint.save(run, state(newest + 1))

    for error in until_done(save, lambda n: failing(n, number)):
        assert re.fullmatch(f"cannot write {run.last}: .*; .* and `optrun resume {run.directory}`", str(error))
        assert step_of(run) in (newest, newest + 1)
        assert checkpoint.read(run.previous)["step"] >= newest - 1
        assert len(list(run.checkpoints.iterdir())) == 2  # nothing half-made is left to fill the disk
        newest = step_of(run)
    assert step_of(run) == newest + 1


def test_a_full_disk_at_any_byte_destroys_nothing(run: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(run, state(1))
    for space in range(0, run.last.stat().st_size, 50):
        with monkeypatch.context() as patch:
            patch.setattr(files, "system", ShortWrites(most=1_000, space=space))
            with pytest.raises(RunError, match=r"no space left on device; free some space and `optrun resume"):
                checkpoint.save(run, state(2))
        assert [path.name for path in run.checkpoints.iterdir()] == ["last.pt"]
        assert step_of(run) == 1
    checkpoint.save(run, state(2))
    assert step_of(run) == 2


def _save_and_die(run: Layout, n: int) -> None:
    files.system = killing(n)
    checkpoint.save(run, state(3))


@pytest.mark.parametrize("last_is_damaged", [False, True])
def test_killed_at_any_system_call_a_good_checkpoint_is_there(run: Layout, last_is_damaged: bool) -> None:
    seen = []
    for n in range(1, 100):
        for path in run.checkpoints.glob("*"):
            path.unlink()
        checkpoint.save(run, state(1))
        checkpoint.save(run, state(2))
        if last_is_damaged:
            run.last.write_bytes(b"damaged")
        code = in_process(_save_and_die, run, n)
        seen.append(step_of(run))
        assert run.last.exists()
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert n > 10
    assert seen == sorted(seen)
    assert set(seen) == ({1, 3} if last_is_damaged else {2, 3})


class WithoutHardLinks(files.System):
    """A file system such as FAT, or a mounted bucket."""

    def link(self, old: Path, new: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")


def test_without_hard_links_two_are_kept_as_well(run: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "system", WithoutHardLinks())
    for step in (1, 2, 3):
        checkpoint.save(run, state(step))
    assert checkpoint.read(run.last)["step"] == 3
    assert checkpoint.read(run.previous)["step"] == 2


def _save_for_ever(run: Layout, first: int, connection: Connection) -> None:
    saved: dict[str, Any] = {"step": first, "model": {"weight": torch.full((2**18,), float(first))}}  # 1 MB
    checkpoint.save(run, saved)
    connection.send("ready")
    while True:
        saved["step"] += 1
        saved["model"]["weight"].fill_(saved["step"])
        checkpoint.save(run, saved)
        connection.send(saved["step"])


def test_killed_at_a_random_instant_the_newest_finished_one_loads(run: Layout) -> None:
    chance, first = random.Random(0), 0
    for _ in range(20):
        process, connection = start(_save_for_ever, run, first)
        process.join(chance.random() * 0.05)
        process.kill()
        process.join()
        finished = first
        while connection.poll():
            try:
                finished = connection.recv()
            except EOFError:
                break
        loaded, notes = checkpoint.load(run)
        assert loaded["step"] in (finished, finished + 1)
        assert bool((loaded["model"]["weight"] == loaded["step"]).all())
        assert notes == []
        first = loaded["step"]
