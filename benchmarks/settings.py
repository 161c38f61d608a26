"""Settings that change bits, for speed: what a step gains by each, and how far the weights then are from those without.

Both train from the same start on the same batches; the difference is the largest of any weight after all rounds, and it
grows with them. Times are by the clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.contest import OPTRUN, Peer
from benchmarks.peers.measuring import measure_steps
from benchmarks.peers.workloads import WORKLOADS
from benchmarks.ratios import words

__all__ = ["measure", "table"]

SETTINGS = ("optimizer.fused=true", "precision=bf16", "compile=true", "memory_format=channels_last")


def measure(workloads: Sequence[str], rounds: int) -> dict[str, Any]:
    """The ratios to optrun as it comes, with one thread, over so many rounds; of each setting."""
    peers = [OPTRUN, *(Peer(setting, None, (setting,), exact=False) for setting in SETTINGS)]
    return {
        "workloads": {
            name: {"title": WORKLOADS[name].title, **measure_steps(WORKLOADS[name], peers, rounds, yardstick=OPTRUN)}
            for name in workloads
        },
    }


def table(figures: Mapping[str, Any]) -> str:
    """The figures as a Markdown table: medians, with quartiles in brackets, and the difference."""
    workloads = figures["workloads"].values()
    lines = [["a step's time, to that without", *(its["title"] for its in workloads)]]
    lines.append(["---"] * len(lines[0]))
    for setting in SETTINGS:
        found = [its["peers"].get(setting) for its in workloads]
        cells = [f"{words(it['ratio'])}, {_difference(it['largest_difference'])}" if it else "–" for it in found]
        lines.append([f"`{setting}`", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _difference(largest: float) -> str:
    return f"{largest:.0e}" if largest else "the same bits"
