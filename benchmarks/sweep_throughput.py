"""The pool against inline: 16 seeds of configs/quickstart.yaml for 300 epochs (two seconds each), as whole processes.

The start of Python and torch is in both. The two are measured in turn, and the ratio of each turn is kept.
"""

from __future__ import annotations

import functools
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.processes import Patience, Times, timed

__all__ = ["measure", "report"]

RUNS = 16
CONFIG = Path(__file__).parent.parent / "configs" / "quickstart.yaml"
EXECUTORS = {"inline": [], "pool": ["--jobs", "2"]}


def measure(repeat: int, patience: float) -> dict[str, Any]:
    """Seconds of each executor and the ratio inline / pool, over `repeat` turns."""
    waiting = Patience(patience)
    turns = [{name: waiting.calmest(functools.partial(_run, name)) for name in EXECUTORS} for _ in range(repeat)]
    ratios = [turn["inline"].wall / turn["pool"].wall for turn in turns]
    return {
        "runs": RUNS,
        "wall_seconds": {name: [turn[name].wall for turn in turns] for name in EXECUTORS},
        "ratios": ratios,
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "others": max(times.others for turn in turns for times in turn.values()),
    }


def report(figures: dict[str, Any]) -> str:
    """The figures in a line."""
    ratio = figures["ratio"]
    return f"  pool of 2 / inline: {ratio['median']:.2f} times the throughput ({ratio['min']:.2f} … {ratio['max']:.2f})"


def _run(executor: str) -> Times:
    with tempfile.TemporaryDirectory() as folder:
        sweep = ["sweep", str(CONFIG), "epochs=300", "--seeds", str(RUNS), "--executor", executor, *EXECUTORS[executor]]
        command = [sys.executable, "-m", "optrun", *sweep, "--quiet", "--runs-dir", folder]
        return timed(command, {**os.environ, "OMP_NUM_THREADS": "1"}, Path(folder, "output.txt"))
