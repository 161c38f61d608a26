"""Whether a run, or a sweep, still goes on, as far as its files tell whoever only looks.

On one machine the lock tells it at once and for sure. A shared file system may not show one machine the locks of
another; then what counts is when the files last changed, and after a while of silence nobody can know more than that.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from optrun.runs.layout import Layout, SweepLayout
from optrun.runs.lock import host_of, is_locked
from optrun.runs.reader import Run, environment_of

__all__ = ["QUIET", "driver_of", "last_sign", "last_sign_of_sweep", "state_of"]

QUIET = 120.0
"""Seconds without a sign of life after which it is said. A run writes rows, and checkpoints every 30 s."""


def state_of(run: Run) -> str:
    """The run's status, or `silent`: it said last that it is running, on another machine, a while ago."""
    if run.status == "running" or run.summary.get("status") not in (None, "running"):
        return run.status
    host = host_of(run.path) or environment_of(run.path).get("hostname")
    if host in (None, platform.node()):
        return "interrupted"
    return "running" if time.time() - last_sign(run.path) < QUIET else "silent"


def driver_of(sweep: Path) -> Literal["running", "silent", "gone"]:
    """What is known of the process that drives the sweep in that directory."""
    if is_locked(sweep):
        return "running"
    if host_of(sweep) in (None, platform.node()):
        return "gone"
    return "running" if time.time() - last_sign_of_sweep(sweep) < QUIET else "silent"


def last_sign_of_sweep(sweep: Path) -> float:
    """When it, or a trial of it, last wrote something."""
    layout = SweepLayout(sweep)
    return max([_changed([Layout(sweep).lock, layout.config]), *map(last_sign, layout.trials().values())])


def last_sign(run: Path) -> float:
    """When the run last wrote something, in seconds since 1970 by its file system's clock; 0 if nothing is there."""
    paths = Layout(run)
    return _changed([paths.config, paths.metrics, paths.summary, paths.environment, paths.last])


def _changed(paths: Iterable[Path]) -> float:
    newest = 0.0
    for path in paths:
        with suppress(OSError):
            newest = max(newest, os.stat(path).st_mtime)
    return newest
