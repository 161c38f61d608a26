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
_FOLDER = tempfile.TemporaryDirectory(prefix="faults-")


@functools.cache
def _undisturbed() -> dict[str, Any]:
    folder = Path(_FOLDER.name)
    done = optrun(folder, "sweep", write_sweep(folder, SLOW, grid=GRID), "--executor", "inline", "-q")
    assert done.returncode == 0, done.stderr
    return metrics(folder / "runs" / "s")


def killed(number: int, folder: Path) -> int:
    """Four kills of one sweep: each trial is there once, with the rows it has when nothing happens."""
    dice = random.Random(number)
    undisturbed = _undisturbed()
    whole = sum(len(json.dumps(row)) + 30 for rows in undisturbed.values() for row in rows)
    path, sweep = write_sweep(folder, SLOW, grid=GRID), folder / "runs" / "s"
    for kill in range(KILLS):
        with running(started(folder, path)) as driver:
            enough = rows_in(sweep) + dice.uniform(0.02, 0.18) * whole
            wait_until(functools.partial(is_so_far, sweep, enough, driver))
            others = descendants(driver.pid)
            if (number + kill) % 2 and others:
                os.kill(max(others), signal.SIGKILL)
                wait_until(functools.partial(is_so_far, sweep, rows_in(sweep) + 0.05 * whole, driver))
            driver.kill()
            driver.wait()
            assert_dead(others)
    done = optrun(folder, "sweep", path, "--executor", "pool", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert statuses(sweep) == ["completed"] * len(undisturbed)
    assert metrics(sweep) == undisturbed
    return KILLS


def signalled(number: int, folder: Path) -> int:
    """A sweep on two workers asked to stop, once or twice, at a random instant: the right exit code, no process is
    left behind, and the same command ends with the rows that there are when nothing happens."""
    dice = random.Random(number)
    which, twice = dice.choice([signal.SIGINT, signal.SIGTERM]), dice.random() < 0.5
    undisturbed = _undisturbed()
    whole = sum(len(json.dumps(row)) + 30 for rows in undisturbed.values() for row in rows)
    path, sweep = write_sweep(folder, SLOW, grid=GRID), folder / "runs" / "s"
    with running(started(folder, path)) as driver:
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
    done = optrun(folder, "sweep", path, "--executor", "inline", "-q")
    assert done.returncode == 0, done.stderr
    assert statuses(sweep) == ["completed"] * len(undisturbed)
    assert metrics(sweep) == undisturbed
    return 1
