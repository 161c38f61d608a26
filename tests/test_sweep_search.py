"""Searches: what cannot be run, what coincides, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sweeping import BASE, statuses, write_sweep, written

import optrun
from optrun.cli.app import run as command
from optrun.config.sweep import load_sweep
from optrun.errors import ConfigError
from optrun.sweeps.driver import Sweep
from optrun.sweeps.executors.inline import Inline

NESTEROV = {"optimizer.momentum": {"choice": [0.9, 0.0]}, "optimizer.nesterov": {"choice": [False, True]}}
"""Of four points torch refuses one."""


def searched(folder: Path, **search: Any) -> Path:
    given = {"sampler": "random", "trials": 8, "batch": 2, "space": NESTEROV, **search}
    return write_sweep(folder, {**BASE, "epochs": 1}, search=given)


def swept(path: Path, *more: str, code: int = 0) -> list[str]:
    """The arguments of `optrun sweep`, run in this process beside the file; it ends with that exit code."""
    arguments = ["sweep", str(path), "--executor", "inline", "--runs-dir", str(path.parent / "runs"), *more]
    assert command(arguments) == code
    return arguments


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_point_that_torch_refuses_is_said_and_left_out(
    sampler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = searched(tmp_path, sampler=sampler)
    swept(path, "--json")
    out, said = capsys.readouterr()
    assert said.count("a proposed point cannot be run") == 1
    assert "Nesterov momentum requires a momentum" in said
    points = json.loads(out)["points"]
    settings = [point["settings"] for point in points]
    assert {"optimizer.momentum": 0.0, "optimizer.nesterov": True} not in settings
    before = written(tmp_path / "runs" / "s")
    swept(path)
    assert written(tmp_path / "runs" / "s") == before
    assert set(statuses(tmp_path / "runs" / "s")) == {"completed"}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("batch", [1, 8])
def test_a_search_of_points_that_torch_refuses_is_wrong(sampler: str, batch: int, tmp_path: Path) -> None:
    space = {"optimizer.nesterov": {"choice": [True]}, "optimizer.lr": {"log": [0.01, 1.0]}}
    path = searched(tmp_path, sampler=sampler, batch=batch, space=space, trials=20)
    with pytest.raises(ConfigError, match="Nesterov momentum requires a momentum"):
        optrun.sweep(path, executor="inline", runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs" / "s").exists()


def test_a_check_says_what_a_random_search_will_leave_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["check", str(searched(tmp_path)), "--json"]) == 0
    out, said = capsys.readouterr()
    facts = json.loads(out)
    assert (facts["trials"], facts["points"], facts["steps"]) == (3, 3, 18)
    assert said.count("warning: a proposed point cannot be run: ") == 1
    wrong = searched(tmp_path, space={"optimizer.nesterov": {"choice": [True]}})
    assert command(["check", str(wrong)]) == 2
    assert capsys.readouterr().err.count("Nesterov momentum requires a momentum") == 1


CYCLES = {
    "optimizer": {"choice": [{"name": "SGD", "lr": 0.1}, {"name": "Adagrad", "lr": 0.1}]},
    "scheduler": {"choice": [None, {"name": "CyclicLR", "base_lr": 0.01, "max_lr": 0.1}]},
}
"""Of four points optrun refuses one: Adagrad has no momentum to cycle."""


def test_points_that_coincide_or_cannot_be_are_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = searched(tmp_path, trials=16, space=CYCLES, seed=1)
    swept(path, "--dry-run")
    out, said = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert said.count("a proposed point cannot be run") == 1
    assert "CyclicLR cycles the momentum and Adagrad has none" in said
    assert said.splitlines()[-1] == "3 trials, 3 to be run; 10 more are equal to one of these"
    swept(path)
    lines = [line[:5] for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert lines == ["[1/3]", "[2/3]", "[3/3]"]


def test_a_learning_search_counts_what_is_still_open(tmp_path: Path) -> None:
    """At first 12 points may come; what coincides or cannot be is no longer among them when that is known."""
    path = searched(tmp_path, sampler="tpe", trials=12, batch=4, space=CYCLES)
    planned = []
    with Sweep(load_sweep(path), tmp_path / "runs") as sweep, Inline() as executor:
        for _ in sweep.events(executor):
            planned.append(sweep.planned)
        assert sweep.planned == len(sweep.trials) == sweep.standing.done == len(sweep.ranking)
    assert planned[0] == 12
    assert planned == sorted(planned, reverse=True)
    assert planned[-1] < 12


def test_a_warning_about_many_trials_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = {**BASE, "epochs": 1, "scheduler": {"name": "CyclicLR", "base_lr": 0.01, "max_lr": 0.1}}
    base["optimizer"] = {"name": "SGD", "lr": 0.1, "momentum": 0.9}
    space = {"optimizer.lr": {"log": [0.01, 1.0]}}
    path = write_sweep(tmp_path, base, search={"sampler": "tpe", "trials": 6, "batch": 3, "space": space})
    swept(path)
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    effects = [line for line in warnings if "has no effect" in line]
    assert len(warnings) == 2
    assert len(effects) == 1
    assert effects[0].endswith("has no effect; so it is, with other values, in 2 more trials")
