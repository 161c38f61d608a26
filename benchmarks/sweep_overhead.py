"""What a sweep costs beside its training: optrun, Optuna, Hydra and Ray Tune run the same trials as whole processes.

The trials are as small as trials get (the digits MLP, one epoch of ten steps), so that what is measured is the tool.
Every tool gets the same data, batches and learning rates, and one thread a process; the loss of every trial must be the
same for all. optrun leaves a whole run directory for each (config, metrics, environment, summary, checkpoint);
the others leave what they leave. Per tool and repetition, with jobs = the trials it runs at a time:

- start-up: seconds of a sweep with only 2 trials, from the start of the process to its end;
- per trial: (seconds of the whole sweep - start-up) / (trials - 2), by the clock;
- overhead per trial: per trial, less what training needs of it: per trial of a bare `for` loop / jobs. So much longer
  each trial makes the sweep;
- worker overhead per trial: jobs x overhead per trial: the time in which a worker was not doing what the bare loop
  does. That it waits for others counts, and so does what training loses by having a neighbour.

CPU seconds are those of all processes a tool starts, also of those that it leaves to themselves. A sweep during which
others had a tenth of the machine's CPU time is repeated while there is patience; what they had is in the figures.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.processes import Patience, Times, all_descendants, installed, timed
from benchmarks.rivals.trial import rates
from optrun.components.data import Examples
from optrun.config.loading import load
from optrun.training.preparation import load_data
from optrun.training.randomness import epoch_order

__all__ = ["CONFIG", "NAMES", "ON_RAY", "measure", "table", "write_data"]

ROOT = Path(__file__).parent.parent
CONFIG = """\
seed: 0
epochs: 1
device: cpu
dataset: {name: digits, batch_size: 144}
model: {name: mlp, hidden: [128, 64], dropout: 0.1}
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: SGD, lr: 0.1, momentum: 0.9}
scheduler: {name: CosineAnnealingLR}
clip_norm: 1.0
"""
FEW = 2
"""Trials of the sweep that is all start-up: one for each of two workers."""


FOREACH = "optimizer.foreach=true"
"""Changes no bit, and keeps optrun from training the trials as one."""


@dataclass(frozen=True)
class Tool:
    """One way to run the sweep; `module` is its program in benchmarks/rivals, None for optrun itself."""

    name: str
    jobs: int
    module: str | None
    arguments: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


TOOLS = (
    Tool("bare loop", 1, "bare"),
    Tool("optrun, inline", 1, None, ("--executor", "inline")),
    Tool("optrun, pool of 2", 2, None, ("--executor", "pool", "--jobs", "2")),
    Tool("optrun, ray", 2, None, ("--executor", "ray", "--jobs", "2"), needs=("ray",)),
    Tool("optrun, ray, each alone", 2, None, ("--executor", "ray", "--jobs", "2", FOREACH), needs=("ray",)),
    Tool("Optuna, in memory", 1, "optuna_memory", needs=("optuna",)),
    Tool("Optuna, journal", 1, "optuna_journal", needs=("optuna",)),
    Tool("Optuna, journal, 2 processes", 2, "optuna_journal", ("2",), needs=("optuna",)),
    Tool("Hydra, joblib launcher", 2, "hydra_joblib", needs=("hydra-core", "hydra-joblib-launcher", "joblib")),
    Tool("Ray Tune", 2, "ray_tune", needs=("ray",)),
)

NAMES = tuple(tool.name for tool in TOOLS if not tool.name.startswith("optrun, ray"))
ON_RAY = ("bare loop", "optrun, pool of 2", "optrun, ray", "optrun, ray, each alone", "Ray Tune")


def measure(
    trials: int, repeat: int, rival_python: str, patience: float, names: Collection[str] = NAMES
) -> dict[str, Any]:
    """The figures of the tools called `names`, from `repeat` interleaved repetitions. Raises AssertionError where a
    trial's loss differs.

    The other tools run in `rival_python`; those that it does not have are said so and left out.
    """
    packages = ["torch", *(package for tool in TOOLS for package in tool.needs)]
    versions, spare = installed(rival_python, packages), Patience(patience)
    asked = [tool for tool in TOOLS if tool.name in names]
    skipped = {tool.name: missing for tool in asked if (missing := _missing(tool, versions))}
    for name, missing in skipped.items():
        print(f"  {name}: not installed here ({missing} is missing in {rival_python}; --rival-python names another)")
    tools = [tool for tool in asked if tool.name not in skipped]
    few: dict[str, list[Times]] = {tool.name: [] for tool in tools}
    all_: dict[str, list[Times]] = {tool.name: [] for tool in tools}
    parent = Path("runs", "benchmarks").resolve()
    parent.mkdir(parents=True, exist_ok=True)  # on the disk where runs are kept: a sync in memory costs nothing
    with tempfile.TemporaryDirectory(dir=parent) as folder, all_descendants():
        data = Path(folder, "data.pt")
        write_data(data)
        expected = _run(TOOLS[0], data, trials, rival_python)[1]
        for tool in tools:
            _run(tool, data, FEW, rival_python)  # so that no file is read for the first time on the clock
        for repetition in range(repeat):
            for tool in tools if repetition % 2 == 0 else tools[::-1]:
                for taken, count in ((few, FEW), (all_, trials)):
                    run = functools.partial(_checked, tool, data, expected, count, rival_python)
                    taken[tool.name].append(spare.calmest(run))
                start, whole = few[tool.name][-1], all_[tool.name][-1]
                others = f"others had {start.others:.0%} and {whole.others:.0%} of the machine"
                print(f"  {tool.name}: {start.wall:.2f} s, {whole.wall:.2f} s; {others}", flush=True)
    return {
        "workload": "digits mlp, one epoch of 10 steps, batch 144, fp32, one thread a process",
        "trials": trials,
        "repetitions": repeat,
        "definitions": (__doc__ or "").split("\n\n", 1)[1].strip(),
        "rival_versions": versions,
        "not_installed": skipped,
        "tools": {tool.name: _figures(tool, few, all_, trials) for tool in tools},
    }


def table(figures: Mapping[str, Any]) -> str:
    """The figures as a Markdown table: medians, with the range of the overhead over the repetitions."""
    trials, tools = figures["trials"], figures["tools"]
    ours = tools["optrun, pool of 2"]["wall_seconds"]["median"]
    lines = [
        f"| tool | start-up | {trials} trials | to the pool | CPU | per trial | overhead per trial | a worker's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in tools.items():
        wall, over = found["wall_seconds"]["median"], found["overhead_ms_per_trial"]
        lines.append(
            f"| {name} | {found['startup_seconds']['median']:.1f} s | {wall:.1f} s | {wall / ours:.2f}× "
            f"| {found['cpu_seconds']['median']:.1f} s | {found['ms_per_trial']['median']:.1f} ms "
            f"| {over['median']:.1f} ms ({over['min']:.1f} … {over['max']:.1f}) "
            f"| {found['worker_overhead_ms_per_trial']['median']:.1f} ms |"
        )
    return "\n".join(lines)


def write_data(path: Path) -> None:
    """The data as optrun splits it, for tools that have no data sets: all train on the same examples in one order."""
    config = path.with_name("digits.yaml")
    config.write_text(CONFIG, encoding="utf-8")
    parts = load_data(load(config))
    train, validation = parts.train, parts.val
    assert isinstance(train, Examples)
    assert isinstance(validation, Examples)
    order = epoch_order(0, 0, len(train.inputs))
    named = {"inputs": train.inputs, "targets": train.targets, "order": order}
    torch.save({**named, "val_inputs": validation.inputs, "val_targets": validation.targets}, path)


def _run(tool: Tool, data: Path, trials: int, rival_python: str) -> tuple[Times, dict[float, float]]:
    """One sweep in a folder of its own: what it took, and the loss by learning rate. Raises if the tool fails."""
    folder = data.parent / "sweep"
    folder.mkdir()
    (folder / "data.pt").hardlink_to(data)
    if tool.module is None:
        axis = f"optimizer.lr={','.join(map(repr, rates(trials)))}"
        where = ("--runs-dir", str(folder / "runs"), "--quiet")
        config = str(data.with_name("digits.yaml"))
        command = [sys.executable, "-m", "optrun", "sweep", config, "--grid", axis, *tool.arguments, *where]
    else:
        python = sys.executable if tool.module == "bare" else rival_python
        command = [python, "-m", f"benchmarks.rivals.{tool.module}", str(folder), str(trials), *tool.arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    try:
        times = timed(command, environment, folder / "output.txt")
        return times, _losses_of_optrun(folder) if tool.module is None else _losses_of_rival(folder)
    finally:
        shutil.rmtree(folder)


def _losses_of_rival(folder: Path) -> dict[float, float]:
    return dict(map(tuple, json.loads((folder / "values.json").read_text(encoding="utf-8"))))


def _losses_of_optrun(folder: Path) -> dict[float, float]:
    """By learning rate, out of the run directories; each must be complete."""
    losses = {}
    for summary in folder.glob("runs/*/*/summary.json"):
        run = summary.parent
        for name in ("metrics.jsonl", "environment.json", "checkpoints/last.pt"):
            assert (run / name).stat().st_size, f"{run.name} has no {name}"
        losses[load(run / "config.yaml").optimizer.settings["lr"]] = json.loads(summary.read_text())["final"][
            "val/loss"
        ]
    return losses


def _checked(tool: Tool, data: Path, expected: dict[float, float], trials: int, rival_python: str) -> Times:
    """What a sweep takes, in which every trial came out as it should."""
    times, losses = _run(tool, data, trials, rival_python)
    assert sorted(losses) == sorted(rates(trials)), f"{tool.name} ran {len(losses)} of {trials} trials"
    for rate, loss in losses.items():
        assert abs(loss - expected[rate]) < 1e-6, f"{tool.name}, lr {rate}: {loss}, not {expected[rate]}"
    return times


def _figures(tool: Tool, few: dict[str, list[Times]], all_: dict[str, list[Times]], trials: int) -> dict[str, Any]:
    def per_trial(name: str, seconds: Callable[[Times], float]) -> list[float]:
        pairs = zip(few[name], all_[name])
        return [1000 * (seconds(whole) - seconds(start)) / (trials - FEW) for start, whole in pairs]

    wall, bare = per_trial(tool.name, lambda t: t.wall), per_trial("bare loop", lambda t: t.wall)
    cpu, bare_cpu = per_trial(tool.name, lambda t: t.cpu), per_trial("bare loop", lambda t: t.cpu)
    return {
        "jobs": tool.jobs,
        "others_share": max(times.others for times in few[tool.name] + all_[tool.name]),
        "startup_seconds": _spread([times.wall for times in few[tool.name]]),
        "wall_seconds": _spread([times.wall for times in all_[tool.name]]),
        "cpu_seconds": _spread([times.cpu for times in all_[tool.name]]),
        "ms_per_trial": _spread(wall),
        "overhead_ms_per_trial": _spread([mine - other / tool.jobs for mine, other in zip(wall, bare)]),
        "worker_overhead_ms_per_trial": _spread([tool.jobs * mine - other for mine, other in zip(wall, bare)]),
        "cpu_overhead_ms_per_trial": _spread([mine - other for mine, other in zip(cpu, bare_cpu)]),
    }


def _spread(values: list[float]) -> dict[str, Any]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "values": values}


def _missing(tool: Tool, versions: dict[str, str]) -> str:
    """What a rival needs and is not installed, in words; empty if nothing."""
    return " and ".join(package for package in (*tool.needs, "torch") if tool.needs and package not in versions)
