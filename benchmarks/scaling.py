"""Does a long run cost what a short one does? A hundred turns of one run of 100,000 steps, beside the bare loop.

In every turn optrun takes 1,150 steps with a row for each, evaluates after every epoch, and saves a checkpoint; so
whatever grew with the run would show in the turns. Times are of CPU. What the run has on the disk, and its process in
memory, is looked at after each.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peers.contest import BARE, Contest, Peer, contest
from benchmarks.peers.workloads import WORKLOADS
from benchmarks.ratios import spread, words

__all__ = ["measure", "table"]

TURN = 50
"""Epochs of a turn."""

OPTRUN = Peer("optrun", None, ("log_every=1", "eval_every=1", f"checkpoint_every={TURN}"))
FILES = {"metrics": "metrics.jsonl", "summary": "summary.json", "checkpoint": "checkpoints/last.pt"}


def measure(steps: int) -> dict[str, Any]:
    """Turns of a run of at least so many steps. Raises AssertionError if the weights are not the bare loop's."""
    workload = replace(WORKLOADS["digits"], turn=TURN)
    rounds = -(-steps // (TURN * 23))
    found: list[dict[str, float]] = []
    with contest(workload, [OPTRUN, BARE], rounds) as running:
        per_turn = TURN * workload.steps_per_epoch(running.directory / OPTRUN.name)
        for _ in range(rounds):
            turns = running.round()
            found.append({"ratio": turns[OPTRUN.name].cpu / turns[BARE.name].cpu, **_sizes(running)})
        running.finish()
    tenth = max(2, len(found) // 10)
    return {
        "steps": rounds * per_turn,
        "epochs": rounds * TURN,
        "steps_per_turn": per_turn,
        "first_tenth": _summarized(found[1 : tenth + 1]),
        "last_tenth": _summarized(found[-tenth:]),
        "turns": found,
    }


def _sizes(running: Contest) -> dict[str, float]:
    """Bytes of the run's files and of its process, resident (Linux)."""
    run = running.directory / OPTRUN.name / "run"
    sizes: dict[str, float] = {name: (run / file).stat().st_size for name, file in FILES.items()}
    pages = int(Path(f"/proc/{running.sides[OPTRUN.name].process.pid}/statm").read_text().split()[1])
    return {**sizes, "memory": pages * 4096}


def _summarized(turns: list[dict[str, float]]) -> dict[str, Any]:
    medians = {name: statistics.median(turn[name] for turn in turns) for name in ("checkpoint", "summary", "memory")}
    grown = [after["metrics"] - before["metrics"] for before, after in zip(turns, turns[1:])]
    return {
        "ratio": spread([turn["ratio"] for turn in turns]),
        "metrics_per_turn": statistics.median(grown),
        **medians,
    }


def table(figures: Mapping[str, Any]) -> str:
    """The first tenth of the run beside the last, as a Markdown table."""
    first, last = figures["first_tenth"], figures["last_tenth"]
    lines = [
        f"| {figures['steps']:,} steps, {figures['epochs']:,} epochs | the first tenth | the last tenth |",
        "|---|---|---|",
        f"| CPU time of a turn, to the bare loop's | {words(first['ratio'])} | {words(last['ratio'])} |",
    ]
    for name, unit, label in (
        ("memory", 1e6, "MB of memory"),
        ("metrics_per_turn", 1e3, "KB of metrics.jsonl in a turn"),
        ("checkpoint", 1e3, "KB of a checkpoint"),
        ("summary", 1e3, "KB of summary.json"),
    ):
        lines.append(f"| {label} | {first[name] / unit:,.1f} | {last[name] / unit:,.1f} |")
    return "\n".join(lines)
