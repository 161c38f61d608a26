"""A sweep's file and command line as trials: which there are, in which order, what each is, and that they read back."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cases import GOOD
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import ParameterGrid

from optrun.cli.app import run
from optrun.components.choice import Choice
from optrun.config.document import parse
from optrun.config.loading import load, validate
from optrun.config.sweep import MOST_TRIALS, Objective, Point, Prune, SweepSpec, is_sweep, load_sweep
from optrun.config.sweep.keys import SweepKeys
from optrun.config.sweep.reading import field_types
from optrun.config.sweep.space import SearchKeys, Space
from optrun.config.writing import flow, to_yaml
from optrun.errors import ConfigError

HERE = Path(__file__).parent
SWEEP = """\
base: digits.yaml
grid: {optimizer.lr: [0.01, 0.1]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "digits.yaml").write_text(GOOD)
    return tmp_path


def swept(folder: Path, text: str = SWEEP, *overrides: str, **command_line: Any) -> SweepSpec:
    (folder / "rates.yaml").write_text(text, encoding="utf-8")
    return load_sweep(folder / "rates.yaml", overrides, **command_line)


def values(sweep: SweepSpec) -> list[dict[str, Any]]:
    return [dict(point.settings) for point in sweep.points]


def hashes(sweep: SweepSpec) -> list[list[str]]:
    return [[trial.config_hash() for trial in point.trials] for point in sweep.points]


# Which trials there are -----------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                ["optimizer.lr", "optimizer.momentum", "accumulate", "clip_norm", "optimizer.weight_decay"]
            ),
            st.lists(st.integers(1, 50), min_size=1, max_size=3, unique=True),
            max_size=4,
        ),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=40, deadline=None)
def test_the_order_is_that_of_scikit_learn(
    tmp_path_factory: pytest.TempPathFactory, grid: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("grid")
    (folder / "digits.yaml").write_text(GOOD)
    points = list(ParameterGrid(grid))
    different = [point for index, point in enumerate(points) if point not in points[:index]]
    sweep = swept(folder, f"base: digits.yaml\ngrid: {flow(grid)}\n")
    expected = [load(folder / "digits.yaml", {**point, "threads": 1}).config_hash() for point in different]
    assert [trial for trials in hashes(sweep) for trial in trials] == list(dict.fromkeys(expected))
    assert len(sweep.points) + sweep.duplicates == len(points)
    if len(sweep.points) == len(points):
        assert [list(each.items()) for each in values(sweep)] == [sorted(each.items()) for each in points]


def test_one_mapping_is_one_product(folder: Path) -> None:
    text = "base: digits.yaml\nseeds: [5, 3]\ngrid: {optimizer.momentum: [0, 0.9], optimizer.lr: [0.1, 0.01]}\n"
    sweep = swept(folder, text)
    assert [tuple(point.settings.items()) for point in sweep.points] == [
        (("optimizer.lr", lr), ("optimizer.momentum", momentum)) for lr in (0.1, 0.01) for momentum in (0, 0.9)
    ]
    assert [[trial.seed for trial in point.trials] for point in sweep.points] == [[5, 3]] * 4
    assert (sweep.name, sweep.seeds, sweep.duplicates) == ("rates", (5, 3), 0)
    assert (sweep.search, sweep.prune, sweep.notes, sweep.tags) == (None, None, "", ())


def test_a_sweep_without_a_grid_is_the_base_alone(folder: Path) -> None:
    sweep = swept(folder, "base: digits.yaml\n")
    (point,) = sweep.points
    assert (point.settings, sweep.seeds) == ({}, (0,))
    (trial,) = point.trials
    assert trial.config_hash() == load(folder / "digits.yaml", {"threads": 1}).config_hash()


def test_whole_components_go_in_first_whatever_their_letters(folder: Path) -> None:
    grid = """
  - model.hidden: [[8]]
    model: [{name: mlp, dropout: 0.5}]
    scheduler: [{name: SequentialLR, milestones: [1], schedulers: [LinearLR, LinearLR]}]
    scheduler.schedulers.0: [{name: StepLR, step_size: 2}]
    scheduler.schedulers.0.gamma: [0.5]
    optimizer.lr: [0.3]
    optimizer: [Adam]
    optimizer.name: [AdamW]
"""
    (point,) = swept(folder, f"base: digits.yaml\ngrid:{grid}").points
    (trial,) = point.trials
    assert trial.model == Choice("mlp", {"dropout": 0.5, "hidden": [8]})
    assert (trial.optimizer.name, trial.optimizer.settings) == ("AdamW", {"lr": 0.3})
    assert trial.scheduler is not None
    assert trial.scheduler.settings["schedulers"][0].settings == {"step_size": 2, "gamma": 0.5}


def test_a_candidate_is_not_changed_by_what_is_put_into_it(folder: Path) -> None:
    grid = "{optimizer: [{name: SGD}, {name: Adam}], optimizer.lr: [0.1, 0.2]}"
    points = swept(folder, f"base: digits.yaml\ngrid: {grid}\n").points
    assert [point.settings["optimizer"] for point in points] == [{"name": "SGD"}] * 2 + [{"name": "Adam"}] * 2
    assert [point.trials[0].optimizer.settings for point in points] == [{"lr": 0.1}, {"lr": 0.2}] * 2


def test_epochs_as_an_axis_over_a_base_in_steps(folder: Path) -> None:
    (folder / "digits.yaml").write_text(GOOD.replace("epochs: 3", "steps: 100"))
    points = swept(folder, "base: digits.yaml\ngrid: [{epochs: [1, 2]}, {steps: [5]}]\n").points
    assert [(p.trials[0].epochs, p.trials[0].steps) for p in points] == [(1, None), (2, None), (None, 5)]


def test_a_trial_has_one_thread_and_one_checkpoint_unless_its_config_says_so(folder: Path) -> None:
    (trial,) = swept(folder, "base: digits.yaml\n").points[0].trials
    assert (trial.name, trial.threads, trial.keep_checkpoints) == ("digits-sgd", 1, "last")
    grid = "grid: {threads: [auto, 2], keep_checkpoints: [all]}\n"
    trials = [point.trials[0] for point in swept(folder, f"base: digits.yaml\n{grid}").points]
    assert [(trial.threads, trial.keep_checkpoints) for trial in trials] == [(1, "all"), (2, "all")]


# Seeds and duplicates -------------------------------------------------------------------------------------------------


def test_seed_as_an_axis_makes_points_of_several_seeds(folder: Path) -> None:
    sweep = swept(folder, "base: digits.yaml\ngrid: {seed: [4, 2], optimizer.lr: [0.1, 0.2]}\n")
    assert values(sweep) == [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.2}]
    assert [[trial.seed for trial in point.trials] for point in sweep.points] == [[4, 2], [4, 2]]
    assert (sweep.seeds, sweep.duplicates) == ((4, 2), 0)


def test_seeds_of_one_setting_in_two_products_are_one_point(folder: Path) -> None:
    grid = "[{optimizer.lr: [0.1], seed: [0, 1]}, {optimizer.lr: [0.1, 0.2], seed: [1, 2]}]"
    sweep = swept(folder, f"base: digits.yaml\ngrid: {grid}\n")
    assert [[trial.seed for trial in point.trials] for point in sweep.points] == [[0, 1, 2], [1, 2]]
    assert (sweep.seeds, sweep.duplicates) == ((0, 1, 2), 1)


def test_what_means_the_same_is_one_point(folder: Path) -> None:
    grid = "{optimizer: [SGD, {name: sgd, momentum: 0}, {name: SGD, momentum: 0.0, nesterov: false}, Adam]}"
    sweep = swept(folder, f"base: digits.yaml\nseeds: 3\ngrid: {grid}\n")
    assert values(sweep) == [{"optimizer": "SGD"}, {"optimizer": "Adam"}]
    assert sweep.duplicates == 6


def test_without_seeds_every_trial_has_the_seed_of_its_base(folder: Path) -> None:
    (folder / "digits.yaml").write_text(GOOD.replace("seed: 0", "seed: 7"))
    assert swept(folder).seeds == (7,)
    assert [point.trials[0].seed for point in swept(folder).points] == [7, 7]
    assert swept(folder, SWEEP + "seeds: 2\n").seeds == (0, 1)


# The command line -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axis", "key", "candidates"),
    [
        ("optimizer.lr=0.01,1e-1", "optimizer.lr", [0.01, 0.1]),
        ("optimizer.lr=0.1", "optimizer.lr", [0.1]),
        ("optimizer.lr = 0.1 , 0.2", "optimizer.lr", [0.1, 0.2]),
        ("optimizer.lr=0.1,", "optimizer.lr", [0.1]),
        ("clip_norm=null,.inf", "clip_norm", [None, float("inf")]),
        ("scheduler=,LinearLR", None, None),
        ("scheduler=null,LinearLR", "scheduler", [None, "LinearLR"]),
        ("model.hidden=[64],[64,64]", "model.hidden", [[64], [64, 64]]),
        ("optimizer={name: Adam},{name: SGD, lr: 0.1}", "optimizer", [{"name": "Adam"}, {"name": "SGD", "lr": 0.1}]),
        ("notes='a, b',\"# c\",no", "notes", ["a, b", "# c", "no"]),
        ("notes=a=b", "notes", ["a=b"]),
    ],
)
def test_axes_of_the_command_line(axis: str, key: str | None, candidates: list[Any] | None, folder: Path) -> None:
    if key is None:
        with pytest.raises(ConfigError):
            swept(folder, "base: digits.yaml\n", axes=[axis])
        return
    assert swept(folder, "base: digits.yaml\n", axes=[axis]).resolved()["grid"] == {key: candidates}


def test_an_axis_of_the_command_line_takes_the_place_of_that_of_the_file_in_every_product(folder: Path) -> None:
    grid = "[{optimizer.lr: [0.1, 0.2]}, {optimizer: [Adam]}]"
    sweep = swept(folder, f"base: digits.yaml\ngrid: {grid}\n", axes=["optimizer.lr=3", "epochs=1,2"])
    assert values(sweep) == [
        {"epochs": 1, "optimizer.lr": 3},
        {"epochs": 2, "optimizer.lr": 3},
        {"epochs": 1, "optimizer": "Adam", "optimizer.lr": 3},
        {"epochs": 2, "optimizer": "Adam", "optimizer.lr": 3},
    ]


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("1", (0,)),
        ("3", (0, 1, 2)),
        ("0,3,7", (0, 3, 7)),
        ("7, 3", (7, 3)),
        ("[4]", (4,)),
        ("[4,5]", (4, 5)),
        ("4,", (4,)),
    ],
)
def test_seeds_of_the_command_line(text: str, seeds: tuple[int, ...], folder: Path) -> None:
    assert swept(folder, SWEEP + "seeds: 9\n", seeds=text).seeds == seeds
    assert load_sweep(folder / "digits.yaml", seeds=text).seeds == seeds


def test_the_config_of_a_run_is_the_base_of_a_sweep(folder: Path) -> None:
    sweep = load_sweep(folder / "digits.yaml", ["epochs=1", "name=mine"], axes=["optimizer.lr=0.1,0.2"], seeds="2")
    assert (sweep.name, sweep.seeds, values(sweep)) == ("mine", (0, 1), [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.2}])
    assert {(trial.name, trial.epochs) for point in sweep.points for trial in point.trials} == {("mine", 1)}
    (folder / "plain.yaml").write_text(GOOD.replace("name: digits-sgd\n", ""))
    assert load_sweep(folder / "plain.yaml").name == "plain"


def test_a_sweep_of_a_run_may_be_told_all_a_sweep_can_be_told(folder: Path) -> None:
    search = {"sampler": "random", "trials": 3, "space": {"optimizer.lr": {"log": [0.001, 1]}}}
    changes = {"search": search, "prune": {"min_epochs": 1, "eta": 2}, "objective": {"metric": "val/loss"}, "seeds": 2}
    sweep = load_sweep(folder / "digits.yaml", {**changes, "notes": "mine"})
    assert sweep.search is not None
    assert sweep.search.space == {"optimizer.lr": Space("log", 0.001, 1.0)}
    assert (sweep.prune, sweep.objective, sweep.seeds) == (Prune(1, 2), Objective("val/loss", "min"), (0, 1))
    assert sweep.point({"optimizer.lr": 0.5}).trials[0].notes == "mine"


def test_overrides_go_to_the_sweep_or_to_its_base(folder: Path) -> None:
    text = SWEEP + "seeds: 2\nprune: {min_epochs: 1}\n"
    overrides = ["seeds=[3]", "name=other", "notes=mine", "tags=[a]", "objective.metric=val/loss", "prune=", "epochs=9"]
    sweep = swept(folder, text, *overrides, "optimizer.momentum=0.5")
    assert (sweep.seeds, sweep.name, sweep.notes, sweep.tags) == ((3,), "other", "mine", ("a",))
    assert (sweep.objective, sweep.prune) == (Objective("val/loss", "min"), None)
    trial = sweep.points[0].trials[0]
    assert (trial.name, trial.notes, trial.epochs) == ("digits-sgd", "", 9)
    assert trial.optimizer.settings == {"lr": 0.01, "momentum": 0.5}
    assert load_sweep(folder / "rates.yaml", {"seeds": [3], "epochs": 9}).seeds == (3,)


# What trials are judged by --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "objective"),
    [
        ("", ("val/accuracy", "max")),
        ("objective: {metric: val/loss}\n", ("val/loss", "min")),
        ("objective: {metric: val/accuracy}\n", ("val/accuracy", "max")),
        ("objective: {metric: val/accuracy, mode: min}\n", ("val/accuracy", "min")),
        ("objective:\n", ("val/accuracy", "max")),
        ("grid: {metrics: [[f1, accuracy], [f1]]}\n", ("val/f1", "max")),
        ("grid: {metrics: [[f1], [accuracy]]}\nobjective: {metric: val/loss}\n", ("val/loss", "min")),
        ("grid: {metrics: [[f1, accuracy], [accuracy]]}\nobjective: {metric: val/accuracy}\n", ("val/accuracy", "max")),
        ("grid: {metrics: [[]]}\n", ("val/loss", "min")),
    ],
)
def test_the_objective(lines: str, objective: tuple[str, str], folder: Path) -> None:
    sweep = swept(folder, f"base: digits.yaml\n{lines}")
    assert (sweep.objective.metric, sweep.objective.mode) == objective
    assert {trial.watched for point in sweep.points for trial in point.trials} == {objective}


def test_pruning_has_scikit_learns_and_hyperbands_eta(folder: Path) -> None:
    assert swept(folder, SWEEP + "prune: {min_epochs: 2}\n").prune == Prune(2, 3)


# Searches -------------------------------------------------------------------------------------------------------------

SEARCH = """\
base: digits.yaml
seeds: 2
search:
  sampler: TPE
  trials: 5
  space:
    optimizer.lr: {log: [1e-4, 1]}
    model.dropout: {uniform: [0, 0.5]}
    epochs: {int: [1, 4]}
    clip_norm: {choice: [null, 1.0]}
    optimizer: {choice: [SGD, {name: Adam}]}
"""


def test_a_search(folder: Path) -> None:
    sweep = swept(folder, SEARCH)
    assert sweep.search is not None
    assert (sweep.search.sampler, sweep.search.trials, sweep.search.seed, sweep.search.batch) == ("tpe", 5, 0, 8)
    assert sweep.search.space == {
        "optimizer.lr": Space("log", 1e-4, 1.0),
        "model.dropout": Space("uniform", 0.0, 0.5),
        "epochs": Space("int", 1, 4),
        "clip_norm": Space("choice", choices=(None, 1.0)),
        "optimizer": Space("choice", choices=("SGD", {"name": "Adam"})),
    }
    assert (sweep.points, sweep.seeds, sweep.duplicates) == ((), (0, 1), 0)
    assert isinstance(sweep.search.space["optimizer.lr"].high, float)


def test_a_point_of_a_search(folder: Path) -> None:
    settings = {
        "optimizer.lr": 0.1,
        "model.dropout": 0.25,
        "epochs": 2,
        "clip_norm": None,
        "optimizer": {"name": "Adam"},
    }
    point = swept(folder, SEARCH).point(settings)
    assert isinstance(point, Point)
    assert list(point.settings.items()) == sorted(settings.items())
    assert [trial.seed for trial in point.trials] == [0, 1]
    trial = point.trials[0]
    assert (trial.optimizer.name, trial.optimizer.settings) == ("Adam", {"lr": 0.1})
    assert (trial.model.settings["dropout"], trial.epochs, trial.clip_norm, trial.threads) == (0.25, 2, None, 1)
    assert trial.watched == ("val/accuracy", "max")


def test_a_point_that_cannot_be(folder: Path) -> None:
    sweep = swept(folder, SEARCH)
    good = {"optimizer.lr": 0.1, "model.dropout": 0.25, "epochs": 2, "clip_norm": None, "optimizer": "SGD"}
    with pytest.raises(ConfigError) as error:
        sweep.point({**good, "model.dropout": 2.0, "epochs": 0})
    assert str(error.value).replace(str(folder), "$PWD") == (
        "$PWD/rates.yaml:9:5: epochs: must be a whole number of at least 1, not 0"
    )
    with pytest.raises(ValueError, match="a point has values for"):
        sweep.point({"optimizer.lr": 0.1})


def test_every_end_and_choice_is_tried_in_turn(folder: Path) -> None:
    text = SEARCH.replace("[1, 4]", "[1, 9223372036854775808]").replace("[null, 1.0]", "[null, 0, 1.0, x]")
    with pytest.raises(ConfigError) as error:
        swept(folder, text)
    assert [(problem.line, problem.column, problem.key) for problem in error.value.problems] == [
        (9, 23, "epochs"),
        (10, 32, "clip_norm"),
        (10, 40, "clip_norm"),
    ]


# Files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("base: x\n", True),
        ("base: x\ndataset: digits\n", True),
        ("grid: {}\n", True),
        ("seeds: 3\nname: a\n", True),
        ("search: {}\n", True),
        ("prune: {}\n", True),
        ("objective: {}\n", True),
        ("grid: {}\nmodel: mlp\n", False),
        ("name: a\nnotes: b\ntags: []\n", False),
        ("bse: x\n", False),
        (GOOD, False),
    ],
)
def test_which_files_are_sweeps(text: str, expected: bool) -> None:
    assert is_sweep(parse(text, "x.yaml")) == expected


def test_a_sweep_is_no_run(folder: Path) -> None:
    (folder / "rates.yaml").write_text(SWEEP)
    with contextlib.chdir(folder), pytest.raises(ConfigError) as error:
        load("rates.yaml")
    assert str(error.value) == "rates.yaml:1:1: this is a sweep, and one run is wanted here; `optrun sweep` takes it"


def test_paths_are_relative_to_the_file_they_stand_in(tmp_path: Path) -> None:
    (tmp_path / "bases" / "data").mkdir(parents=True)
    (tmp_path / "sweeps" / "data").mkdir(parents=True)
    (tmp_path / "bases" / "table.yaml").write_text(
        GOOD.replace("{name: digits,", "{name: csv, path: data/base.csv, target: b,").replace("metrics: [accuracy]", "")
    )
    axes = "{dataset.path: [data/own.csv]}, {dataset: [{name: CSV, path: ../x.csv, target: b, batch_size: 4}]}"
    (tmp_path / "sweeps" / "s.yaml").write_text(f"base: ../bases/table.yaml\ngrid: [{{}}, {axes}]\n")
    with contextlib.chdir(tmp_path):
        sweep = load_sweep("sweeps/s.yaml")
        paths = [point.trials[0].dataset.settings["path"] for point in sweep.points]
        assert [str(Path(path).resolve().relative_to(tmp_path.resolve())) for path in paths] == [
            "bases/data/base.csv",
            "sweeps/data/own.csv",
            "x.csv",
        ]
        assert_reads_back(sweep, tmp_path / "elsewhere")
    assert sweep.resolved()["grid"][1] == {"dataset.path": [paths[1]]}
    assert sweep.resolved()["base"]["dataset"]["path"] == paths[0]


def test_the_way_to_a_file_does_not_change_a_trial(tmp_path: Path) -> None:
    for name in ("base", "sw", "elsewhere/deep"):
        (tmp_path / name).mkdir(parents=True)
    table = GOOD.replace("{name: digits,", "{name: csv, path: t.csv, target: b,").replace("metrics: [accuracy]", "")
    (tmp_path / "base" / "b.yaml").write_text(table)
    (tmp_path / "base" / "s.yaml").write_text("base: b.yaml\n")
    (tmp_path / "sw" / "s.yaml").write_text("base: ../base/b.yaml\n")
    beside, from_elsewhere = (load_sweep(tmp_path / folder / "s.yaml") for folder in ("base", "sw"))
    assert hashes(from_elsewhere) == hashes(beside)
    assert from_elsewhere.points[0].trials[0].dataset.settings["path"] == str(tmp_path / "base" / "t.csv")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "deep")
    (tmp_path / "sw" / "s.yaml").write_text("base: ../link/../b.yaml\n")
    (tmp_path / "elsewhere" / "b.yaml").write_text(table)
    through_a_link = load_sweep(tmp_path / "sw" / "s.yaml").points[0].trials[0].dataset.settings["path"]
    assert Path(through_a_link).resolve() == (tmp_path / "elsewhere" / "t.csv").resolve()


def assert_reads_back(sweep: SweepSpec, folder: Path) -> None:
    """What is written into sweep.yaml is the same sweep, wherever that stands."""
    folder.mkdir(exist_ok=True)
    text = to_yaml(sweep.resolved())
    (folder / "sweep.yaml").write_text(text, encoding="utf-8")
    again = load_sweep(folder / "sweep.yaml")
    assert hashes(again) == hashes(sweep)
    for key in ("name", "seeds", "objective", "prune", "search", "duplicates", "notes", "tags"):
        assert getattr(again, key) == getattr(sweep, key), key
    assert [trial.name for point in again.points for trial in point.trials] == [
        trial.name for point in sweep.points for trial in point.trials
    ]
    assert again.resolved() == sweep.resolved()
    assert to_yaml(again.resolved()) == text


CANDIDATES: Mapping[str, list[Any]] = {
    "optimizer": ["SGD", {"name": "Adam"}, {"name": "sgd", "momentum": 0}, {"name": "RMSprop", "lr": 1e-05}],
    "optimizer.lr": [0.1, 1, 1e-7, 0.30000000000000004],
    "optimizer.weight_decay": [0, 0.5],
    "model": ["linear", {"name": "mlp", "hidden": [3, 4]}, {"name": "mlp"}],
    "scheduler": [None, "CosineAnnealingLR", {"name": "StepLR", "step_size": 2}],
    "clip_norm": [None, 1.0, float("inf"), 2],
    "seed": [0, 5, 2**62],
    "name": ["a", "b-c"],
    "notes": ["", "no", "1e-3", "a: b", "😀"],
    "eval_every": [1, {"steps": 3}],
    "dataset.path": ["table.csv", "./table.csv", "../table.csv"],
}

some_axes = st.fixed_dictionaries(
    {}, optional={key: st.lists(st.sampled_from(every), min_size=1, max_size=3) for key, every in CANDIDATES.items()}
).filter(lambda axes: len(axes) < 5)


@st.composite
def sweeps(draw: st.DrawFn) -> dict[str, Any]:
    base = {
        "epochs": 4,
        "dataset": {"name": "csv", "path": "data/table.csv", "target": "b", "batch_size": 4},
        "model": "linear",
        "loss": "cross_entropy",
        "optimizer": "SGD",
        "metrics": draw(st.sampled_from([[], ["accuracy"]])),
    }
    sweep: dict[str, Any] = {"base": base, "grid": draw(some_axes | st.lists(some_axes, min_size=1, max_size=3))}
    products = sweep["grid"] if isinstance(sweep["grid"], list) else [sweep["grid"]]
    if not any("seed" in product for product in products):
        sweep |= draw(st.sampled_from([{}, {"seeds": 2}, {"seeds": [7, 3]}]))
    if not any("eval_every" in product for product in products):
        sweep |= draw(st.sampled_from([{}, {"prune": {"min_epochs": 1}}, {"prune": {"min_epochs": 3, "eta": 2}}]))
    sweep |= draw(st.sampled_from([{}, {"objective": {"metric": "val/loss"}}, {"notes": "no", "tags": ["a", "1"]}]))
    return sweep


@given(sweeps())
@settings(max_examples=60, deadline=None)
def test_any_sweep_reads_back(tmp_path_factory: pytest.TempPathFactory, sweep: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("sweep")
    path = folder / "s.yaml"
    path.write_text(json.dumps(sweep).replace("Infinity", ".inf"), encoding="utf-8")
    assert_reads_back(load_sweep(path), folder / "runs")


def test_a_search_reads_back(folder: Path) -> None:
    sweep = swept(folder, SEARCH)
    assert_reads_back(sweep, folder / "elsewhere")
    settings = {"optimizer.lr": 0.1, "model.dropout": 0.25, "epochs": 2, "clip_norm": None, "optimizer": "SGD"}
    again = load_sweep(folder / "elsewhere" / "sweep.yaml")
    same = [[trial.config_hash() for trial in each.point(settings).trials] for each in (sweep, again)]
    assert same[0] == same[1]


def test_what_is_written_is_complete(folder: Path) -> None:
    text = SWEEP + "seeds: 2\nprune: {min_epochs: 1}\nobjective: {metric: val/loss}\ntags: [a]\n"
    assert swept(folder, text, "epochs=9", axes=["clip_norm=null"]).resolved() == {
        "name": "rates",
        "base": {**parse(GOOD, "digits.yaml").data, "epochs": 9},
        "seeds": [0, 1],
        "grid": {"optimizer.lr": [0.01, 0.1], "clip_norm": [None]},
        "objective": {"metric": "val/loss", "mode": "min"},
        "prune": {"min_epochs": 1, "eta": 3},
        "tags": ["a"],
    }
    assert swept(folder, "base: digits.yaml\n").resolved().keys() == {"name", "base", "objective"}


# Problems, besides those in broken/sweep.txt --------------------------------------------------------------------------


def test_a_trial_says_where_in_the_sweep_each_of_its_values_stands(folder: Path) -> None:
    text = "base: digits.yaml\ngrid:\n  optimizer: [{name: Adam, betas: [0.9, 0.99]}]\n  optimizer.lr: [0.1]\n"
    (point,) = swept(folder, text, "epochs=2", axes=["clip_norm=1"]).points
    (trial,) = point.trials
    places = {
        ("optimizer",): "$PWD/rates.yaml:3:15",
        ("optimizer", "betas"): "$PWD/rates.yaml:3:28",
        ("optimizer", "betas", 1): "$PWD/rates.yaml:3:41",
        ("optimizer", "lr"): "$PWD/rates.yaml:4:18",
        ("model", "hidden"): "$PWD/digits.yaml:5:20",
        ("epochs",): "override epochs=2",
        ("clip_norm",): "--grid clip_norm=1",
    }
    for path, place in places.items():
        said = str(trial.problem(path, "wrong")).replace(str(folder), "$PWD")
        assert said == f"{place}: {'.'.join(map(str, path))}: wrong"


def test_the_problem_of_a_hundred_trials_is_told_once(folder: Path) -> None:
    rates = ", ".join(f"0.{i:03}" for i in range(1, 101))
    with pytest.raises(ConfigError) as error:
        swept(folder, f"base: digits.yaml\ngrid: {{optimizer.lr: [{rates}], clip_norm: [0, 1]}}\n")
    assert len(error.value.problems) == 1


def test_so_many_trials_and_no_more(folder: Path) -> None:
    with pytest.raises(ConfigError, match="these are 100,001 trials, and 100,000 is the most"):
        load_sweep(folder / "digits.yaml", {"seeds": list(range(MOST_TRIALS + 1))})


def test_overrides_that_no_text_can_be(folder: Path) -> None:
    overrides: Any = {3: 1, "seeds": object(), "grid": {}}
    with pytest.raises(ConfigError) as error:
        load_sweep(folder / "digits.yaml", overrides)
    assert str(error.value).splitlines() == [
        "override: a key must be text like 'optimizer.lr', not int",
        "override grid: grid: an override cannot set the grid; write --grid KEY=VALUE,VALUE for each axis",
        "override seeds: seeds: builtins.object is no plain data; give numbers, text, lists or dicts",
    ]


def test_a_base_in_a_sweep_has_the_name_of_the_sweep(folder: Path) -> None:
    base = flow({key: value for key, value in parse(GOOD, "digits.yaml").data.items() if key != "name"})
    assert swept(folder, f"base: {base}\n").points[0].trials[0].name == "rates"
    assert swept(folder, f"base: {base}\nname: mine\n").points[0].trials[0].name == "mine"


def test_planning_needs_no_torch(folder: Path) -> None:
    (folder / "rates.yaml").write_text(SWEEP + "seeds: 3\n")
    code = (
        "import sys; from optrun.config.sweep import load_sweep\n"
        "sweep = load_sweep('rates.yaml', axes=['scheduler=null,CosineAnnealingLR'])\n"
        "print(len(sweep.points), sorted({'torch', 'numpy', 'sklearn', 'optuna'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == "4 []\n"


def test_a_validated_sweep_is_what_the_same_overrides_make_of_the_run(folder: Path) -> None:
    grid = {"optimizer": ["SGD", {"name": "Adam"}], "optimizer.lr": [0.1, 0.2], "model.hidden": [[8], [8, 8]]}
    sweep = swept(folder, f"base: digits.yaml\nseeds: [1]\ngrid: {flow(grid)}\n")
    document = parse(GOOD, "digits.yaml")
    for point in sweep.points:
        alone = load(folder / "digits.yaml", {**dict(sorted(point.settings.items())), "seed": 1, "threads": 1})
        assert alone.config_hash() == point.trials[0].config_hash()
    assert validate(document, folder=HERE).config_hash() not in {trial for trials in hashes(sweep) for trial in trials}


# The documentation ----------------------------------------------------------------------------------------------------

PAGE = (HERE.parent / "docs" / "config.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Sweeps")[2].partition("\n## ")[0]


@pytest.fixture
def documented(tmp_path: Path) -> Path:
    """A folder with the config of the page, and the first sweep."""
    base, rates, *_ = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "digits.yaml").write_text(base, encoding="utf-8")
    (tmp_path / "rates.yaml").write_text(rates, encoding="utf-8")
    return tmp_path


def test_the_sweeps_of_the_documentation_are_sweeps(documented: Path) -> None:
    grid, search = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    (documented / "search.yaml").write_text(search, encoding="utf-8")
    assert (documented / "rates.yaml").read_text(encoding="utf-8") == grid
    sweep, searching = load_sweep(documented / "rates.yaml"), load_sweep(documented / "search.yaml")
    assert (len(sweep.points), sweep.seeds, sweep.objective.mode) == (10, (0, 1, 2, 3, 4), "max")
    assert searching.search is not None
    assert (searching.search.seed, searching.search.batch) == (SearchKeys.seed, SearchKeys.batch)


@pytest.mark.parametrize("command", re.findall(r"^    optrun (sweep .*)$", SECTION, re.MULTILINE))
def test_the_commands_of_the_documentation_plan_trials(command: str, documented: Path) -> None:
    with contextlib.chdir(documented):
        assert run([*shlex.split(command), "--dry-run"]) == 0


@pytest.mark.parametrize("key", field_types(SweepKeys))
def test_every_key_of_a_sweep_is_documented(key: str) -> None:
    assert re.search(rf"^\|[^|]*`{key}`[^|]*\|", SECTION, re.MULTILINE)


# Anything at all ------------------------------------------------------------------------------------------------------

words = st.sampled_from(
    ["optimizer.lr", "optimizer", "seed", "epochs", "metrics.0", "a..b", "", ".", "name", "é😀", "no"]
)
numbers = st.sampled_from([0, 1, 2, -1, 0.5, 2**63, 10**30, 1e-300, 1e300, float("inf")])
anything = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
spaces = st.dictionaries(
    words, st.dictionaries(st.sampled_from(["log", "uniform", "int", "choice"]), anything, max_size=2)
)
searches = st.fixed_dictionaries(
    {"sampler": st.just("random") | anything, "trials": st.just(3) | anything, "space": spaces | anything},
    optional={"seed": anything, "batch": anything},
)
KEYS = {
    "name": words | anything,
    "seeds": st.lists(st.integers(-1, 3)) | anything,
    "grid": st.dictionaries(words, st.lists(anything, max_size=2), max_size=3) | anything,
    "search": searches | anything,
    "objective": st.fixed_dictionaries({"metric": words}, optional={"mode": anything}) | anything,
    "prune": st.fixed_dictionaries({"min_epochs": numbers}, optional={"eta": anything}) | anything,
    "tags": anything,
    "notes": anything,
}


@given(st.fixed_dictionaries({"base": st.just("digits.yaml") | anything}, optional=KEYS), st.lists(words), words)
@settings(max_examples=200, deadline=None)
def test_anything_is_a_sweep_or_a_list_of_problems(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any], axes: list[str], value: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "digits.yaml").write_text(GOOD)
    (folder / "s.yaml").write_text(flow(data), encoding="utf-8")
    problems = None
    try:
        sweep = load_sweep(folder / "s.yaml", axes=[f"{key}={value},1" for key in axes])
    except ConfigError as error:
        problems = error.problems
        assert problems
        assert all(problem.message and "\n" not in str(problem) for problem in problems)
    if problems is None:
        assert_reads_back(sweep, folder / "runs")


@given(st.text(max_size=12), st.text(max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_text_on_the_command_line(tmp_path_factory: pytest.TempPathFactory, axis: str, seeds: str) -> None:
    folder = tmp_path_factory.mktemp("line")
    (folder / "digits.yaml").write_text(GOOD)
    for line in ({"axes": [f"optimizer.lr={axis}"]}, {"axes": [axis]}, {"seeds": seeds}):
        with contextlib.suppress(ConfigError):
            assert load_sweep(folder / "digits.yaml", **line).points  # type: ignore[arg-type]
