"""Processes killed, or asked to stop, at a random instant."""

from __future__ import annotations

import functools
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from experiments import write_config
from processes import assert_dead, descendants
from test_resume import BASE, PAIRS, assert_same_files, different_leaves, timeless, timeless_rows

from faults.processes import ended, go_on, started
from optrun.runs import checkpoint
from optrun.runs.layout import Layout
from optrun.runs.reader import Run, read

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
    begun = time.monotonic()
    assert ended(started(go_on, config, folder / "run")) == 0
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
    for _ in range(dice.randint(1, 3)):
        process = started(go_on, config, folder / "run")
        process.join(dice.uniform(0, 1.1) * seconds)
        others = descendants(process.pid)
        process.kill()
        assert ended(process) in (0, -signal.SIGKILL)
        assert_dead(others)  # those that load data for it
    assert ended(started(go_on, config, folder / "run")) == 0
    assert_same_run(read(folder / "run"), uninterrupted)
    return 1


def signalled(number: int, folder: Path) -> int:
    """A run asked to stop, once or twice: a checkpoint within a step, the right exit code, and the same end."""
    dice = random.Random(number)
    names = list(settings())
    config, uninterrupted, seconds = reference(names[number % len(names)])
    which = _asked_to_stop(started(go_on, config, folder / "run"), dice, seconds)
    if which and (folder / "run" / "summary.json").exists():
        assert read(folder / "run").status in ("interrupted", "completed")
    assert ended(started(go_on, config, folder / "run")) == 0
    assert_same_run(read(folder / "run"), uninterrupted)
    return 1


def _asked_to_stop(process: Any, dice: random.Random, seconds: float) -> int:
    """Send a signal, or two, at a random instant; which, if the process was stopped by it and not at its end."""
    which = dice.choice([signal.SIGINT, signal.SIGTERM])
    process.join(dice.uniform(0.1, 1.0) * seconds)
    _send(process.pid, which)
    if dice.random() < 0.5:
        process.join(dice.uniform(0, 0.02))
        _send(process.pid, which)
    code = ended(process)
    assert code in (0, 128 + which, -which), code
    return which if code == 128 + which else 0


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _save_for_ever(directory: Path) -> None:
    layout = Layout(directory)
    first = checkpoint.load(layout)[0]["step"] if checkpoint.exists(layout) else 0
    state: dict[str, Any] = {"step": first, "weight": torch.full((30 * 2**18,), float(first))}  # 30 MB
    while True:
        state["step"] += 1
        state["weight"].fill_(state["step"])
        checkpoint.save(layout, state)


def killed_while_saving(number: int, folder: Path) -> int:
    """Checkpoints of 30 MB one after the other; another file system for temporary files, which must not matter."""
    dice = random.Random(number)
    other = Path("/dev/shm")
    os.environ["FAULTS_TMPDIR"] = str(other if other.is_dir() else folder)
    layout = Layout(folder)
    checkpoint.save(layout, {"step": 0, "weight": torch.zeros(30 * 2**18)})
    process = started(_save_for_ever, folder)
    process.join(dice.uniform(0.02, 0.4))
    process.kill()
    assert ended(process) == -signal.SIGKILL
    state, notes = checkpoint.load(layout)
    assert notes == []
    assert bool((state["weight"] == state["step"]).all())
    return 1
