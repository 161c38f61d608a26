"""The command behind `python tests/faults`: trials in several processes, and a table."""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from faults.catalog import FAULTS, Fault
from optrun.components.registry import KINDS

__all__ = ["main"]

BATCH = 10
"""Trials that a process takes at a time."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/faults", description="Put faults into optrun.")
    parser.add_argument("--full", action="store_true", help="the whole counts")
    parser.add_argument("--row", type=int, action="append", help="this row only; repeatable")
    parser.add_argument("--count", type=int, help="so many trials of a row")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this trial only, here, with its traceback")
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    faults = [fault for fault in FAULTS if not chosen.row or fault.row in chosen.row]
    if chosen.only is not None:
        tried, failures = batch(faults[0].row, [chosen.only])
        print("\n".join(failures) or f"{tried} tried")
        sys.exit(bool(failures))
    table = Table("row", "fault", "tried", "failed", "seconds", title="optrun under faults", title_justify="left")
    failed = 0
    for fault in faults:
        count = chosen.count or (fault.full if chosen.full else fault.few)
        begun = time.monotonic()
        tried, failures = run(fault, count, chosen.jobs)
        seconds = time.monotonic() - begun
        table.add_row(str(fault.row), fault.title, str(tried), str(len(failures)), f"{seconds:.0f}")
        print(f"{fault.row}: {tried} tried, {len(failures)} failed, {seconds:.0f} s", file=sys.stderr, flush=True)
        for failure in failures[:5]:
            print(failure, file=sys.stderr, flush=True)
        failed += len(failures)
    Console().print(table)
    sys.exit(1 if failed else 0)


def run(fault: Fault, count: int, jobs: int) -> tuple[int, list[str]]:
    """Try so many; how many faults that were, and what failed."""
    numbers = list(range(count))
    size = min(BATCH, -(-count // jobs))
    batches = [numbers[start : start + size] for start in range(0, count, size)]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        results = list(pool.map(batch, [fault.row] * len(batches), batches))
    return sum(tried for tried, _ in results), [failure for _, failures in results for failure in failures]


def batch(row: int, numbers: Sequence[int]) -> tuple[int, list[str]]:
    """Some trials of a row, in this process."""
    os.environ["OMP_NUM_THREADS"] = "1"
    fault = next(each for each in FAULTS if each.row == row)
    tried, failures = 0, []
    for number in numbers:
        before = {registry: dict(registry._registered) for registry in KINDS.values()}
        with tempfile.TemporaryDirectory(prefix="fault-") as folder:
            try:
                tried += fault.trial(number, Path(folder))
            except BaseException:
                failures.append(f"row {row}, number {number}\n{traceback.format_exc(limit=-6)}")
        for registry, registered in before.items():
            registry._registered = registered
    return tried, failures
