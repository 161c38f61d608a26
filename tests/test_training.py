"""What a run does besides its arithmetic: when it logs, evaluates, saves and ends, and what it leaves behind."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from experiments import DIGITS_MLP, checkpoint, data_of, evaluation_rows, trained, training_rows, write_config
from torch.nn import functional as F

import optrun
from optrun.cli.app import run as command
from optrun.components import registry
from optrun.components.data import prepare
from optrun.config.loading import load
from optrun.errors import ConfigError, Diverged
from optrun.experiment import Experiment
from optrun.runs.reader import Run, read

Config = dict[str, Any]

ROOT = Path(__file__).parents[1]
STEPS_PER_EPOCH = 6
BASE: Config = {
    **DIGITS_MLP,
    "epochs": 4,
    "dataset": {"name": "digits", "batch_size": 256},
    "model": {"name": "mlp", "hidden": [16], "dropout": 0.2, "batch_norm": True},
    "metrics": ["accuracy"],
    "optimizer": {"name": "SGD", "lr": 0.1, "momentum": 0.9},
}


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


def strict_rows(run: Run) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl by a parser that knows no NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def with_steps(config: Config, steps: int) -> Config:
    return {key: value for key, value in config.items() if key != "epochs"} | {"steps": steps}


# Rows ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def every_row(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("every"), BASE)


@pytest.mark.parametrize("log_every", [2, 10, 24, 25, 1000])
def test_a_row_every_so_many_steps_and_at_the_end(log_every: int, every_row: Run, tmp_path: Path) -> None:
    rows = training_rows(trained(tmp_path, {**BASE, "log_every": log_every}))
    expected = sorted({*range(log_every, 25, log_every), 24})
    assert [row["step"] for row in rows] == expected
    assert without_time(rows) == [row for row in without_time(training_rows(every_row)) if row["step"] in expected]


def test_what_step_and_epoch_count(every_row: Run) -> None:
    assert [(row["step"], row["epoch"]) for row in training_rows(every_row)] == [
        (step, (step - 1) // STEPS_PER_EPOCH) for step in range(1, 25)
    ]
    assert [(row["step"], row["epoch"]) for row in evaluation_rows(every_row)] == [(6, 1), (12, 2), (18, 3), (24, 4)]
    assert [row["step"] for row in every_row.rows()] == sorted(row["step"] for row in every_row.rows())
    for before, after in itertools.pairwise(every_row.rows()):
        assert 0 < before["time"] <= after["time"]


def test_the_keys_of_rows(every_row: Run) -> None:
    assert {tuple(row) for row in every_row.rows()} == {
        ("step", "epoch", "time", "train/loss", "lr"),
        ("step", "epoch", "time", "val/loss", "val/accuracy"),
    }


@pytest.mark.parametrize(
    ("length", "eval_every", "expected"),
    [
        ({"epochs": 4}, 1, [6, 12, 18, 24]),
        ({"epochs": 4}, 2, [12, 24]),
        ({"epochs": 4}, 3, [18, 24]),
        ({"epochs": 4}, 9, [24]),
        ({"epochs": 2}, {"steps": 5}, [5, 10, 12]),
        ({"epochs": 2}, {"steps": 6}, [6, 12]),
        ({"steps": 15}, 1, [6, 12, 15]),
        ({"steps": 15}, {"steps": 7}, [7, 14, 15]),
        ({"steps": 2}, 1, [2]),
    ],
)
def test_when_it_is_evaluated(length: Config, eval_every: Any, expected: list[int], tmp_path: Path) -> None:
    config = {key: value for key, value in BASE.items() if key != "epochs"} | length
    run = trained(tmp_path, {**config, "eval_every": eval_every})
    assert [row["step"] for row in evaluation_rows(run)] == expected
    assert run.summary["steps"] == expected[-1]
    assert run.summary["epochs"] == expected[-1] // STEPS_PER_EPOCH


def test_evaluation_draws_nothing_and_changes_nothing(every_row: Run, tmp_path: Path) -> None:
    """Dropout and batch norm are in the model."""
    often = trained(tmp_path, {**BASE, "eval_every": {"steps": 1}, "metrics": ["f1", "accuracy"]})
    assert without_time(training_rows(often)) == without_time(training_rows(every_row))
    assert same_weights(checkpoint(often)["model"], checkpoint(every_row)["model"])


def test_learning_rates_of_groups_that_differ(tmp_path: Path) -> None:
    optimizer = {"name": "SGD", "lr": 0.1, "param_groups": [{"match": "norm", "lr": 0.02}]}
    run = trained(tmp_path, {**BASE, "optimizer": optimizer, "scheduler": {"name": "StepLR", "step_size": 1}})
    assert training_rows(run)[0]["lr"] == [0.1, 0.02]
    assert training_rows(run)[6]["lr"] == pytest.approx([0.01, 0.002])


# The summary ---------------------------------------------------------------------------------------------------------


def test_the_summary(every_row: Run) -> None:
    summary = json.loads((every_row.path / "summary.json").read_text())
    assert list(summary) == [
        "run", "name", "status", "config_hash", "epochs", "steps", "parameters", "train_time", "wall_time",
        "samples_per_second", "final", "best", "target", "clipped_fraction", "engine", "error",
    ]  # fmt: skip
    rows = evaluation_rows(every_row)
    assert (summary["run"], summary["name"]) == ("run", "config-given")
    assert (summary["status"], summary["error"], summary["engine"]) == ("completed", None, "loop")
    assert summary["parameters"] == (64 * 16 + 16) + 2 * 16 + (16 * 10 + 10)
    assert summary["final"] == {"val/loss": rows[-1]["val/loss"], "val/accuracy": rows[-1]["val/accuracy"]}
    assert summary["train_time"] == training_rows(every_row)[-1]["time"]
    assert summary["samples_per_second"] == pytest.approx(4 * 1438 / summary["train_time"])
    assert (summary["target"], summary["clipped_fraction"]) == (None, None)


def test_the_best_without_metrics_is_the_least_loss(tmp_path: Path) -> None:
    config = {**BASE, "metrics": [], "scheduler": {"name": "MultiStepLR", "milestones": [2], "gamma": 1000.0}}
    run = trained(tmp_path, config)
    best = min(evaluation_rows(run), key=lambda row: row["val/loss"])
    assert best["step"] == 12
    wanted = {"metric": "val/loss", "mode": "min", "value": best["val/loss"], "step": 12, "epoch": 2}
    assert run.summary["best"] == wanted


@pytest.mark.parametrize("log_every", [1, 7])
@pytest.mark.parametrize("clip_norm", [1.0, 0.7, math.inf])
def test_clipped_fraction(clip_norm: float, log_every: int, tmp_path: Path) -> None:
    norms = [row["grad_norm"] for row in training_rows(trained(tmp_path / "all", {**BASE, "clip_norm": clip_norm}))]
    run = trained(tmp_path / "some", {**BASE, "clip_norm": clip_norm, "log_every": log_every})
    clipped = sum(norm > clip_norm for norm in norms)
    assert run.summary["clipped_fraction"] == clipped / 24
    assert (clipped > 0) == (clip_norm < math.inf)
    assert clipped < 24


@pytest.mark.parametrize(("metric", "value"), [("val/accuracy", 0.7), ("val/loss", 1.5)])
def test_time_to_target(metric: str, value: float, tmp_path: Path) -> None:
    run = trained(tmp_path, {**BASE, "target": {"metric": metric, "value": value}})
    sign = 1 if metric == "val/accuracy" else -1
    reached = [row for row in evaluation_rows(run) if sign * row[metric] >= sign * value]
    assert 1 < len(reached) < 4
    assert run.summary["target"] == {"reached": True, "step": reached[0]["step"], "time": reached[0]["time"]}


def test_a_target_that_is_not_reached(tmp_path: Path) -> None:
    run = trained(tmp_path, {**BASE, "target": {"metric": "val/accuracy", "value": 1.0}})
    assert run.summary["target"] == {"reached": False, "step": None, "time": None}


# Stopping early ------------------------------------------------------------------------------------------------------


def stops_after(values: list[float], patience: int, min_delta: float) -> int:
    """How many evaluations a loss that takes these values gets."""
    best, waited = math.inf, 0
    for count, value in enumerate(values, 1):
        best, waited = (value, 0) if value < best - min_delta else (best, waited + 1)
        if waited == patience:
            return count
    return len(values)


@pytest.mark.parametrize(("patience", "min_delta"), [(1, 0.1), (2, 0.1), (1, 0.3), (3, 0.8)])
@pytest.mark.parametrize("log_every", [1, 4])
def test_early_stopping(patience: int, min_delta: float, log_every: int, tmp_path: Path) -> None:
    config = {**BASE, "epochs": 12, "scheduler": {"name": "ExponentialLR", "gamma": 0.7}}
    whole = trained(tmp_path / "whole", config)
    stop = {"metric": "val/loss", "patience": patience, "min_delta": min_delta}
    run = trained(tmp_path / "stopped", {**config, "early_stop": stop, "log_every": log_every})
    end = 6 * stops_after([row["val/loss"] for row in evaluation_rows(whole)], patience, min_delta)
    assert end < 72
    assert (run.status, run.summary["steps"]) == ("completed", end)
    logged = {*range(log_every, end, log_every), end}
    kept = [row for row in whole.rows() if row["step"] <= end and ("val/loss" in row or row["step"] in logged)]
    assert without_time(run.rows()) == without_time(kept)
    assert checkpoint(run)["step"] == end


def test_early_stopping_on_a_metric_that_grows(tmp_path: Path) -> None:
    stop = {"metric": "val/accuracy", "patience": 1, "min_delta": 0.1}
    run = trained(tmp_path, {**BASE, "epochs": 30, "early_stop": stop})
    values = [-row["val/accuracy"] for row in evaluation_rows(run)]
    assert len(values) == stops_after(values, 1, 0.1) < 30


# Divergence ----------------------------------------------------------------------------------------------------------

DIVERGING: Config = {
    **BASE,
    "epochs": 20,
    "model": {"name": "mlp", "hidden": [16], "activation": "Identity"},
    "optimizer": {"name": "SGD", "lr": 10.0},
}


@pytest.mark.parametrize("log_every", [1, 4])
def test_divergence(log_every: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path / "config.yaml", {**DIVERGING, "log_every": log_every})
    assert command(["train", str(config), "--run-dir", str(tmp_path / "run")]) == 3
    step = first_non_finite_step()
    run = read(tmp_path / "run")
    assert run.summary["status"] == "diverged"
    assert f"at step {step}:" in run.summary["error"]
    assert f"at step {step}:" in capsys.readouterr().err
    rows = strict_rows(run)
    assert (rows[-1]["step"], rows[-1]["epoch"]) == (step, (step - 1) // STEPS_PER_EPOCH)
    assert rows[-1]["train/loss"] in ("NaN", "Infinity")
    assert rows[-1]["lr"] == 10.0
    assert [row["step"] for row in rows[:-1] if "train/loss" in row] == list(range(log_every, step, log_every))
    assert all(math.isfinite(row["train/loss"]) for row in rows[:-1] if "train/loss" in row)
    assert run.summary["steps"] == step - 1
    assert not (tmp_path / "run" / "error.txt").exists()


def first_non_finite_step() -> int:
    """By hand: gradient descent at this rate, until the loss is no number any more."""
    data = data_of("digits")
    torch.manual_seed(0)
    model = registry.models.find("mlp").load()(data, hidden=[16], activation="Identity")
    optimizer = torch.optim.SGD(model.parameters(), lr=10.0)
    step = 0
    for epoch in range(20):
        entropy = numpy.random.SeedSequence([0, epoch]).generate_state(1, numpy.uint64)[0]
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(int(entropy)))
        for rows in order.split(256):
            step += 1
            optimizer.zero_grad()
            loss = F.cross_entropy(model(data.train.inputs[rows]), data.train.targets[rows])
            if not math.isfinite(loss.item()):
                return step
            loss.backward()
            optimizer.step()
    raise AssertionError("it does not diverge")


def test_divergence_is_an_exception_in_python(tmp_path: Path) -> None:
    with pytest.raises(Diverged) as diverged:
        trained(tmp_path, DIVERGING)
    assert diverged.value.step == first_non_finite_step()
    assert torch.get_num_threads() == 1
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_diverged_run_keeps_its_finite_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Diverged):
        trained(tmp_path, {**DIVERGING, "checkpoint_every": {"steps": 1}})
    run = read(tmp_path / "run")
    last = checkpoint(run)
    assert last["step"] == first_non_finite_step() - 1
    with pytest.raises(Diverged):
        optrun.resume(run.path)
    assert read(run.path).status == "diverged"


def test_a_loss_that_is_not_finite_only_in_the_evaluation(tmp_path: Path) -> None:
    """The last step overshoots, and only the evaluation sees it: the run has diverged, in strict JSON."""
    step = first_non_finite_step()
    with pytest.raises(Diverged):
        trained(tmp_path, with_steps(DIVERGING, step - 1))
    (metrics,) = tmp_path.rglob("metrics.jsonl")
    run = read(metrics.parent)
    assert run.status == "diverged"
    assert strict_rows(run)[-1]["val/loss"] in ("NaN", "Infinity")
    assert not math.isfinite(run.summary["final"]["val/loss"])


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "every", "expected"),
    [
        ("all", "auto", {"best.pt", "last.pt"}),
        ("all", 1, {"best.pt", "last.pt", "previous.pt"}),
        ("last", 1, {"last.pt"}),
        ("none", 1, {"last.pt"}),
    ],
)
def test_checkpoints_kept(keep: str, every: Any, expected: set[str], tmp_path: Path) -> None:
    run = trained(tmp_path, {**BASE, "keep_checkpoints": keep, "checkpoint_every": every})
    assert set(os.listdir(run.path / "checkpoints")) == expected
    assert checkpoint(run)["step"] == 24


def test_none_writes_no_checkpoint_before_the_end(tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", {**BASE, "keep_checkpoints": "none", "checkpoint_every": {"steps": 1}})
    experiment = Experiment.new(load(config), directory=tmp_path / "run")
    for event in experiment.events():
        assert (tmp_path / "run" / "checkpoints").exists() == (event.step == 24)


@pytest.mark.parametrize(
    ("every", "saved"), [(1, [6, 12, 18, 24]), (2, [12, 24]), ({"steps": 5}, [5, 10, 15, 20, 24]), ("auto", [24])]
)
def test_checkpoint_every(every: Any, saved: list[int], tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", {**BASE, "checkpoint_every": every})
    experiment = Experiment.new(load(config), directory=tmp_path / "run")
    last, seen = tmp_path / "run" / "checkpoints" / "last.pt", []
    for event in experiment.events():
        if last.exists() and (step := torch.load(last, weights_only=True)["step"]) not in seen:
            assert step == event.step
            seen.append(step)
    assert seen == saved


def test_the_test_part_is_judged_once_with_the_last_weights(tmp_path: Path) -> None:
    config = {**BASE, "dataset": {"name": "digits", "batch_size": 256, "test_fraction": 0.2}}
    run = trained(tmp_path, config)
    rows = [row for row in run.rows() if "test/loss" in row]
    assert len(rows) == 1
    assert rows[0] == run.rows()[-1]
    assert list(rows[0]) == ["step", "epoch", "time", "test/loss", "test/accuracy"]
    assert (rows[0]["step"], rows[0]["epoch"]) == (run.summary["steps"], 4)
    assert set(run.summary["final"]) == {"val/loss", "val/accuracy", "test/loss", "test/accuracy"}

    data = prepare(registry.datasets.find("digits").load()(), name="digits", test_fraction=0.2)
    model = registry.models.find("mlp").load()(data, hidden=[16], dropout=0.2, batch_norm=True).eval()
    model.load_state_dict(checkpoint(run)["model"])
    with torch.no_grad():
        outputs = model(data.test.inputs)
    right = (outputs.argmax(1) == data.test.targets).sum().item()
    assert rows[0]["test/accuracy"] == right / len(data.test)
    assert rows[0]["test/loss"] == pytest.approx(F.cross_entropy(outputs, data.test.targets).item(), rel=1e-6)


REPEATED: dict[str, Config] = {
    "a filled-in horizon": {"scheduler": {"name": "CosineAnnealingLR"}},
    "a nest": {
        "optimizer": {"name": "Muon", "lr": 0.02, "fallback": {"name": "adamw", "lr": 1e-5}},
        "scheduler": {
            "name": "SequentialLR",
            "interval": "step",
            "milestones": [5],
            "schedulers": [{"name": "LinearLR", "total_iters": 5}, {"name": "ReduceLROnPlateau"}],
        },
        "clip_norm": math.inf,
    },
    "words": {
        "loss": {"name": "cross_entropy", "label_smoothing": 0.1},
        "notes": "no: 1e-3, #",
        "tags": ["1:30", "no"],
    },
    "steps": {"epochs": None, "steps": 9, "eval_every": {"steps": 4}, "checkpoint_every": 2, "threads": "auto"},
}


@pytest.mark.parametrize("name", REPEATED)
def test_its_config_repeats_the_run(name: str, tmp_path: Path) -> None:
    config = {key: value for key, value in {**BASE, **REPEATED[name]}.items() if value is not None}
    run = trained(tmp_path, config)
    again = optrun.train(run.path / "config.yaml", run_dir=tmp_path / "again")
    assert without_time(again.rows()) == without_time(run.rows())
    assert same_weights(checkpoint(again)["model"], checkpoint(run)["model"])
    assert (again.path / "config.yaml").read_bytes() == (run.path / "config.yaml").read_bytes()
    assert again.summary["config_hash"] == run.summary["config_hash"]


def test_a_horizon_follows_the_length(tmp_path: Path) -> None:
    config = {**BASE, "scheduler": {"name": "CosineAnnealingLR"}}
    run = trained(tmp_path / "short", config)
    longer = optrun.train(run.path / "config.yaml", ["epochs=6"], run_dir=tmp_path / "longer")
    assert without_time(longer.rows()) == without_time(trained(tmp_path / "long", {**config, "epochs": 6}).rows())


def test_a_run_that_fails(tmp_path: Path) -> None:
    """A user's own metric, with a mistake that shows once the model is good."""
    parts = tmp_path / "parts.py"
    parts.write_text(
        "import optrun\n\n@optrun.metrics.register(mode='max')\n"
        "def mistaken(outputs, targets):\n"
        "    right = (outputs.argmax(1) == targets).sum().item()\n"
        "    return right / (right < 200)\n"
    )
    config = write_config(tmp_path / "c.yaml", {**BASE, "metrics": ["mistaken"]})
    program = [sys.executable, "-m", "optrun", "train", str(config), "--import", str(parts), "--run-dir"]
    done = subprocess.run([*program, str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "ZeroDivisionError" in done.stderr
    run = read(tmp_path / "run")
    assert run.summary["status"] == "failed"
    assert run.summary["error"] == "ZeroDivisionError: division by zero"
    assert "in mistaken" in (tmp_path / "run" / "error.txt").read_text()
    assert len(training_rows(run)) > STEPS_PER_EPOCH


# The process ---------------------------------------------------------------------------------------------------------


def test_the_same_again(every_row: Run, tmp_path: Path) -> None:
    again = trained(tmp_path, BASE)
    assert without_time(again.rows()) == without_time(every_row.rows())
    assert same_weights(checkpoint(again)["model"], checkpoint(every_row)["model"])


def test_another_seed(every_row: Run, tmp_path: Path) -> None:
    other = trained(tmp_path, {**BASE, "seed": 1})
    losses = [{row["train/loss"] for row in training_rows(run)} for run in (every_row, other)]
    assert not losses[0] & losses[1]


def test_what_was_drawn_before_does_not_matter(every_row: Run, tmp_path: Path) -> None:
    torch.manual_seed(1234)
    torch.rand(7)
    assert without_time(trained(tmp_path, BASE).rows()) == without_time(every_row.rows())


@pytest.mark.parametrize("deterministic", [True, False])
def test_numerics_are_put_back(deterministic: bool, tmp_path: Path) -> None:
    config = {**BASE, "threads": 2, "deterministic": deterministic}
    experiment = Experiment.new(load(write_config(tmp_path / "c.yaml", config)), directory=tmp_path / "run")
    before = (1, False)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    for _ in experiment.events():
        assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (2, deterministic)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_threads_by_the_work_of_a_step(tmp_path: Path) -> None:
    """A small perceptron has a thread to itself; a transformer's steps are shared among those that torch would use."""
    small = write_config(tmp_path / "small.yaml", {**BASE, "threads": "auto", "epochs": 1})
    large = ROOT / "configs" / "transformer.yaml"
    program = (
        "import sys, torch\n"
        "print(torch.get_num_threads())\n"
        "from optrun.config.loading import load\n"
        "from optrun.training.preparation import prepare_run\n"
        "for file in sys.argv[1:]: print(prepare_run(load(file, ['device=cpu']))[0].threads)\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    told = subprocess.run(
        [sys.executable, "-c", program, str(small), str(large)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    torchs, small_one, large_one = told.stdout.split()
    assert (small_one, large_one) == ("1", torchs)


def test_the_resolved_threads_stand_in_the_config_and_the_hash(tmp_path: Path) -> None:
    run = trained(tmp_path, {**BASE, "threads": "auto"})
    assert load(run.path / "config.yaml").threads == 1
    assert run.summary["config_hash"] == load(run.path / "config.yaml").config_hash()
    assert run.summary["config_hash"] != load(run.path / "config.yaml", ["threads=2"]).config_hash()
    assert read(run.path).environment["threads"] == 1


def test_workers_change_no_bit(tmp_path: Path) -> None:
    crop = [{"name": "RandomCrop", "size": 8, "padding": 1}]
    dataset = {"name": "digits", "batch_size": 256, "transforms": {"train": crop}}
    config = {**BASE, "epochs": 2, "dataset": dataset}
    alone = trained(tmp_path / "alone", config)
    helped = trained(tmp_path / "helped", {**config, "dataset": {**dataset, "workers": 2}})
    assert without_time(alone.rows()) == without_time(helped.rows())
    assert same_weights(checkpoint(alone)["model"], checkpoint(helped)["model"])
    plain = trained(tmp_path / "plain", {**config, "dataset": BASE["dataset"]})
    assert training_rows(plain)[0]["train/loss"] != training_rows(alone)[0]["train/loss"]


# From Python ---------------------------------------------------------------------------------------------------------


def test_the_python_interface(tmp_path: Path) -> None:
    config = write_config(tmp_path / "mine.yaml", BASE)
    spec = optrun.load(config, {"epochs": 1, "optimizer.lr": 0.2})
    assert (spec.epochs, spec.optimizer.settings["lr"], spec.name) == (1, 0.2, "mine")
    run = optrun.train(spec, runs_dir=tmp_path / "runs")
    assert isinstance(run, optrun.Run)
    assert run.path.parent == tmp_path / "runs"
    assert run.path.name.startswith("mine-")
    assert run.status == "completed"
    assert run.rows() == optrun.read(run.path).rows()
    also = optrun.train(config, ["epochs=1", "optimizer.lr=0.2"], runs_dir=tmp_path / "runs")
    assert also.path != run.path
    assert without_time(also.rows()) == without_time(run.rows())
    assert optrun.resume(run.path).summary == run.summary
    longer = optrun.resume(run.path, {"epochs": 2})
    assert longer.summary["epochs"] == 2


def test_a_wrong_config_writes_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", {**BASE, "model": {"name": "transformer"}})
    with pytest.raises(ConfigError, match="transformer does not suit digits"):
        optrun.train(config, runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


# Results -------------------------------------------------------------------------------------------------------------


def test_the_quick_start_learns_the_digits(tmp_path: Path) -> None:
    run = optrun.train(ROOT / "configs" / "quickstart.yaml", ["device=cpu"], runs_dir=tmp_path)
    assert run.summary["final"]["val/accuracy"] >= 0.97


def test_the_transformer_knows_more_than_pairs_of_characters(tmp_path: Path) -> None:
    """After two of the config's epochs; the bigram model gets the smoothing that suits the validation part best."""
    overrides = ["device=cpu", "threads=1", "epochs=2"]
    run = optrun.train(ROOT / "configs" / "transformer.yaml", overrides, runs_dir=tmp_path)
    data = data_of("pydocs")
    bigram = min(bigram_perplexity(data, smoothing) for smoothing in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01))
    assert 10 < bigram < 13
    assert run.summary["final"]["val/perplexity"] < bigram - 0.5


def bigram_perplexity(data: Any, smoothing: float) -> float:
    """Additive smoothing of the counts of the training part, judged on the validation part."""
    size = data.num_classes
    pairs = data.train.inputs.flatten() * size + data.train.targets.flatten()
    counts = torch.bincount(pairs, minlength=size * size).view(size, size).double() + smoothing
    logs = (counts / counts.sum(1, keepdim=True)).log()
    return math.exp(-logs[data.val.inputs.flatten(), data.val.targets.flatten()].mean().item())


# CUDA ----------------------------------------------------------------------------------------------------------------

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
CUDA: Config = {**BASE, "device": "cuda", "log_every": 4, "clip_norm": 1.0}
GPU_TRANSFORMER: Config = {
    **CUDA,
    "dataset": {"name": "pydocs", "batch_size": 64},
    "model": {"name": "transformer", "dim": 32, "depth": 1, "dropout": 0.1},
    "optimizer": {"name": "AdamW", "lr": 0.003},
    "scheduler": {"name": "OneCycleLR", "max_lr": 0.003},
    "metrics": ["perplexity"],
    "epochs": 1,
}


@pytest.mark.cuda
@on_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "fp64"])
@pytest.mark.parametrize("config", [CUDA, GPU_TRANSFORMER], ids=["mlp", "transformer"])
def test_on_cuda(config: Config, precision: str, tmp_path: Path) -> None:
    config = {**config, "precision": precision}
    run = trained(tmp_path / "one", config)
    assert run.status == "completed"
    losses = [row["val/loss"] for row in evaluation_rows(run)]
    assert losses[-1] < (1.5 if config["model"]["name"] == "mlp" else 4)
    again = trained(tmp_path / "two", config)
    assert without_time(again.rows()) == without_time(run.rows())
    assert same_weights(checkpoint(again)["model"], checkpoint(run)["model"])


@pytest.mark.cuda
@on_cuda
def test_cuda_is_near_the_cpu(tmp_path: Path) -> None:
    config = {**CUDA, "model": {"name": "mlp", "hidden": [16]}, "log_every": 1}
    gpu, cpu = trained(tmp_path / "gpu", config), trained(tmp_path / "cpu", {**config, "device": "cpu"})
    for one, other in zip(training_rows(gpu), training_rows(cpu)):
        assert one["train/loss"] == pytest.approx(other["train/loss"], rel=1e-3)


@pytest.mark.cuda
@on_cuda
@pytest.mark.parametrize(
    "optimizer", [{"name": "SGD", "lr": 0.1, "momentum": 0.9}, {"name": "AdamW"}, {"name": "RMSprop", "lr": 0.001}]
)
def test_no_step_waits_for_the_device(optimizer: Config, tmp_path: Path) -> None:
    """But those that are logged, and the first of an epoch, which puts the examples in order."""
    config = {**CUDA, "optimizer": optimizer, "scheduler": {"name": "OneCycleLR", "max_lr": 0.1}}
    experiment = Experiment.new(load(write_config(tmp_path / "c.yaml", config)), directory=tmp_path / "run")
    silent = 0
    try:
        for event in experiment.events():
            upcoming = experiment.state.step + 1
            waits = upcoming % 4 == 0 or upcoming % STEPS_PER_EPOCH == 1 or event.step < 2 or event.step == 24
            torch.cuda.set_sync_debug_mode("default" if waits else "error")
            silent += not waits
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert silent > 8


@pytest.mark.cuda
@on_cuda
def test_divergence_on_cuda_names_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(Diverged) as diverged:
        trained(tmp_path, {**DIVERGING, "device": "cuda", "log_every": 50})
    rows = strict_rows(read(tmp_path / "run"))
    assert rows[-1]["step"] == diverged.value.step
    assert abs(diverged.value.step - first_non_finite_step()) <= 1


@pytest.mark.cuda
@on_cuda
@pytest.mark.parametrize("config", [CUDA, GPU_TRANSFORMER], ids=["mlp", "transformer"])
@pytest.mark.parametrize("stop", [3, 6, 11])
def test_resumed_on_cuda(config: Config, stop: int, tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", config)
    file = write_config(tmp_path / "config-given.yaml", config)
    experiment = Experiment.new(load(file), directory=tmp_path / "run")
    events = experiment.events()
    for event in events:
        if event.step == stop:
            events.close()
            break
    run = optrun.resume(tmp_path / "run")
    assert without_time(run.rows()) == without_time(whole.rows())
    assert same_weights(checkpoint(run)["model"], checkpoint(whole)["model"])
