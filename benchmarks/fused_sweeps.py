"""Fused sweeps beside the bare pool (`bare_pool.py`) and beside optrun's own pool: whole processes, turn about.

All train the same trials, and the fused sweep's weights must be the bare loop's to the last bit. The ratio of a round
is of times by the clock. `with_imports` is of the processes as they are; for `without_imports` the time of a process
that imports what the side needs and ends, measured in the same round, is taken off.
"""

from __future__ import annotations

import functools
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.bare_pool import PROCESSES, digest
from benchmarks.processes import Patience, Times, environment, timed
from benchmarks.ratios import spread, words
from optrun.components.data import Examples
from optrun.config.sweep import load_sweep
from optrun.runs import checkpoint, reader
from optrun.runs.finding import runs_in
from optrun.runs.layout import Layout
from optrun.training.preparation import load_data
from optrun.training.randomness import epoch_order

__all__ = ["WORKLOADS", "measure", "report", "table"]

OPTIMIZERS = [{"name": "SGD", "momentum": 0.9}, {"name": "Adam"}, {"name": "AdamW"}, {"name": "RMSprop"}]
COSINE = {"name": "CosineAnnealingLR"}


def sweep(epochs: int, rates: list[float], seeds: int, **base: Any) -> dict[str, Any]:
    """Four optimizers, learning rates, with and without clipping, seeds."""
    common = {"device": "cpu", "threads": 1, "loss": "cross_entropy", "metrics": ["accuracy"], "scheduler": COSINE}
    grid = [{"optimizer": OPTIMIZERS, "optimizer.lr": rates, "clip_norm": [None, 1.0]}]
    return {"seeds": seeds, "base": {"epochs": epochs, **common, **base, "optimizer": OPTIMIZERS[0]}, "grid": grid}


WORKLOADS: dict[str, dict[str, Any]] = {
    "digits": sweep(
        *(30, [0.001, 0.003, 0.01, 0.03], 2),
        dataset={"name": "digits", "batch_size": 64},
        model={"name": "mlp", "hidden": [128, 64]},
    ),
    "moons": sweep(
        *(30, [0.0003, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06], 4),
        dataset={"name": "moons", "batch_size": 32, "n": 1280},
        model={"name": "mlp", "hidden": [32, 32]},
    ),
    "transformer": sweep(
        *(1, [0.001, 0.002, 0.004, 0.008], 1),
        dataset={"name": "pydocs", "batch_size": 16, "context": 32},
        model={"name": "transformer"},
    ),
    "images": sweep(
        *(5, [0.001, 0.003], 1),
        dataset={"name": "digits28", "batch_size": 64},
        model={"name": "cnn", "channels": [8, 16]},
    ),
}
"""Which trials. `images` is trained by what `auto` chooses; the others by `--executor fused`."""

IMPORTS = {
    "bare": "import torch",
    "fused": "import optrun.cli.app, optrun.sweeps.driver, optrun.experiment.group",
    "pool": "import optrun.cli.app, optrun.sweeps.driver, optrun.experiment.run",
}


def measure(workload: str, repeat: int, patience: float, pool: bool) -> dict[str, Any]:
    """Times of all sides and the ratios bare / optrun over `repeat` rounds, after one that is not counted.

    Raises AssertionError where a trial was not fused though it was asked for, and where weights differ.
    """
    waiting = Patience(patience)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(workload, Path(folder))
        sides = {"bare": bench.bare, "fused": bench.fused, **({"pool": bench.pool} if pool else {})}
        bench.fused()
        rounds = []
        for number in range(repeat):
            order = list(sides) if number % 2 else list(reversed(sides))
            times = {side: waiting.calmest(sides[side]) for side in order}
            imports = {side: waiting.calmest(functools.partial(bench.imports, side)) for side in order}
            rounds.append((times, imports))
            bench.compare()
        figures = {
            "workload": workload,
            "trials": len(bench.specs),
            "epochs": bench.base["epochs"],
            "executor": bench.executor,
            "engines": bench.engines(),
            "verdict": bench.verdict(),
            "rounds": repeat,
            "seconds": {side: [times[side].wall for times, _ in rounds] for side in sides},
            "seconds_of_imports": {side: [imports[side].wall for _, imports in rounds] for side in sides},
            "others": max(t.others for both in rounds for each in both for t in each.values()),
        }
    for side in sides:
        if side != "bare":
            figures[f"bare/{side}"] = {
                "with_imports": spread([t["bare"].wall / t[side].wall for t, _ in rounds]),
                "without_imports": spread(
                    [(t["bare"].wall - i["bare"].wall) / (t[side].wall - i[side].wall) for t, i in rounds]
                ),
            }
    return figures


def report(figures: Mapping[str, Any]) -> str:
    """The figures in a few lines."""
    title = f"{figures['workload']}: {figures['trials']} trials × {figures['epochs']} epochs"
    lines = [f"{title}, {figures['rounds']} rounds, same bits; {', '.join(figures['engines'])}: {figures['verdict']}"]
    for side in ("fused", "pool"):
        for kind, ratio in figures.get(f"bare/{side}", {}).items():
            quartiles = f"quartiles {ratio['lower_quartile']:.2f} … {ratio['upper_quartile']:.2f}"
            lines.append(f"  bare pool / {side}, {kind.replace('_', ' ')}: {ratio['median']:.2f}   {quartiles}")
    medians = {side: statistics.median(seconds) for side, seconds in figures["seconds"].items()}
    lines.append("  seconds: " + ", ".join(f"{side} {seconds:.2f}" for side, seconds in medians.items()))
    return "\n".join(lines)


def table(measured: Mapping[str, Any]) -> str:
    """What stands in docs/fused.md: times of the bare pool over optrun's, in Markdown."""
    rows = ["| trials | whole processes | without imports | trained by |", "|---|---|---|---|"]
    for name, each in measured.items():
        if name in WORKLOADS:
            title = f"{name}: {each['trials']} × {each['epochs']} epoch{'s' if each['epochs'] > 1 else ''}"
            ratios = [words(each["bare/fused"][kind]) for kind in ("with_imports", "without_imports")]
            asked = f"{', '.join(each['engines'])} (`{each['executor']}`)"
            rows.append(f"| {title} | {ratios[0]} | {ratios[1]} | {asked} |")
    return "\n".join(rows)


class Bench:
    """One workload's sides, as commands."""

    def __init__(self, workload: str, folder: Path) -> None:
        self.workload, self.folder = workload, folder
        self.executor = "auto" if workload == "images" else "fused"
        self.base = WORKLOADS[workload]["base"]
        self.file = folder / "sweep.yaml"
        self.file.write_text(json.dumps({"name": workload, **WORKLOADS[workload]}), encoding="utf-8")
        if workload == "images":
            from optrun.components.plugins import import_file

            import_file(Path(__file__).with_name("images.py"))
        self.specs = [spec for point in load_sweep(self.file).points for spec in point.trials]
        self._write_work()

    def _write_work(self) -> None:
        """What `bare_pool` reads."""
        first = self.specs[0]
        data = load_data(first)
        train, val = data.train, data.val
        assert isinstance(train, Examples)
        assert isinstance(val, Examples)
        parts = {"inputs": train.inputs, "targets": train.targets, "val_inputs": val.inputs, "val_targets": val.targets}
        orders = {
            f"order.{seed}": torch.stack([epoch_order(seed, e, len(train.inputs)) for e in range(first.epochs or 0)])
            for seed in {spec.seed for spec in self.specs}
        }
        torch.save(parts | orders, self.folder / "data.pt")
        trials = [
            {
                "name": spec.config_hash(),
                "seed": spec.seed,
                "optimizer": {"name": spec.optimizer.name, "settings": spec.optimizer.settings},
                "scheduler": {"name": "CosineAnnealingLR", "settings": {"T_max": first.epochs}},
                "clip_norm": spec.clip_norm,
            }
            for spec in self.specs
        ]
        work = {
            "workload": self.workload,
            "epochs": first.epochs,
            "batch_size": first.dataset.batch_size,
            "characters": data.num_outputs,
            "trials": trials,
        }
        (self.folder / "work.json").write_text(json.dumps(work), encoding="utf-8")

    def bare(self) -> Times:
        return self._timed("benchmarks.bare_pool", str(self.folder))

    def fused(self) -> Times:
        return self._sweep(self.executor, "fused")

    def pool(self) -> Times:
        return self._sweep("pool", "pool")

    def imports(self, side: str) -> Times:
        return timed([sys.executable, "-c", IMPORTS[side]], environment(1), self.folder / "imports.txt")

    def _sweep(self, executor: str, into: str) -> Times:
        runs = self.folder / into
        shutil.rmtree(runs, ignore_errors=True)
        imported = ["--import", str(Path(__file__).with_name("images.py"))] if self.workload == "images" else []
        where = ["--runs-dir", str(runs), "--jobs", str(PROCESSES), "--quiet"]
        return self._timed("optrun", "sweep", str(self.file), "--executor", executor, *where, *imported)

    def _timed(self, module: str, *arguments: str) -> Times:
        command = [sys.executable, "-m", module, *arguments]
        return timed(command, environment(1), self.folder / f"{module}.txt")

    def _runs(self) -> list[Path]:
        return list(runs_in(self.folder / "fused"))

    def engines(self) -> list[str]:
        """Which engines trained the trials. Raises AssertionError if fewer were fused than were to be."""
        found = [reader.read(run).summary["engine"] for run in self._runs()]
        assert self.executor == "auto" or set(found) == {"fused"}, f"not fused: {found.count('loop')} of {len(found)}"
        return sorted({f"{found.count(engine)} {engine}" for engine in found})

    def verdict(self) -> str:
        """What was found out about the stacks."""
        found = [reader.read(run).environment.get("fused") for run in self._runs()]
        stacks = {json.dumps(each): each for each in found if each}.values()
        said = [f"{each['members']} as one {each['speed']:.1f}x as fast ({each['verified']})" for each in stacks]
        return "; ".join(sorted(said)) or "not fused"

    def compare(self) -> None:
        """Raises AssertionError where a trial's weights are not the bare loop's."""
        wanted: dict[str, str] = {}
        for process in range(PROCESSES):
            wanted |= json.loads((self.folder / f"found.{process}.json").read_text(encoding="utf-8"))
        runs = self._runs()
        assert len(runs) == len(wanted) == len(self.specs)
        for run in runs:
            held, _ = checkpoint.load(Layout(run))
            assert digest(held["model"]) == wanted[reader.read(run).summary["config_hash"]], f"{run} differs"
