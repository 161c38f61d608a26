"""Sweeps whose driver, or one of whose workers, is killed or asked to stop."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import tempfile
from pathlib import Path
from typing import Any

from processes import assert_dead, descendants
from sweeping import metrics, optrun, statuses, write_sweep
from test_sweep_crashes import GRID, SLOW, is_so_far, rows_in, running, started, wait_until

__all__ = ["killed", "signalled"]

KILLS = 4
EXECUTORS = ("pool", "fused")
LENGTHS = {"pool": SLOW, "fused": {**SLOW, "epochs": 40}}
"""Trials that train as one are over sooner."""
_FOLDER = tempfile.TemporaryDirectory(prefix="faults-")


@functools.cache
def _undisturbed(executor: str) -> dict[str, Any]:
    """The rows of every trial of a sweep that nothing happened to, and of which each trained by itself."""
    folder = Path(_FOLDER.name, executor)
    done = optrun(folder, "sweep", _given(folder, executor), "--executor", "inline", "-q")
    assert done.returncode == 0, done.stderr
    return metrics(folder / "runs" / "s")


def _given(folder: Path, executor: str) -> Path:
    return write_sweep(folder, LENGTHS[executor], grid=GRID)


def _bytes(rows_of_trials: dict[str, Any]) -> int:
    """About how long metrics.jsonl is in all trials together."""
    return sum(len(json.dumps(row)) + 30 for rows in rows_of_trials.values() for row in rows)


def killed(number: int, folder: Path) -> int:
    """Up to four kills of one sweep: each trial is there once, with the rows it has when nothing happens."""
    dice = random.Random(number)
    executor = EXECUTORS[number % 2]
    undisturbed = _undisturbed(executor)
    path, sweep, whole = _given(folder, executor), folder / "runs" / "s", _bytes(undisturbed)
    struck = 0
    for kill in range(KILLS):
        with running(started(folder, path, executor=executor)) as driver:
            enough = rows_in(sweep) + dice.uniform(0.02, 0.18) * whole
            wait_until(functools.partial(is_so_far, sweep, enough, driver))
            others = descendants(driver.pid)
            if (number // 2 + kill) % 2 and others:
                os.kill(dice.choice(sorted(others)), signal.SIGKILL)
                wait_until(functools.partial(is_so_far, sweep, rows_in(sweep) + 0.05 * whole, driver))
            struck += driver.poll() is None
            driver.kill()
            driver.wait()
            assert_dead(others)
    _ends_as(undisturbed, folder, executor)
    return struck


def _ends_as(undisturbed: dict[str, Any], folder: Path, executor: str) -> None:
    """The same command ends with each trial once, and with the rows that there are when nothing happens."""
    sweep = folder / "runs" / "s"
    done = optrun(folder, "sweep", folder / "sweep-given.yaml", "--executor", executor, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert statuses(sweep) == ["completed"] * len(undisturbed)
    assert metrics(sweep) == undisturbed


def signalled(number: int, folder: Path) -> int:
    """A sweep on two workers asked to stop, once or twice, at a random instant: the right exit code, no process is
    left behind, and the same command ends with the rows that there are when nothing happens."""
    dice = random.Random(number)
    executor = dice.choice(EXECUTORS)
    which, twice = dice.choice([signal.SIGINT, signal.SIGTERM]), dice.random() < 0.5
    undisturbed = _undisturbed(executor)
    path, sweep, whole = _given(folder, executor), folder / "runs" / "s", _bytes(undisturbed)
    with running(started(folder, path, executor=executor)) as driver:
        wait_until(functools.partial(is_so_far, sweep, dice.uniform(0.0, 0.9) * whole, driver))
        others = descendants(driver.pid)
        driver.send_signal(which)
        if twice:
            wait_until(functools.partial(is_so_far, sweep, rows_in(sweep), driver))
            driver.send_signal(which)
        driver.communicate()
        # A second signal that comes when everything is saved finds Python at its end, and kills as by default.
        assert driver.returncode in (0, 128 + which, -which), driver.returncode
        assert_dead(others)
    _ends_as(undisturbed, folder, executor)
    return 1
