"""The faults there are, and how many of each are tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults import changes, crowds, disks, divergence, kills, sweeps, texts

__all__ = ["FAULTS", "Fault"]


@dataclass(frozen=True)
class Fault:
    """One kind of fault. `trial(number, folder)` puts in one or more, and returns how many; it fails by an assertion.

    The same number is the same fault, as far as the clock lets it.
    """

    row: int
    title: str
    trial: Callable[[int, Path], int]
    full: int
    """Trials of a whole count."""
    few: int
    """Trials within the test suite."""


def signalled(number: int, folder: Path) -> int:
    """Every fifth is a sweep."""
    return sweeps.signalled(number, folder) if number % 5 == 4 else kills.signalled(number, folder)


FAULTS = (
    Fault(1, "kill -9 at a random instant, then resumed to the end", kills.killed, full=1000, few=50),
    Fault(2, "kill at every system call of a run", disks.killed_at_a_call, full=disks.CALLS, few=disks.CALLS),
    Fault(3, "kill -9 while 30 MB are saved, TMPDIR elsewhere", kills.killed_while_saving, full=500, few=25),
    Fault(4, "ENOSPC, EIO, EACCES at every system call", disks.failed_at_a_call, full=disks.FAILS, few=disks.CALLS + 1),
    Fault(5, "the newest checkpoint truncated, flipped, zeroed, emptied", disks.damaged, full=1404, few=104),
    Fault(6, "files cut at every byte of their last record", disks.cut, full=disks.CUTS, few=4),
    Fault(7, "SIGINT, SIGTERM, once or twice, at a random instant", signalled, full=200, few=20),
    Fault(8, "the driver of a sweep or one of its workers killed", sweeps.killed, full=32, few=3),
    Fault(9, "2 to 32 processes at one run or one sweep", crowds.at_once, full=110, few=9),
    Fault(10, "mutated configs, sweep files and overrides", texts.mutated, full=10_000, few=1000),
    Fault(11, "hostile configs and checkpoints", texts.hostile, full=texts.HOSTILE, few=texts.HOSTILE),
    Fault(12, "NaN, infinity, explosion at step k", divergence.broken, full=divergence.CASES, few=divergence.CASES),
    Fault(13, "resumed with something changed", changes.changed, full=changes.CASES, few=changes.CASES),
    Fault(14, "checkpoints of releases", changes.released, full=1, few=1),
)
