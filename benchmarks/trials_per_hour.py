"""The cost model of docs/scale.md held against sweeps: trials an hour on one and two workers, of one and of two nodes.

The model says 3600·W/(t + o): `t` is what a trial takes in its worker (the median `wall_time` of the sweep's trials, so
that what neighbours cost is in it), `o` what a worker needs beside it. `o` is measured with trials of one epoch; the
prediction is for trials that are fifty times as long, whose sweeps are then measured. All rates are of two sweeps that
differ in the number of trials alone, so that starting and ending are in neither.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.ratios import spread
from benchmarks.sweep_overhead import CONFIG, FOREACH
from optrun.runs import reader
from optrun.runs.finding import runs_in

__all__ = ["measure", "report", "table"]

LENGTHS = {"short": (1, 8, 56), "long": (50, 2, 10)}
"""Epochs of a trial, and for each worker the trials of the smaller and the larger sweep."""

NODE = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 100 * 2**20, "include_dashboard": False}


@contextlib.contextmanager
def nodes(count: int) -> Iterator[list[str]]:
    """What a sweep is told to run on a Ray cluster of so many nodes of one CPU, all of them on this machine."""
    from ray.cluster_utils import Cluster

    made = Cluster()
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as short:  # as the names of sockets are in it
        for number in range(count):
            made.add_node(**NODE, temp_dir=f"{short}/{number}")
        try:
            yield ["--executor", "ray", "--address", str(made.address)]
        finally:
            made.shutdown()


@contextlib.contextmanager
def pool(jobs: int) -> Iterator[list[str]]:
    """What a sweep is told to run in so many processes."""
    yield ["--executor", "pool", "--jobs", str(jobs)]


PLACES = {
    "pool, 1 core": (pool, 1),
    "pool, 2 cores": (pool, 2),
    "Ray, 1 node": (nodes, 1),
    "Ray, 2 nodes": (nodes, 2),
}


def measure(repeat: int) -> dict[str, Any]:
    """Rates predicted and measured in each place, over `repeat` turns."""
    found: dict[str, list[dict[str, float]]] = {place: [] for place in PLACES}
    for turn in range(repeat):
        for place in list(PLACES) if turn % 2 == 0 else list(PLACES)[::-1]:
            make, workers = PLACES[place]
            with make(workers) as where:
                found[place].append(_turn(where, workers))
            print(
                f"  {place}: {json.dumps({key: round(value, 4) for key, value in found[place][-1].items()})}",
                flush=True,
            )
    return {"repeat": repeat, "lengths": LENGTHS, "places": found}


def report(figures: Mapping[str, Any]) -> str:
    return table(figures)


def table(figures: Mapping[str, Any]) -> str:
    """Medians, and the range of measured over predicted, in Markdown."""
    lines = ["| workers | t | o | predicted | measured | measured / predicted |", "|---|---|---|---|---|---|"]
    for place, turns in figures["places"].items():
        middle = {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
        ratio = spread([turn["measured"] / turn["predicted"] for turn in turns])
        lines.append(
            f"| {place} | {middle['t']:.2f} s | {1000 * middle['o']:.0f} ms | {middle['predicted']:,.0f} an hour "
            f"| {middle['measured']:,.0f} "
            f"| {ratio['median']:.2f} ({ratio['min']:.2f} … {ratio['max']:.2f}, n={ratio['n']}) |"
        )
    return "\n".join(lines)


def _turn(where: list[str], workers: int) -> dict[str, float]:
    short, its_time = _rate(where, workers, *LENGTHS["short"])
    beside = workers / short - its_time
    rate, time = _rate(where, workers, *LENGTHS["long"])
    return {"o": beside, "t": time, "predicted": 3600 * workers / (time + beside), "measured": 3600 * rate}


def _rate(where: list[str], workers: int, epochs: int, few: int, many: int) -> tuple[float, float]:
    """Trials a second, and the median of what they took in their workers."""
    (seconds, _), (longer, times) = (_sweep(where, epochs, each * workers) for each in (few, many))
    return (many - few) * workers / (longer - seconds), statistics.median(times)


def _sweep(where: list[str], epochs: int, trials: int) -> tuple[float, list[float]]:
    """The seconds of a sweep, and those of each of its trials."""
    parent = Path("runs", "benchmarks").resolve()
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        config = Path(folder, "config.yaml")
        config.write_text(CONFIG, encoding="utf-8")
        sweep = [
            "sweep",
            str(config),
            FOREACH,
            f"epochs={epochs}",
            "--seeds",
            str(trials),
            "--runs-dir",
            f"{folder}/runs",
        ]
        command = [sys.executable, "-m", "optrun", *sweep, *where, "--quiet"]
        began = time.perf_counter()
        subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, check=True)
        seconds = time.perf_counter() - began
        summaries = [reader.read(run).summary for run in runs_in(Path(folder, "runs"))]
        assert [each["status"] for each in summaries] == ["completed"] * trials
        return seconds, [each["wall_time"] for each in summaries]
