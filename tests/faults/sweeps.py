"""Sweeps whose driver, or one of whose workers, is killed."""

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

__all__ = ["killed"]

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
