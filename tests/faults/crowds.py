"""Many processes that want the same run, or the same sweep."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from experiments import write_config
from forking import processes

import optrun
from faults.disks import SMALL, as_if_killed, small
from faults.processes import ended, go_on, started
from optrun.config.loading import load
from optrun.config.sweep import load_sweep
from optrun.errors import OptrunError
from optrun.experiment import Experiment
from optrun.runs.lock import is_locked
from optrun.runs.reader import read
from optrun.sweeps import Sweep
from optrun.sweeps.executors.inline import Inline
from optrun.sweeps.tasks import Progressed

__all__ = ["at_once"]


def at_once(number: int, folder: Path) -> int:
    """Of up to 32 processes one wins, and the others are told so while it works, each within a second of CPU; in every
    third trial it is killed at it. Then the run, or the sweep, can be gone on with, and is whole."""
    dice = random.Random(number)
    crowd = dice.choice([2, 3, 4, 8, 16, 32])
    task = (_begin, _resume, _sweep)[number % 3]
    is_killed = number // 3 % 3 == 2
    target = folder / "run"
    config, whole = small()
    if task is _resume:
        shutil.copytree(whole.path, target)
        as_if_killed(target)
        shutil.rmtree(target / "checkpoints")  # from the beginning
    if task is _sweep:
        config = write_config(folder / "s.yaml", {"name": "s", "base": {**SMALL, "steps": 2}, "seeds": 2})
        target = folder
    together = processes.Barrier(crowd)
    crowded = [started(_wants, task, together, is_killed, config, target) for _ in range(crowd)]
    codes = sorted(ended(process) for process in crowded)
    winner, losers = (-signal.SIGKILL if is_killed else 0), codes.copy()
    assert winner in codes, codes
    losers.remove(winner)
    assert set(losers) <= {1, 2}, codes
    runs = sorted((folder / "s").glob("*-*")) if task is _sweep else [target]
    assert runs
    assert not any(is_locked(run) for run in runs)
    if is_killed:
        _again(task, config, target)
        runs = sorted((folder / "s").glob("*-*")) if task is _sweep else [target]
    for run in runs:
        assert read(run).status == "completed"
        assert read(run).problems == []
    return crowd


def _wants(
    task: Callable[[Path, Path], Iterator[Any]], together: Any, is_killed: bool, config: Path, target: Path
) -> None:
    """One of the crowd. All of them meet twice: before, and when one has its first event and the others an error."""
    together.wait()
    begun, has_begun = time.process_time(), False
    try:
        for _ in task(config, target):
            if not has_begun:
                together.wait()
                if is_killed:
                    os.kill(os.getpid(), signal.SIGKILL)
            has_begun = True
    except OptrunError:
        assert not has_begun
        assert time.process_time() - begun < 1
        together.wait()
        raise


def _begin(config: Path, directory: Path) -> Iterator[Any]:
    yield from Experiment.new(load(config), directory=directory).events()


def _resume(config: Path, directory: Path) -> Iterator[Any]:
    experiment = Experiment.resumed(directory)
    assert experiment is not None
    yield from experiment.events()


def _sweep(config: Path, directory: Path) -> Iterator[Any]:
    with Sweep(load_sweep(config), directory) as sweep:
        for event in sweep.events(Inline()):
            if isinstance(event, tuple) and isinstance(event[1], Progressed):  # before, nothing was written
                yield event


def _again(task: Callable[..., Any], config: Path, target: Path) -> None:
    """What the user does who finds it killed."""
    if task is _sweep:
        optrun.sweep(config, runs_dir=target, executor="inline")
    else:
        assert ended(started(go_on, config, target)) == 0
