"""Processes killed, or asked to stop, at a random instant."""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from experiments import write_config
from forking import processes
from processes import assert_dead, descendants
from test_resume import BASE, PAIRS, assert_same_files, different_leaves, timeless, timeless_rows

from faults.processes import ended, go_on, started
from optrun.config.loading import load
from optrun.experiment import Experiment
from optrun.runs import checkpoint
from optrun.runs.layout import Layout
from optrun.runs.reader import Run, read
from optrun.signals import StopRequest

__all__ = ["assert_same_run", "killed", "killed_while_saving", "reference", "settings", "signalled"]

EXTRA: dict[str, dict[str, Any]] = {
    "two loading processes": {
        "dataset": {
            "name": "digits",
            "batch_size": 256,
            "workers": 2,
            "transforms": {"train": [{"name": "RandomCrop", "size": 8, "padding": 1}]},
        },
        "model": {"name": "cnn", "channels": [4], "batch_norm": True},
        "optimizer": {"name": "SGD", "lr": 0.1, "momentum": 0.9},
        "scheduler": {"name": "CosineAnnealingLR"},
    },
}
_FOLDER = tempfile.TemporaryDirectory(prefix="faults-")


def settings() -> dict[str, dict[str, Any]]:
    """Nineteen optimizers with schedulers, dropout, batch norm and accumulation, and one with loading processes."""
    often = {"checkpoint_every": {"steps": 3}, "log_every": 2}
    slow = {"images-augmented", "two loading processes"}  # torchvision is imported by each process anew
    chosen = {**{name: pair for name, pair in PAIRS.items() if name not in slow}, **EXTRA}
    return {name: {**BASE, **often, **pair} for name, pair in chosen.items() if name != "schedulefree"}


@functools.cache
def reference(name: str) -> tuple[Path, Run, float]:
    """The config of that name, its uninterrupted run, and how many seconds the run takes as a process."""
    folder = Path(_FOLDER.name, name.replace(" ", "-"))
    folder.mkdir()
    config = write_config(folder / "r.yaml", settings()[name])
    process, begun = started(go_on, config, folder / "run"), time.monotonic()
    assert ended(process) == 0
    return config, read(folder / "run"), time.monotonic() - begun


def assert_same_run(run: Run, other: Run) -> None:
    """To the bit, but for times."""
    assert run.status == "completed"
    if (other.path / "checkpoints" / "best.pt").exists():
        assert_same_files(run, other)
        return
    assert timeless_rows(run) == timeless_rows(other)
    last, other_last = (torch.load(each.path / "checkpoints" / "last.pt", weights_only=True) for each in (run, other))
    assert different_leaves(last, other_last) == []
    assert timeless(run.summary) == timeless(other.summary)


def killed(number: int, folder: Path) -> int:
    """A run killed one to three times; what goes on with it each time finds a run, and its end is the same."""
    dice = random.Random(number)
    names = list(settings())
    config, uninterrupted, seconds = reference(names[number % len(names)])
    struck, wanted = 0, dice.randint(1, 3)
    while struck < wanted:
        process = started(go_on, config, folder / "run")
        process.join(dice.uniform(0, 1) * seconds)
        others = descendants(process.pid)
        process.kill()
        code = ended(process)
        assert code in (0, -signal.SIGKILL)
        assert_dead(others)  # those that load data for it
        if code == 0 and struck:
            break
        if code == 0:  # it was at its end before
            shutil.rmtree(folder / "run")
            seconds *= 0.8
        struck += code != 0
    assert ended(started(go_on, config, folder / "run")) == 0
    assert_same_run(read(folder / "run"), uninterrupted)
    return struck


def signalled(number: int, folder: Path) -> int:
    """A run asked to stop, once or twice: a checkpoint within a step, the right exit code, no process left behind,
    and the same end."""
    dice = random.Random(number)
    names = list(settings())
    config, uninterrupted, seconds = reference(names[number % len(names)])
    which, twice = dice.choice([signal.SIGINT, signal.SIGTERM]), dice.random() < 0.5
    process = started(_until_asked, config, folder / "run")
    process.join(dice.uniform(0.1, 1.0) * seconds)
    others = descendants(process.pid)
    _send(process.pid, which)
    if twice:
        process.join(dice.uniform(0, 0.02))
        _send(process.pid, which)
    code = ended(process)
    assert code in (0, 128 + which, -which), code
    assert_dead(others)
    if code == 128 + which and not twice:
        _stands_where_its_rows_end(folder / "run")
    assert ended(started(go_on, config, folder / "run")) == 0
    assert_same_run(read(folder / "run"), uninterrupted)
    return 1


def _until_asked(config: Path, directory: Path) -> None:
    """Train, and take no further step once a signal was heard."""
    with StopRequest() as asked:
        experiment = Experiment.new(load(config), directory=directory)
        was_asked = False
        for event in experiment.events():
            assert not was_asked
            was_asked = asked.signal is not None and event.step < experiment.state.total_steps


def _stands_where_its_rows_end(directory: Path) -> None:
    """A run that was asked to stop has saved its last step; every second one has a row."""
    run = read(directory)
    assert run.status == "interrupted"
    step = checkpoint.load(Layout(directory))[0]["step"]
    assert run.summary["steps"] == step
    assert step - (run.rows()[-1]["step"] if run.rows() else 0) in (0, 1)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _save_for_ever(directory: Path, temporary: Path, saved: Any) -> None:
    os.environ["TMPDIR"] = str(temporary)
    tempfile.tempdir = None  # asked for anew
    state: dict[str, Any] = {"step": 0, "weight": torch.zeros(30 * 2**18)}  # 30 MB
    while True:
        checkpoint.save(Layout(directory), state)
        saved.value = state["step"]
        state["step"] += 1
        state["weight"].fill_(state["step"])


def killed_while_saving(number: int, folder: Path) -> int:
    """Checkpoints of 30 MB one after the other; another file system for temporary files, which must not matter."""
    dice = random.Random(number)
    temporary = Path("/dev/shm")
    assert temporary.stat().st_dev != folder.stat().st_dev
    saved = processes.Value("i", -1)
    process = started(_save_for_ever, folder, temporary, saved)
    while saved.value < 0:
        process.join(0.01)
    process.join(dice.uniform(0, 0.4))
    process.kill()
    assert ended(process) == -signal.SIGKILL
    state, notes = checkpoint.load(Layout(folder))
    assert notes == []
    assert state["step"] in (saved.value, saved.value + 1)
    assert bool((state["weight"] == state["step"]).all())
    return 1
