"""What logging costs: a step of optrun that writes a row, over one that writes none, by turns and in CPU time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.peers.contest import Peer
from benchmarks.peers.measuring import measure_steps
from benchmarks.peers.workloads import WORKLOADS
from benchmarks.ratios import words

__all__ = ["measure", "table"]

EVERY = {"every step": 1, "every tenth step": 10, "never": 10**9}


def measure(rounds: int) -> dict[str, Any]:
    """Ratios to logging nothing, on digits with one thread, over so many rounds."""
    peers = [Peer(name, None, (f"log_every={steps}",)) for name, steps in EVERY.items()]
    return measure_steps(WORKLOADS["digits"], peers, rounds, yardstick=peers[-1])


def table(figures: Mapping[str, Any]) -> str:
    """The figures as a Markdown table."""
    lines = ["| digits, a row is written | a step's CPU time, to that without any |", "|---|---|"]
    for name in EVERY:
        lines.append(f"| {name} | {words(figures['peers'][name]['cpu_ratio'])} |")
    return "\n".join(lines)
