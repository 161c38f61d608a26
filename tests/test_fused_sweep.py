"""Sweeps on the fused executor: the same records as in the pool, whatever happens; and who trains alone, and why."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import assert_dead, descendants
from stacking import _is_same, _leaves
from sweeping import BASE, metrics, optrun, statuses, write_sweep, written
from test_sweep_crashes import is_so_far, rows_in, running, started, wait_until

from optrun.config.sweep import load_sweep
from optrun.experiment import Experiment
from optrun.fused.grouping import cannot_fuse
from optrun.runs.layout import Layout
from optrun.runs.reader import read
from optrun.sweeps import Sweep

GRID = {
    "optimizer": [{"name": "SGD", "momentum": 0.9}, {"name": "Adam"}, {"name": "NAdam"}],
    "optimizer.lr": [0.003, 0.03],
    "clip_norm": [None, 0.5],
}
"""12 points."""


def fused(folder: Path, *arguments: Any, jobs: int = 2) -> Any:
    return optrun(folder, "sweep", *arguments, "--executor", "fused", "--jobs", str(jobs))


def summaries(sweep: Path) -> dict[str, dict[str, Any]]:
    """Of every trial, without times and the engine."""
    found = {}
    for path in sorted(sweep.glob("*/summary.json")):
        summary = json.loads(path.read_text())
        for key in ("train_time", "wall_time", "samples_per_second", "engine"):
            del summary[key]
        found[path.parent.name] = summary
    return found


def engines(sweep: Path) -> set[str]:
    return {json.loads(path.read_text())["engine"] for path in sweep.glob("*/summary.json")}


def assert_same_records(sweep: Path, other: Path) -> None:
    """Rows, summaries and checkpoints, but for times."""
    assert metrics(sweep) == metrics(other)
    assert summaries(sweep) == summaries(other)
    for path in sorted(other.glob("*/checkpoints/*.pt")):
        one, another = (
            dict(_leaves(torch.load(each, weights_only=True))) for each in (sweep / path.relative_to(other), path)
        )
        assert one.keys() == another.keys()
        for key in one.keys() - {("time",), ("wall_time",), ("metrics_bytes",)}:
            if key[0] not in ("last_row",):
                assert _is_same(one[key], another[key]), (path, key)


def fused_and_pool(folder: Path, *base: Any, arguments: Sequence[str | Path] = (), **keys: Any) -> tuple[Path, Path]:
    """The directories of a sweep that was trained as one, and trial by trial in the pool."""
    for executor in ("fused", "pool"):
        path = write_sweep(folder / executor, *base, **keys)
        done = optrun(folder / executor, "sweep", path, "--executor", executor, "--jobs", "2", *arguments)
        assert done.returncode == 0, done.stderr
    return folder / "fused" / "runs" / "s", folder / "pool" / "runs" / "s"


@pytest.fixture(scope="module")
def in_the_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep of GRID, each trial by itself."""
    folder = tmp_path_factory.mktemp("pool")
    done = optrun(folder, "sweep", write_sweep(folder, grid=GRID, seeds=2), "--executor", "pool", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "s"


def test_the_same_records(in_the_pool: Path, tmp_path: Path) -> None:
    done = fused(tmp_path, write_sweep(tmp_path, grid=GRID, seeds=2))
    assert done.returncode == 0, done.stderr
    (verdict,) = [line for line in done.stderr.splitlines() if line.startswith("fused ")]
    assert verdict.startswith("fused 24 trials ×2 processes: ")
    assert verdict.endswith("verified bitwise")
    sweep = tmp_path / "runs" / "s"
    assert engines(sweep) == {"fused"}
    assert_same_records(sweep, in_the_pool)
    assert list((sweep / ".groups").iterdir()) == []
    environment = read(next(path for path in sweep.iterdir() if path.is_dir() and path.name[0] != ".")).environment
    assert environment["fused"]["members"] == 12
    assert environment["fused"]["verified"] == "bitwise"
    before = written(sweep)
    assert fused(tmp_path, tmp_path / "sweep-given.yaml").returncode == 0
    assert written(sweep) == before


@pytest.mark.parametrize("keep", ["all", "none"])
def test_what_is_kept(keep: str, tmp_path: Path) -> None:
    base = {**BASE, "keep_checkpoints": keep, "checkpoint_every": {"steps": 5}}
    one, other = fused_and_pool(tmp_path, base, grid={"optimizer.lr": [0.01, 0.03, 0.1, 0.3]})
    assert engines(one) == {"fused"}
    assert_same_records(one, other)
    assert [path.relative_to(one) for path in sorted(one.glob("*/checkpoints/*"))] == [
        path.relative_to(other) for path in sorted(other.glob("*/checkpoints/*"))
    ]


def test_halving_and_early_stops(tmp_path: Path) -> None:
    base = {**BASE, "epochs": 9, "early_stop": {"metric": "val/accuracy", "patience": 1}}
    keys = {"prune": {"min_epochs": 2, "eta": 2}, "seeds": 2, "grid": {"optimizer.lr": [0.001, 0.01, 0.1, 0.3, 1.0]}}
    one, other = fused_and_pool(tmp_path, base, **keys)
    assert "fused" in engines(one)
    assert "pruned" in statuses(one)
    assert metrics(one) == metrics(other)
    assert summaries(one) == summaries(other)


def test_trials_that_diverge_in_their_last_step(tmp_path: Path) -> None:
    base = {**{key: value for key, value in BASE.items() if key != "epochs"}, "steps": 1}
    one, other = fused_and_pool(tmp_path, base, grid={"optimizer.lr": [0.1, 1e30, 0.3, 1e35]})
    assert engines(one) == {"fused"}
    assert statuses(one) == ["completed"] * 2 + ["diverged"] * 2
    assert metrics(one) == metrics(other)
    assert summaries(one) == summaries(other)


def test_trials_that_diverge(tmp_path: Path) -> None:
    grid = {"optimizer.lr": [0.1, 1e20, 0.3, 1e30, 0.03], "seed": [0, 1]}
    one, other = fused_and_pool(tmp_path, grid=grid)
    assert statuses(one) == ["completed"] * 6 + ["diverged"] * 4
    assert metrics(one) == metrics(other)
    assert summaries(one) == summaries(other)


def test_a_longer_sweep_goes_on_from_the_shorter_one(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert fused(whole, write_sweep(whole, {**BASE, "epochs": 4}, grid=GRID)).returncode == 0
    assert fused(parts, write_sweep(parts, {**BASE, "epochs": 1}, grid=GRID)).returncode == 0
    done = fused(parts, write_sweep(parts, {**BASE, "epochs": 4}, grid=GRID))
    assert done.returncode == 0, done.stderr
    assert "go on from shorter runs" in done.stderr
    found = metrics(parts / "runs" / "s")
    for name, rows in metrics(whole / "runs" / "s").items():
        assert found[name] == rows


SLOW = {**BASE, "epochs": 40, "log_every": 1, "checkpoint_every": 1}
RATES = {"optimizer.lr": [0.003 * i for i in range(1, 9)]}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = optrun(folder, "sweep", write_sweep(folder, SLOW, grid=RATES), "--executor", "pool", "--jobs", "2", "-q")
    assert done.returncode == 0, done.stderr
    return metrics(folder / "runs" / "s")


def whole_of(undisturbed: dict[str, Any]) -> int:
    return sum(len(json.dumps(row)) + 30 for rows in undisturbed.values() for row in rows)


def test_a_driver_killed_again_and_again(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    path, sweep = write_sweep(tmp_path, SLOW, grid=RATES), tmp_path / "runs" / "s"
    dice = random.Random(1)
    for _ in range(3):
        with running(started(tmp_path, path, executor="fused")) as driver:
            enough = rows_in(sweep) + dice.uniform(0.02, 0.25) * whole_of(undisturbed)
            wait_until(partial(is_so_far, sweep, enough, driver))
            others = descendants(driver.pid)
            driver.kill()
            driver.wait()
            assert_dead(others)
    done = fused(tmp_path, path)
    assert done.returncode == 0, done.stderr
    assert statuses(sweep) == ["completed"] * 8
    assert metrics(sweep) == undisturbed


def test_a_worker_killed_once(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    path, sweep = write_sweep(tmp_path, SLOW, grid=RATES), tmp_path / "runs" / "s"
    with running(started(tmp_path, path, executor="fused")) as driver:
        wait_until(partial(is_so_far, sweep, 0.2 * whole_of(undisturbed), driver))
        os.kill(max(descendants(driver.pid)), signal.SIGKILL)
        _, said = driver.communicate(timeout=120)
    assert driver.returncode == 0, said
    assert "4 trials train as one: its process was killed by signal 9" in said
    assert metrics(sweep) == undisturbed


def test_members_that_stand_at_different_places(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    """Of eight runs that were left after 3, 5, 9 and 15 steps (6 are an epoch), some can go on as one."""
    path = write_sweep(tmp_path, SLOW, grid=RATES)
    sweep = Sweep(load_sweep(path), tmp_path / "runs")
    for trial, steps in zip(sweep.plan(), (3, 9, 15, 3, 9, 5, 3, 9)):
        events = Experiment.new(trial.spec, directory=trial.directory).events()
        for event in events:
            if event.step == steps:
                break
        events.close()
    done = fused(tmp_path, path)
    assert done.returncode == 0, done.stderr
    assert engines(tmp_path / "runs" / "s") == {"fused", "loop"}
    assert metrics(tmp_path / "runs" / "s") == undisturbed


def test_a_signal_checkpoints_all_of_them(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    base = {**SLOW, "checkpoint_every": "auto"}
    path, sweep = write_sweep(tmp_path, base, grid=RATES), tmp_path / "runs" / "s"
    with running(started(tmp_path, path, executor="fused")) as driver:
        wait_until(partial(is_so_far, sweep, 0.2 * whole_of(undisturbed), driver))
        others = descendants(driver.pid)
        os.kill(driver.pid, signal.SIGINT)
        _, said = driver.communicate(timeout=120)
        assert driver.returncode == 130, said
        assert_dead(others)
    assert set(statuses(sweep)) <= {"completed", "interrupted"}
    assert all(Layout(run.parent).last.exists() for run in sweep.glob("*/config.yaml"))
    # Half of them go on alone, the others as one again.
    alone = sorted(run.parent for run in sweep.glob("*/config.yaml"))[::2]
    for run in alone:
        assert optrun(tmp_path, "resume", run).returncode == 0
    done = fused(tmp_path, path)
    assert done.returncode == 0, done.stderr
    assert metrics(sweep) == undisturbed


def test_a_member_is_locked_while_its_group_trains(tmp_path: Path) -> None:
    path, sweep = write_sweep(tmp_path, {**SLOW, "epochs": 2000}, grid=RATES), tmp_path / "runs" / "s"
    with running(started(tmp_path, path, executor="fused")) as driver:
        wait_until(lambda: rows_in(sweep) > 4000)
        run = next(sweep.glob("*/config.yaml")).parent
        assert read(run).status == "running"
        refused = optrun(tmp_path, "resume", run)
        assert refused.returncode == 1
        assert "is in use by process" in refused.stderr
        others = descendants(driver.pid)
        driver.kill()
        driver.wait()
        assert_dead(others)
    assert read(run).status == "interrupted"


ALONE: dict[str, tuple[dict[str, Any], str]] = {
    "LBFGS": ({"optimizer": {"name": "LBFGS", "max_iter": 2}}, "there is no rule for LBFGS"),
    "SparseAdam": (
        {
            "dataset": {"name": "pydocs_topics", "batch_size": 64},
            "model": {"name": "embedding_bag", "dim": 8, "sparse": True},
            "optimizer": {"name": "SparseAdam", "lr": 0.01, "fallback": {"name": "Adam", "lr": 0.01}},
        },
        "there is no rule for SparseAdam",
    ),
    "a sparse model": (
        {
            "dataset": {"name": "pydocs_topics", "batch_size": 64},
            "model": {"name": "embedding_bag", "dim": 8, "sparse": True},
        },
        "sparse gradients are for a run alone",
    ),
    "fp16": ({"precision": "fp16"}, "fp16 is trained alone"),
    "another package": (
        {"optimizer": {"name": "pytorch_optimizer.Lion"}},
        "there is no rule for pytorch_optimizer.Lion",
    ),
    "fused": ({"optimizer": {"name": "Adam", "fused": True}}, "Adam with fused is another implementation"),
    "two threads": ({"threads": 2}, "2 threads are for a run alone"),
}


@pytest.mark.parametrize("name", ALONE)
def test_who_trains_alone_and_why(name: str, tmp_path: Path) -> None:
    change, reason = ALONE[name]
    base = {**BASE, "epochs": None, "steps": 3, **change}
    path = write_sweep(tmp_path, {k: v for k, v in base.items() if v is not None}, seeds=4)
    spec = load_sweep(path).points[0].trials[0]
    assert cannot_fuse(spec) == reason
    done = fused(tmp_path, path)
    assert done.returncode == 0, done.stderr
    assert f"4 trials train alone: {reason}" in done.stderr
    assert engines(tmp_path / "runs" / "s") == {"loop"}


OWN = {
    "looks at a number": "x = x if x.sum() > -1e9 else x",
    "draws for all": "x = x + 0 * torch.rand(1)",
    "writes into nothing known": "x = x.clone().cumsum_(1)",
}


@pytest.mark.parametrize("name", OWN)
def test_a_model_that_is_no_stack_trains_alone(name: str, tmp_path: Path) -> None:
    parts = tmp_path / "parts.py"
    parts.write_text(
        "import optrun, torch\n"
        "@optrun.models.register\n"
        "def own(data):\n"
        "    class Own(torch.nn.Linear):\n"
        "        def forward(self, x):\n"
        "            x = x.flatten(1)\n"
        f"            {OWN[name]}\n"
        "            return super().forward(x)\n"
        "    return Own(64, 10)\n"
    )
    path = write_sweep(tmp_path, {**BASE, "model": "own"}, grid={"optimizer.lr": [0.01, 0.03, 0.1, 0.3]})
    done = fused(tmp_path, path, "--import", parts)
    assert done.returncode == 0, done.stderr
    assert "2 trials train alone: " in done.stderr
    assert engines(tmp_path / "runs" / "s") == {"loop"}
    assert statuses(tmp_path / "runs" / "s") == ["completed"] * 4


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_a_model_without_rules_is_computed_member_by_member(precision: str, tmp_path: Path) -> None:
    parts = tmp_path / "parts.py"
    parts.write_text(
        "import optrun, torch\n"
        "@optrun.models.register\n"
        "def own(data):\n"
        "    class Own(torch.nn.Module):\n"
        "        def __init__(self):\n"
        "            super().__init__()\n"
        "            self.layer, self.scale = torch.nn.Linear(64, 10), torch.nn.Parameter(torch.ones(()))\n"
        "        def forward(self, x):\n"
        "            x = torch.fft.rfft(x.flatten(1)).abs().cumsum(1)\n"
        "            return self.scale * self.layer(torch.cat([x, x.flip(1)[:, :31]], 1)).logsumexp(1, keepdim=True)"
        " + self.layer(torch.nn.functional.pad(x, (0, 31)))\n"
        "    return Own()\n"
    )
    base, grid = {**BASE, "model": "own", "precision": precision}, {"optimizer.lr": [1e-5, 1e-4, 2e-4, 3e-4]}
    one, other = fused_and_pool(tmp_path, base, grid=grid, arguments=["--import", parts])
    assert engines(one) == {"fused"}
    assert_same_records(one, other)


def test_too_few_are_no_group(tmp_path: Path) -> None:
    done = fused(tmp_path, write_sweep(tmp_path, grid={"optimizer.lr": [0.1, 0.2, 0.3]}))
    assert done.returncode == 0, done.stderr
    assert engines(tmp_path / "runs" / "s") == {"loop"}


def test_what_a_group_has_paused_is_not_trained_on_when_the_group_is_given_up(tmp_path: Path) -> None:
    """So small a model is faster alone, which turns out when its trials have come to their rung."""
    sweep = {"grid": {"optimizer.lr": [0.01, 0.03, 0.1, 0.3]}, "prune": {"min_epochs": 1, "eta": 2}}
    path = write_sweep(tmp_path, {**BASE, "epochs": 4}, **sweep)
    for executor in (["inline"], ["auto", "--jobs", "2"]):
        done = optrun(tmp_path, "sweep", path, "--runs-dir", executor[0], "--executor", *executor)
        assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "auto" / "s") == metrics(tmp_path / "inline" / "s")
