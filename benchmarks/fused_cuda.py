"""Sweeps of 1 to 1,024 trials on one CUDA GPU: fused, one after the other, and by a pool that shares the card.

Whole processes by the clock, turn about, the time of imports included. Fused trials may fall back to the pool, which is
then said. `one_step_error` is ‖weights − a run's alone‖ / ‖a run's alone‖ after the first step, the largest of some
members: on a GPU no two kernels promise the same order of sums.
"""

from __future__ import annotations

import functools
import json
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.processes import Patience, Times, environment, timed
from benchmarks.ratios import paired, words
from optrun.components.data import Data
from optrun.config.spec import Spec
from optrun.config.sweep import load_sweep
from optrun.fused.batches import served
from optrun.fused.differences import relative_error
from optrun.fused.loop import train_step
from optrun.fused.member import Member
from optrun.fused.stack import Stack
from optrun.runs import reader
from optrun.runs.finding import runs_in
from optrun.training.batches import Batches
from optrun.training.loop import train_step as train_step_alone
from optrun.training.numerics import numerics
from optrun.training.preparation import load_data, prepare_run
from optrun.training.randomness import generator_states

__all__ = ["SIZES", "WORKLOADS", "measure", "one_step_error", "report", "sweep"]

SIZES = [1, 4, 16, 64, 256, 1024]
"""Numbers of trials."""

SHARING = 4
"""Processes of the pool on one card."""

COMPARED = 4
"""Members whose first step is compared."""

WORKLOADS: dict[str, dict[str, Any]] = {
    "digits": {"dataset": {"name": "digits", "batch_size": 64}, "model": {"name": "mlp", "hidden": [128, 64]}},
    "images": {"dataset": {"name": "digits", "batch_size": 64}, "model": {"name": "cnn", "channels": [8, 16]}},
    "transformer": {"dataset": {"name": "pydocs", "batch_size": 16, "context": 32}, "model": {"name": "transformer"}},
}


def sweep(workload: str, trials: int, steps: int, device: str) -> dict[str, Any]:
    """So many learning rates of AdamW, for so many steps each."""
    common = {
        "device": device,
        "threads": 1,
        "loss": "cross_entropy",
        "steps": steps,
        "log_every": 50,
        "clip_norm": 1.0,
    }
    base = {**common, **WORKLOADS[workload], "optimizer": {"name": "AdamW", "lr": 0.001}}
    rates = [round(1e-4 * 1.005**number, 10) for number in range(trials)]
    return {"name": workload, "base": base, "grid": {"optimizer.lr": rates}}


def measure(
    workloads: Sequence[str], sizes: Sequence[int], steps: int, repeat: int, patience: float, device: str = "cuda"
) -> dict[str, Any]:
    """Seconds of each side over `repeat` rounds, after one that is not counted. Raises SystemExit without a GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("fused-cuda needs a CUDA GPU, and torch finds none here; nothing was measured")
    waiting = Patience(patience)
    found: dict[str, Any] = {"gpu": _gpu(device), "steps": steps, "sharing": SHARING}
    for workload in workloads:
        found[workload] = {}
        for trials in sizes:
            with tempfile.TemporaryDirectory() as folder:
                bench = _Bench(Path(folder), sweep(workload, trials, steps, device))
                bench.run("fused")
                rounds: dict[str, list[float]] = {side: [] for side in _SIDES}
                for number in range(repeat):
                    for side in list(_SIDES)[:: 1 if number % 2 else -1]:
                        rounds[side].append(waiting.calmest(functools.partial(bench.run, side)).wall)
                found[workload][str(trials)] = {
                    "seconds": rounds,
                    "sequential/fused": paired(rounds["sequential"], rounds["fused"]),
                    "pool/fused": paired(rounds["pool"], rounds["fused"]),
                    "engines": bench.engines(),
                    "one_step_error": one_step_error(bench.specs),
                }
            print(_line(workload, str(trials), found[workload][str(trials)]), file=sys.stderr, flush=True)
    return found


def report(figures: Mapping[str, Any]) -> str:
    """A line for each number of trials."""
    gpu = figures["gpu"]
    lines = [
        f"{gpu['name']}, driver {gpu['driver']}, CUDA {gpu['cuda']}, cuDNN {gpu['cudnn']}; {figures['steps']} steps"
    ]
    for workload in filter(figures.__contains__, WORKLOADS):
        lines += [_line(workload, trials, each) for trials, each in figures[workload].items()]
    return "\n".join(lines)


def one_step_error(specs: Sequence[Spec]) -> float:
    """The largest of the relative errors of a few members' weights after one step of the stack of all of them."""
    data = load_data(specs[0])
    members = [_member(spec, data) for spec in specs]
    errors = []
    with numerics(threads=1, deterministic=specs[0].deterministic):
        stack = Stack(members)
        train_step(stack, next(served([member.batches for member in members], [0] * len(members), 0)))
        for row in range(0, len(members), -(-len(members) // COMPARED)):
            spec, alone, batches = prepare_run(specs[row], data)
            alone.train()
            train_step_alone(alone, next(batches.after(0, 0)), spec)
            errors.append(relative_error(alone.model.state_dict(), members[row].state.model.state_dict()))
    return max(errors)


_SIDES = {
    "fused": ["--executor", "fused", "--jobs", "1"],
    "sequential": ["--executor", "inline"],
    "pool": ["--executor", "pool", "--jobs", str(SHARING)],
}


class _Bench:
    """One sweep, as commands."""

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder, self.file = folder, folder / "sweep.yaml"
        self.file.write_text(json.dumps(plan), encoding="utf-8")
        self.specs = [spec for point in load_sweep(self.file).points for spec in point.trials]

    def run(self, side: str) -> Times:
        runs = self.folder / side
        shutil.rmtree(runs, ignore_errors=True)
        command = [
            sys.executable,
            "-m",
            "optrun",
            "sweep",
            str(self.file),
            *_SIDES[side],
            "--runs-dir",
            str(runs),
            "--quiet",
        ]
        return timed(command, environment(1), self.folder / f"{side}.txt")

    def engines(self) -> dict[str, int]:
        """Which engines trained the trials that were to be fused."""
        return dict(Counter(reader.read(run).summary["engine"] for run in runs_in(self.folder / "fused")))


def _member(spec: Spec, data: Data) -> Member:
    spec, state, batches = prepare_run(spec, data, apart=True)
    assert isinstance(batches, Batches)
    return Member(spec, state, batches, generator_states())


def _line(workload: str, trials: str, each: Mapping[str, Any]) -> str:
    ratios = ", ".join(f"{side} / fused {words(each[f'{side}/fused'])}" for side in ("sequential", "pool"))
    seconds = ", ".join(f"{side} {statistics.median(taken):.1f} s" for side, taken in each["seconds"].items())
    engines = ", ".join(f"{count} {engine}" for engine, count in each["engines"].items())
    return f"{workload} × {trials} ({engines}): {ratios}; {seconds}; one-step error {each['one_step_error']:.1e}"


def _gpu(device: str) -> dict[str, Any]:
    """What the figures depend on, beside the machine and the versions that every benchmark writes down."""
    if device != "cuda":
        return dict.fromkeys(("name", "driver", "cuda", "cudnn", "memory"))
    properties = torch.cuda.get_device_properties(0)
    driver = Path("/proc/driver/nvidia/version")
    return {
        "name": properties.name,
        "memory": properties.total_memory,
        "driver": driver.read_text(encoding="utf-8").splitlines()[0] if driver.exists() else None,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }
