"""Before and around a sweep's trials: who runs them, what is refused, what is written, and what goes to stdout."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from experiments import write_config
from sweeping import BASE, statuses, write_sweep

import optrun
from optrun.cli.app import run as command
from optrun.config.sweep import load_sweep
from optrun.errors import ConfigError, UsageError
from optrun.runs import files
from optrun.sweeps.driver import Sweep
from optrun.sweeps.executors.choosing import choose
from optrun.sweeps.executors.cores import physical_cores
from optrun.sweeps.executors.fused import Fused
from optrun.sweeps.executors.inline import Inline
from optrun.sweeps.executors.pool import Pool

LR = {"optimizer.lr": [0.1, 0.3]}
SPACE = {"optimizer.lr": {"log": [0.01, 1.0]}}
SEARCHES = [{"sampler": sampler, "trials": 4, "space": SPACE} for sampler in ("random", "tpe")]
PRINTS = """\
import optrun, torch
print("read")
@optrun.models.register
def own(data):
    print("built")
    class Own(torch.nn.Linear):
        def forward(self, x):
            print("asked")
            return super().forward(x.flatten(1))
    return Own(64, 10)
"""


def chosen(path: Path, name: str = "auto", jobs: int | None = None) -> Any:
    """The executor of the sweep in a file; of a fused one its pool."""
    executor = choose(Sweep(load_sweep(path), path.parent / "runs"), name, jobs)
    return executor.pool if isinstance(executor, Fused) else executor


# Who runs them --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [{"grid": LR}, *({"search": search} for search in SEARCHES)])
def test_the_pool_leaves_room_for_the_threads_of_a_trial(plan: Any, tmp_path: Path) -> None:
    assert chosen(write_sweep(tmp_path, {**BASE, "threads": 2}, **plan)).jobs == max(1, physical_cores() // 2)
    assert chosen(write_sweep(tmp_path, BASE, **plan)).jobs == physical_cores()


@pytest.mark.parametrize("search", SEARCHES)
def test_the_threads_of_a_search_may_be_searched(search: Any, tmp_path: Path) -> None:
    space = {"threads": {"choice": [1, 2 * physical_cores()]}}
    assert chosen(write_sweep(tmp_path, BASE, search={**search, "space": space})).jobs == 1


@pytest.mark.parametrize("plan", [{"grid": LR}, *({"search": search} for search in SEARCHES)])
def test_a_device_that_trials_name_is_not_chosen_for_them(plan: Any, tmp_path: Path) -> None:
    of_their_own = chosen(write_sweep(tmp_path, {**BASE, "device": "cuda:1"}, **plan))
    assert not of_their_own._one_device_each
    assert chosen(write_sweep(tmp_path, {**BASE, "device": "cuda"}, **plan))._one_device_each


def test_one_trial_needs_no_processes(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, BASE, grid=LR)
    assert isinstance(chosen(path), Pool)
    optrun.sweep(
        write_sweep(tmp_path, BASE, grid={"optimizer.lr": [0.1]}), executor="inline", runs_dir=tmp_path / "runs"
    )
    assert isinstance(chosen(write_sweep(tmp_path, BASE, grid=LR)), Inline)


def test_a_finished_halving_needs_no_processes(tmp_path: Path) -> None:
    grid, prune = {"optimizer.lr": [0.001, 0.01, 0.03, 0.1, 0.3]}, {"min_epochs": 1, "eta": 2}
    path = write_sweep(tmp_path, {**BASE, "epochs": 4}, grid=grid, prune=prune)
    assert isinstance(chosen(path), Pool)
    optrun.sweep(path, executor="inline", runs_dir=tmp_path / "runs")
    assert isinstance(chosen(path), Inline)


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_an_executor_that_nobody_has(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_sweep(tmp_path, BASE, grid=LR)
    assert command(["sweep", str(path), "--executor", "foo", *more]) == 2
    out, said = capsys.readouterr()
    assert out == ""
    assert said.startswith("there is no executor foo; there are auto (fused where trials are alike and it pays")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": {"k": 0.1}}, r"grid: k must be a list of candidates, not 0.1; write \[0.1\]"),
        ({"grid": {"optimizer": "SGD"}}, r"grid: optimizer must be a list of candidates, not 'SGD'; write \['SGD'\]"),
        ({"grid": [{"k": [1]}]}, "grid must be a dict of lists; a list of products is written in a sweep's file"),
        ({"grid": {"optimizer.lr": [1j]}}, "grid: optimizer.lr: builtins.complex is no plain data"),
        ({"grid": {"optimizer.lr": []}}, "the candidates are missing"),
        ({"seeds": 1.5}, "seeds: must be a number of seeds"),
        ({"seeds": "3"}, "seeds: must be a number of seeds"),
        ({"jobs": 0}, "0 jobs cannot do anything; give at least 1"),
        ({"jobs": 0, "executor": "pool"}, "0 jobs cannot do anything; give at least 1"),
        ({"executor": "foo"}, "there is no executor foo"),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", BASE)
    with pytest.raises(UsageError, match=message):
        optrun.sweep(config, runs_dir=tmp_path / "runs", **arguments)
    assert not (tmp_path / "runs").exists()


def test_any_iterable_is_an_axis(tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", {**BASE, "epochs": 1})
    rates = optrun.sweep(
        config,
        grid={"optimizer.lr": (rate for rate in (0.1, 0.2))},
        seeds=range(2),
        executor="inline",
        runs_dir=tmp_path / "runs",
    )
    assert rates.counts == {"completed": 4}


@pytest.mark.parametrize("executor", ["inline", "pool"])
def test_what_is_refused_leaves_nothing(executor: str, tmp_path: Path) -> None:
    path = write_sweep(tmp_path, BASE, grid={"optimizer": [{"name": "SGD"}, {"name": "Muon"}], "optimizer.lr": [0.1]})
    with pytest.raises(ConfigError, match="optimizer"):
        optrun.sweep(path, executor=executor, runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_directory_of_a_sweep_becomes_no_run(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, BASE, grid=LR)
    optrun.sweep(path, executor="inline", runs_dir=tmp_path / "runs")
    with pytest.raises(UsageError, match="runs/s holds a sweep, which would take the run for itself; choose another"):
        optrun.train(write_config(tmp_path / "c.yaml", BASE), run_dir=tmp_path / "runs" / "s")
    assert optrun.sweep(path, executor="inline", runs_dir=tmp_path / "runs").counts == {"completed": 2}


# What is written ------------------------------------------------------------------------------------------------------


class Full(files.System):
    """A disk without any space."""

    def write(self, file: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_done_sweep_is_shown_on_a_full_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_sweep(tmp_path, BASE, grid=LR)
    arguments = ["sweep", str(path), "--executor", "inline", "--runs-dir", str(tmp_path / "runs")]
    assert command(arguments) == 0
    ranking = capsys.readouterr().out
    monkeypatch.setattr(files, "system", Full())
    assert command(arguments) == 0
    assert capsys.readouterr().out == ranking
    assert command([*arguments, "--seeds", "2"]) == 1
    assert "no space left on device" in capsys.readouterr().err


# What goes to stdout --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["inline", "pool"])
def test_json_is_all_there_is_on_stdout(executor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = tmp_path / "parts.py"
    parts.write_text(PRINTS)
    path = write_sweep(tmp_path, {**BASE, "model": "own"}, grid=LR)
    arguments = ["sweep", str(path), "--import", str(parts), "--runs-dir", str(tmp_path / "runs"), "--json"]
    assert [trial["status"] for trial in printed(capsys, [*arguments, "--dry-run"])] == ["planned"] * 2
    assert printed(capsys, [*arguments, "--executor", executor])["counts"] == {"completed": 2}


def printed(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> Any:
    assert command(arguments) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("executor", ["inline", "pool"])
def test_a_component_that_exits_fails_alone(executor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = tmp_path / "parts.py"
    parts.write_text(PRINTS.replace('print("asked")', "self.training and len(x) > 2 and data.task and exit(7)"))
    grid = {"model": ["own", {"name": "mlp", "hidden": [4]}]}
    path = write_sweep(tmp_path, BASE, grid=grid)
    arguments = ["sweep", str(path), "--import", str(parts), "--executor", executor]
    arguments += ["--runs-dir", str(tmp_path / "runs")]
    for _ in range(2):
        assert command(arguments) == 4
        assert statuses(tmp_path / "runs" / "s") == ["completed", "failed"]
        assert "SystemExit: 7; --retry-failed runs them again" in capsys.readouterr().err
