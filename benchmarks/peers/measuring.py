"""A step of each peer over a step of the bare loop, and whole processes beside `optrun train`.

In steps, all peers of a workload are running processes that take turns of some epochs; a ratio is of the turns of one
round. Of a whole process everything counts, Python's start and imports too; it trains the same, and `optrun train` also
makes a run directory, evaluates at the end and writes a checkpoint, while the others leave their weights.
"""

from __future__ import annotations

import functools
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.contest import BARE, PEERS, Peer, command, contest, differences, folder_for
from benchmarks.peers.showing import table
from benchmarks.peers.workloads import WORKLOADS, Workload
from benchmarks.processes import Patience, environment, installed, timed
from benchmarks.ratios import paired, spread

__all__ = ["measure", "measure_processes", "measure_steps"]


def measure(
    workloads: Sequence[str], threads: Sequence[int], rounds: int, processes: int, rival_python: str, patience: float
) -> dict[str, Any]:
    """Every workload's steps with each number of threads, and its whole processes with one, for the peers there are.

    It takes long: what is known is said meanwhile, on standard error.

    Raises AssertionError where optrun's weights are not the bare loop's, bit for bit.
    """
    versions = installed(rival_python, (peer.package for peer in PEERS))
    peers = [peer for peer in PEERS if peer.package in versions]
    for missing in sorted({peer.package for peer in PEERS} - versions.keys()):
        print(f"  {missing} is not installed in {rival_python}; --rival-python names another Python")
    found: dict[str, Any] = {"definitions": __doc__, "peer_versions": versions, "workloads": {}}
    spare = Patience(patience)
    for workload in map(WORKLOADS.__getitem__, workloads):
        steps = {str(n): measure_steps(workload, peers, rounds, threads=n, rival_python=rival_python) for n in threads}
        whole = measure_processes(workload, peers, processes, rival_python, spare) if processes else {}
        found["workloads"][workload.name] = {"title": workload.title, "steps": steps, "processes": whole}
        print(table({"workloads": {workload.name: found["workloads"][workload.name]}}), file=sys.stderr, flush=True)
    return found


def measure_steps(
    workload: Workload,
    peers: Sequence[Peer],
    rounds: int,
    *,
    yardstick: Peer = BARE,
    threads: int = 1,
    rival_python: str = sys.executable,
) -> dict[str, Any]:
    """The ratio of each peer's turn to that of the yardstick, `rounds` times, after a round that is not counted."""
    with contest(workload, peers, rounds + 1, threads=threads, rival_python=rival_python) as running:
        running.round()
        turns = [running.round() for _ in range(rounds)]
        difference = running.finish()
        steps = workload.turn * workload.steps_per_epoch(running.directory / peers[0].name)
    return {
        "yardstick": yardstick.name,
        "steps_per_turn": steps,
        "peers": {
            name: {
                "ratio": spread([turn[name].wall / turn[yardstick.name].wall for turn in turns]),
                "cpu_ratio": spread([turn[name].cpu / turn[yardstick.name].cpu for turn in turns]),
                "microseconds_per_step": spread([turn[name].wall / steps * 1e6 for turn in turns]),
                "largest_difference": difference[name],
            }
            for name in running.sides
        },
    }


def measure_processes(
    workload: Workload, peers: Sequence[Peer], rounds: int, rival_python: str, patience: Patience
) -> dict[str, Any]:
    """Seconds of whole processes and their ratio to those of optrun, the first of `peers`, with one thread."""
    walls: dict[str, list[float]] = {peer.name: [] for peer in peers}
    cpus: dict[str, list[float]] = {peer.name: [] for peer in peers}
    others = 0.0
    with tempfile.TemporaryDirectory() as directory:
        folders = {peer: folder_for(peer, workload, Path(directory), workload.epochs, 1) for peer in peers}
        for number in range(rounds + 1):
            for peer in random.Random(number).sample(list(peers), len(peers)):
                folder = folders[peer]
                shutil.rmtree(folder / "run", ignore_errors=True)
                program = command(peer, workload, folder, rival_python, whole=True)
                times = patience.calmest(functools.partial(timed, program, environment(1), folder / "output.txt"))
                if number:  # in the first round files are read for the first time
                    walls[peer.name].append(times.wall)
                    cpus[peer.name].append(times.cpu)
                    others = max(others, times.others)
        difference = differences(peers, Path(directory))
    ours = peers[0].name
    return {
        "yardstick": ours,
        "epochs": workload.epochs,
        "others_share": others,
        "peers": {
            peer.name: {
                "wall_seconds": spread(walls[peer.name]),
                "cpu_seconds": spread(cpus[peer.name]),
                "wall_ratio": paired(walls[peer.name], walls[ours]),
                "cpu_ratio": paired(cpus[peer.name], cpus[ours]),
                "largest_difference": difference[peer.name],
            }
            for peer in peers
        },
    }
