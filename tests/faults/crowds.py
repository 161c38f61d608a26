"""Many processes that want the same run, or the same sweep."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

from experiments import write_config
from forking import processes

import optrun
from faults.disks import SMALL, small
from faults.processes import ended, started
from optrun.runs.lock import is_locked
from optrun.runs.reader import read

__all__ = ["at_once"]


def at_once(number: int, folder: Path) -> int:
    """Of up to 32 processes one wins, the others are told so; afterwards the run, or the sweep, is whole."""
    dice = random.Random(number)
    crowd = dice.choice([2, 3, 4, 8, 16, 32])
    task = (_begin, _resume, _sweep)[number % 3]
    target = folder / "run"
    config, whole = small()
    if task is _resume:
        shutil.copytree(whole.path, target)
        summary = (target / "summary.json").read_text().replace('"completed"', '"running"')
        (target / "summary.json").write_text(summary)
    if task is _sweep:
        config = write_config(folder / "s.yaml", {"name": "s", "base": {**SMALL, "steps": 2}, "seeds": 2})
        target = folder
    barrier = processes.Barrier(crowd)
    crowded = [started(task, barrier, config, target) for _ in range(crowd)]
    codes = [ended(process) for process in crowded]
    assert 0 in codes, codes
    assert set(codes) <= {0, 1, 2}, codes
    runs = sorted((folder / "s").glob("*-*")) if task is _sweep else [target]
    assert runs
    for run in runs:
        assert read(run).status == "completed"
        assert not is_locked(run)
        assert read(run).problems == []
    return crowd


def _begin(barrier: Any, config: Path, directory: Path) -> None:
    barrier.wait()
    optrun.train(config, run_dir=directory)


def _resume(barrier: Any, config: Path, directory: Path) -> None:
    barrier.wait()
    optrun.resume(directory)


def _sweep(barrier: Any, config: Path, directory: Path) -> None:
    barrier.wait()
    optrun.sweep(config, runs_dir=directory, executor="inline")
