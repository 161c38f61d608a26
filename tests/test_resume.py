"""A run that was stopped and resumed ends, to the bit, as one that was not.

What is compared are the files of the two runs: every leaf of last.pt and best.pt, the bytes of metrics.jsonl without
each row's `time`, and the summary without what counts seconds. The uninterrupted runs are made in another process.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from experiments import DIGITS_MLP, checkpoint, evaluation_rows, trained, training_rows, write_config

import optrun
from optrun.cli.app import run as command
from optrun.components import registry
from optrun.config.loading import load
from optrun.errors import CheckpointError, ConfigError, RunLocked, UsageError
from optrun.experiment import Experiment
from optrun.runs import checkpoint as checkpoints
from optrun.runs.layout import Layout
from optrun.runs.lock import Lock
from optrun.runs.reader import Run, read
from optrun.training.evaluation import evaluate

Config = dict[str, Any]
Stop = tuple[str, int]
"""An event of the run, and the step it is about."""

STEPS = 22
"""Three epochs of six steps, and four steps of the next one."""

BASE: Config = {
    **DIGITS_MLP,
    "steps": STEPS,
    "dataset": {"name": "digits", "batch_size": 256},
    "model": {"name": "mlp", "hidden": [16], "dropout": 0.3, "batch_norm": True},
    "metrics": ["accuracy"],
    "log_every": 5,
}
TOPICS = {"name": "pydocs_topics", "batch_size": 400}

PAIRS: dict[str, Config] = {
    "sgd-step": {
        "optimizer": {"name": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": True},
        "scheduler": {"name": "StepLR", "step_size": 2},
        "clip_norm": 1.0,
    },
    "adam-cosine": {
        "optimizer": {"name": "Adam", "lr": 0.01, "amsgrad": True},
        "scheduler": {"name": "CosineAnnealingLR", "interval": "step"},
    },
    "adamw-onecycle": {
        "optimizer": {"name": "AdamW"},
        "scheduler": {"name": "OneCycleLR", "max_lr": 0.02},
        "clip_norm": 1.0,
    },
    "rmsprop-cyclic": {
        "optimizer": {"name": "RMSprop", "lr": 0.001, "centered": True},
        "scheduler": {"name": "CyclicLR", "base_lr": 0.001, "max_lr": 0.01, "step_size_up": 5},
    },
    "muon-warmup-cosine": {
        "optimizer": {"name": "Muon", "lr": 0.02, "fallback": {"name": "AdamW", "lr": 0.003}},
        "scheduler": {
            "name": "SequentialLR",
            "interval": "step",
            "milestones": [9],
            "schedulers": [{"name": "LinearLR", "total_iters": 9}, {"name": "CosineAnnealingLR"}],
        },
        "clip_norm": 1.0,
    },
    "lbfgs-exponential": {
        "optimizer": {"name": "LBFGS", "lr": 0.3, "max_iter": 3, "history_size": 4},
        "scheduler": {"name": "ExponentialLR", "gamma": 0.8},
        "accumulate": 2,
        "dataset": {"name": "digits", "batch_size": 128},
        "clip_norm": 5.0,
    },
    "nadam-plateau": {
        "optimizer": {"name": "NAdam", "lr": 0.01},
        "scheduler": {"name": "ReduceLROnPlateau", "patience": 0, "threshold": 0.3},
        "eval_every": {"steps": 4},
    },
    "adagrad-warmup-plateau": {
        "optimizer": {"name": "Adagrad", "lr": 0.05},
        "scheduler": {
            "name": "SequentialLR",
            "interval": "step",
            "milestones": [7],
            "schedulers": [
                {"name": "LinearLR", "total_iters": 7},
                {"name": "ReduceLROnPlateau", "patience": 0, "threshold": 0.5},
            ],
        },
        "eval_every": {"steps": 4},
    },
    "adadelta-lambda": {
        "optimizer": {"name": "Adadelta"},
        "scheduler": {"name": "LambdaLR", "lr_lambda": {"name": "inverse_sqrt", "warmup": 2}},
        "eval_every": 2,
    },
    "adafactor-restarts": {
        "optimizer": {"name": "Adafactor", "lr": 0.05},
        "scheduler": {"name": "CosineAnnealingWarmRestarts", "T_0": 5, "interval": "step"},
    },
    "rprop-multistep": {
        "optimizer": {"name": "Rprop"},
        "scheduler": {"name": "MultiStepLR", "milestones": [1, 2]},
        "clip_norm": float("inf"),
    },
    "asgd-polynomial": {
        "optimizer": {"name": "ASGD", "lr": 0.1, "t0": 5},
        "scheduler": {"name": "PolynomialLR", "total_iters": "run"},
    },
    "radam-chained": {
        "optimizer": {"name": "RAdam", "lr": 0.01},
        "scheduler": {
            "name": "ChainedScheduler",
            "schedulers": [{"name": "ConstantLR", "total_iters": 2}, {"name": "ExponentialLR", "gamma": 0.9}],
        },
        "eval_every": {"steps": 12},
    },
    "adam-fp16": {  # the summed loss overflows at the first scales
        "optimizer": {"name": "Adam", "lr": 0.01},
        "scheduler": {"name": "ExponentialLR", "gamma": 0.9, "interval": "step"},
        "precision": "fp16",
        "loss": {"name": "cross_entropy", "reduction": "sum"},
        "clip_norm": 10.0,
    },
    "adam-accumulate": {
        "optimizer": {"name": "Adam", "param_groups": [{"match": "norm", "lr": 0.01}]},
        "scheduler": {"name": "LinearLR", "total_iters": 3},
        "dataset": {"name": "digits", "batch_size": 86},
        "accumulate": 3,
        "clip_value": 0.01,
    },
    "adamax-constant": {
        "optimizer": {"name": "Adamax", "lr": 0.02},
        "scheduler": {"name": "ConstantLR", "factor": 0.1, "total_iters": 2},
        "precision": "fp64",
        "checkpoint_every": {"steps": 3},
    },
    "sparseadam-multiplicative": {
        "dataset": TOPICS,
        "model": {"name": "embedding_bag", "dim": 8, "dropout": 0.2, "sparse": True},
        "optimizer": {"name": "SparseAdam", "lr": 0.01, "fallback": {"name": "SGD", "lr": 0.1, "momentum": 0.9}},
        "scheduler": {"name": "MultiplicativeLR", "lr_lambda": {"name": "constant", "value": 0.9}},
    },
    "images-augmented": {
        "dataset": {
            "name": "digits",
            "batch_size": 256,
            "transforms": {"train": [{"name": "RandomCrop", "size": 8, "padding": 1}, "RandomErasing"]},
        },
        "model": {"name": "cnn", "channels": [4, 4], "dropout": 0.2, "batch_norm": True},
        "optimizer": {"name": "SGD", "lr": 0.1, "momentum": 0.9},
        "scheduler": {"name": "PolynomialLR", "total_iters": 4},
    },
    "schedulefree": {"optimizer": {"name": "schedulefree.AdamWScheduleFree", "lr": 0.01}, "clip_norm": 1.0},
}

STOPS: dict[str, list[Stop]] = {
    "inside an epoch": [("Stepped", 8)],
    "after the last step of an epoch": [("Stepped", 12)],
    "after an evaluation": [("Evaluated", 12)],
    "after the last step": [("Stepped", STEPS)],
    "again and again": [
        ("Stepped", 1),
        ("Stepped", 7),
        ("Stepped", 12),
        ("Evaluated", 12),
        ("Stepped", 13),
        ("Stepped", 20),
        ("Stepped", 22),
        ("Evaluated", 22),
    ],
}

FOREVER = {
    **BASE,
    "steps": 1500,
    "log_every": 1,
    "eval_every": 100,
    "scheduler": {"name": "CosineAnnealingLR", "interval": "step"},
}
"""Long enough for somebody outside to stop it on the way."""

IMPATIENT = {
    **BASE,
    "steps": 60,
    "optimizer": {"name": "SGD", "lr": 0.3, "momentum": 0.9},
    "scheduler": {"name": "ExponentialLR", "gamma": 0.9},
    "early_stop": {"metric": "val/loss", "patience": 2, "min_delta": 0.05},
}

UNINTERRUPTED = {**{name: {**BASE, **pair} for name, pair in PAIRS.items()}, "forever": FOREVER, "impatient": IMPATIENT}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """All the runs, trained in another process."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    if not installed("schedulefree"):
        UNINTERRUPTED.pop("schedulefree", None)
    files = [write_config(folder / f"{name}.yaml", config) for name, config in UNINTERRUPTED.items()]
    program = "import sys, optrun\nfor file in sys.argv[1:]: optrun.train(file, run_dir=file.removesuffix('.yaml'))"
    subprocess.run([sys.executable, "-c", program, *map(str, files)], check=True)
    return {name: read(folder / name) for name in UNINTERRUPTED}


def installed(package: str) -> bool:
    try:
        __import__(package)
    except ImportError:
        return False
    return True


def interrupted(config: Path, directory: Path, stops: list[Stop]) -> Experiment:
    """The run, stopped by no longer reading its events and resumed, at each of `stops`; ready to go on to its end."""
    experiment = Experiment.new(load(config), directory=directory)
    for stop in stops:
        stop_after(experiment, stop)
        assert read(directory).status == "interrupted"
        experiment = Experiment.resumed(directory)
    return experiment


def stop_after(experiment: Experiment, stop: Stop) -> None:
    events = experiment.events()
    for event in events:
        if (type(event).__name__, event.step) == stop:
            events.close()
            return
    raise AssertionError(f"there was no {stop}")


def finish(experiment: Experiment) -> Run:
    for _ in experiment.events():
        pass
    return read(experiment.directory)


def assert_same_files(run: Run, other: Run) -> None:
    assert timeless_rows(run) == timeless_rows(other)
    for kind in ("last", "best"):
        assert different_leaves(checkpoint(run, kind), checkpoint(other, kind)) == []
    assert timeless(run.summary) == timeless(other.summary)
    assert (run.path / "config.yaml").read_bytes() == (other.path / "config.yaml").read_bytes()


def timeless_rows(run: Run) -> bytes:
    """The bytes of metrics.jsonl without the times in it."""
    return re.sub(rb'"time": [^,}]+', b'"time"', (run.path / "metrics.jsonl").read_bytes())


SECONDS = {"time", "wall_time", "train_time", "samples_per_second"}


def timeless(summary: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in summary.items() if key not in {*SECONDS, "run"}}


def different_leaves(a: Any, b: Any, path: str = "") -> list[str]:
    """Where two checkpoints differ; metrics_bytes does as the times in the file take more or fewer digits."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        keys = [key for key in a if key not in {*SECONDS, "metrics_bytes"}]
        return [leaf for key in keys for leaf in different_leaves(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [leaf for i, (x, y) in enumerate(zip(a, b)) for leaf in different_leaves(x, y, f"{path}.{i}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and same_tensor(a, b) else [path]
    return [] if type(a) is type(b) and repr(a) == repr(b) else [path]


def same_tensor(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a, b) if not a.is_floating_point() else torch.equal(a.nan_to_num(7.5), b.nan_to_num(7.5))


# Stopped by no longer reading ----------------------------------------------------------------------------------------


def test_the_pairs_are_all_there_is() -> None:
    chosen = {
        "optimizers": {pair["optimizer"]["name"] for pair in PAIRS.values()},
        "schedulers": {name for pair in PAIRS.values() for name in names_in(pair.get("scheduler"))},
    }
    assert chosen["optimizers"] >= set(registry.optimizers.names())
    assert chosen["schedulers"] >= set(registry.schedulers.names())


def names_in(scheduler: Config | None) -> Iterator[str]:
    if scheduler:
        yield scheduler["name"]
        for member in scheduler.get("schedulers", ()):
            yield from names_in(member)


@pytest.mark.parametrize("stops", STOPS.values(), ids=STOPS)
@pytest.mark.parametrize("name", PAIRS)
def test_stopped_and_resumed(name: str, stops: list[Stop], uninterrupted: dict[str, Run], tmp_path: Path) -> None:
    if name not in uninterrupted:
        pytest.skip(f"{name} is not installed")
    config = write_config(tmp_path / f"{name}.yaml", {**BASE, **PAIRS[name]})
    run = finish(interrupted(config, tmp_path / "run", stops))
    assert run.status == "completed"
    assert run.summary["steps"] == STEPS
    assert_same_files(run, uninterrupted[name])


def test_the_overflow_is_in_the_run(uninterrupted: dict[str, Run]) -> None:
    """The fp16 pair has steps that were skipped, so that its scaler has something to remember."""
    assert float("inf") in [row["grad_norm"] for row in training_rows(uninterrupted["adam-fp16"])] or (
        checkpoint(uninterrupted["adam-fp16"])["scaler"]["scale"] < 65536
    )


@pytest.mark.parametrize("stop", [("Stepped", 15), ("Stepped", 30), ("Evaluated", 30), "last step", "last evaluation"])
def test_early_stopping_remembers_its_patience(stop: Stop | str, uninterrupted: dict[str, Run], tmp_path: Path) -> None:
    reference = uninterrupted["impatient"]
    end = reference.summary["steps"]
    assert STEPS - 4 <= end < IMPATIENT["steps"]
    at = {"last step": ("Stepped", end), "last evaluation": ("Evaluated", end)}.get(str(stop), stop)
    config = write_config(tmp_path / "impatient.yaml", IMPATIENT)
    assert_same_files(finish(interrupted(config, tmp_path / "run", [at])), reference)


# Stopped by signals --------------------------------------------------------------------------------------------------


def started(config: Path, directory: Path, *more: str) -> subprocess.Popen[str]:
    """`optrun train` in a process of its own, as soon as it has taken some steps."""
    program = [sys.executable, "-m", "optrun", "train", str(config), "--run-dir", str(directory), "--quiet", *more]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = directory / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") > 20):
        pass
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(number: int, code: int, uninterrupted: dict[str, Run], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    process = started(write_config(tmp_path / "forever.yaml", FOREVER), directory)
    process.send_signal(number)
    _, told = process.communicate()
    assert process.returncode == code, told
    assert f"optrun resume {directory}" in told.replace("\n", "")
    run = read(directory)
    assert run.summary["status"] == "interrupted"
    assert 0 < run.summary["steps"] < FOREVER["steps"]
    assert command(["resume", str(directory), "--quiet"]) == 0
    assert_same_files(read(directory), uninterrupted["forever"])


def test_killed(uninterrupted: dict[str, Run], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    process = started(write_config(tmp_path / "forever.yaml", FOREVER), directory, "checkpoint_every={steps: 5}")
    process.kill()
    process.communicate()
    run = read(directory)
    assert run.summary["status"] == "running"  # nobody was there to write anything else
    assert run.status == "interrupted"
    saved, _ = checkpoints.load(Layout(directory))
    assert 0 < saved["step"] < FOREVER["steps"]
    assert saved["step"] % 5 == 0
    assert command(["resume", str(directory), "checkpoint_every=auto", "--quiet"]) == 0
    assert_same_files(read(directory), uninterrupted["forever"])


# Not stopped, or not resumable ---------------------------------------------------------------------------------------


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A config of ten steps."""
    return write_config(tmp_path / "short.yaml", {**BASE, "steps": 10})


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_completed_run_is_left_as_it_is(short: Path, tmp_path: Path) -> None:
    directory = optrun.train(short, run_dir=tmp_path / "run").path
    before = contents(directory)
    assert optrun.resume(directory).status == "completed"
    assert command(["resume", str(directory)]) == 0
    assert contents(directory) == before


def test_a_run_without_a_checkpoint_starts_over(short: Path, tmp_path: Path) -> None:
    whole = optrun.train(short, run_dir=tmp_path / "whole")
    stop_after(Experiment.new(load(short), directory=tmp_path / "run"), ("Stepped", 7))
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    experiment = Experiment.resumed(tmp_path / "run")
    assert experiment.notes == ["there is no checkpoint: the run starts over"]
    assert_same_files(finish(experiment), whole)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = optrun.train(short, ["checkpoint_every={steps: 3}"], run_dir=tmp_path / "whole")
    spec = load(short, ["checkpoint_every={steps: 3}"])
    stop_after(Experiment.new(spec, directory=tmp_path / "run"), ("Stepped", 8))
    damage(tmp_path / "run" / "checkpoints" / "last.pt")
    experiment = Experiment.resumed(tmp_path / "run")
    assert experiment.state.step == 6
    assert len(experiment.notes) == 1
    assert "last.pt is damaged" in experiment.notes[0]
    assert "previous.pt, is used" in experiment.notes[0]
    assert_same_files(finish(experiment), whole)


def test_the_command_says_that_a_checkpoint_is_damaged(
    short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = load(short, ["checkpoint_every={steps: 3}"])
    stop_after(Experiment.new(spec, directory=tmp_path / "run"), ("Stepped", 8))
    damage(tmp_path / "run" / "checkpoints" / "last.pt")
    assert command(["resume", str(tmp_path / "run")]) == 0
    assert "is damaged" in " ".join(capsys.readouterr().err.split())


def test_two_damaged_checkpoints(short: Path, tmp_path: Path) -> None:
    spec = load(short, ["checkpoint_every={steps: 3}"])
    stop_after(Experiment.new(spec, directory=tmp_path / "run"), ("Stepped", 8))
    for name in ("last.pt", "previous.pt"):
        damage(tmp_path / "run" / "checkpoints" / name)
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged[^\n]*\n[^\n]*previous\.pt is damaged"):
        Experiment.resumed(tmp_path / "run")


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_run_somebody_works_on_is_locked(short: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    experiment = Experiment.new(load(short), directory=directory)
    events = experiment.events()
    next(events)
    with pytest.raises(RunLocked, match=re.escape(str(directory))):
        optrun.resume(directory)
    assert command(["resume", str(directory)]) == 1
    events.close()
    assert optrun.resume(directory).status == "completed"
    with Lock(directory), pytest.raises(RunLocked):
        optrun.resume(directory, ["steps=12"])


def test_a_directory_with_a_run_is_not_trained_in(short: Path, tmp_path: Path) -> None:
    directory = optrun.train(short, run_dir=tmp_path / "run").path
    before = contents(directory)
    with pytest.raises(UsageError, match="holds a run already; resume it, or choose another directory"):
        optrun.train(short, run_dir=directory)
    assert contents(directory) == before


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("optimizer.lr=0.2", "optimizer.lr"),
        ("seed=1", "seed"),
        ("dataset.batch_size=32", "dataset.batch_size"),
        ("model.hidden=[8]", "model.hidden"),
        ("clip_norm=2", "clip_norm"),
        ("eval_every=2", "eval_every"),
        ("precision=fp64", "precision"),
        ("threads=2", "threads"),
    ],
)
def test_a_resume_makes_no_other_run(override: str, key: str, short: Path, tmp_path: Path) -> None:
    stop_after(Experiment.new(load(short), directory=tmp_path / "run"), ("Stepped", 7))
    before = contents(tmp_path / "run")
    with pytest.raises(ConfigError, match=f"{key}: cannot be changed by a resume; start a new run") as refused:
        optrun.resume(tmp_path / "run", [override])
    assert len(refused.value.problems) == 1
    assert contents(tmp_path / "run") == before


def test_what_a_resume_may_change(short: Path, tmp_path: Path) -> None:
    whole = optrun.train(short, run_dir=tmp_path / "whole")
    stop_after(Experiment.new(load(short), directory=tmp_path / "run"), ("Stepped", 7))
    run = optrun.resume(tmp_path / "run", ["log_every=1", "tags=[again]", "notes=once more", "keep_checkpoints=last"])
    assert [row["step"] for row in training_rows(run)] == [5, 8, 9, 10]
    assert different_leaves(checkpoint(run)["model"], checkpoint(whole)["model"]) == []
    assert load(run.path / "config.yaml").tags == ("again",)


def test_train_resume(short: Path, tmp_path: Path) -> None:
    whole = optrun.train(short, run_dir=tmp_path / "whole")
    stop_after(Experiment.new(load(short), directory=tmp_path / "run"), ("Stepped", 7))
    assert command(["train", str(short), "--resume", str(tmp_path / "run"), "--quiet"]) == 0
    assert_same_files(read(tmp_path / "run"), whole)
    assert command(["train", str(short), "seed=1", "--resume", str(tmp_path / "run"), "--quiet"]) == 2


def test_a_resume_leaves_its_trace_in_the_environment_alone(short: Path, tmp_path: Path) -> None:
    stop_after(Experiment.new(load(short), directory=tmp_path / "run"), ("Stepped", 7))
    optrun.resume(tmp_path / "run")
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert '"step": 7' in json.dumps(environment)


# Longer --------------------------------------------------------------------------------------------------------------

LONGER: dict[str, Config] = {
    "epochs": {"epochs": 2, "optimizer": {"name": "SGD", "lr": 0.1, "momentum": 0.9}},
    "epochs, a step schedule": {
        "epochs": 2,
        "optimizer": {"name": "Adam", "lr": 0.01},
        "scheduler": {"name": "ExponentialLR", "gamma": 0.9, "interval": "step"},
        "clip_norm": 1.0,
    },
    "an epoch that is not evaluated": {
        "epochs": 3,
        "eval_every": 2,
        "optimizer": {"name": "Adam", "lr": 0.01},
        "scheduler": {"name": "ReduceLROnPlateau", "patience": 0, "threshold": 0.5},
        "early_stop": {"metric": "val/loss", "patience": 3},
    },
    "steps": {"steps": 12, "optimizer": {"name": "LBFGS", "max_iter": 2, "lr": 0.3}},
    "steps, a warm-up": {
        "steps": 15,
        "eval_every": {"steps": 4},
        "optimizer": {"name": "Muon", "lr": 0.02, "fallback": {"name": "AdamW", "lr": 0.003}},
        "scheduler": {
            "name": "SequentialLR",
            "interval": "step",
            "milestones": [9],
            "schedulers": [{"name": "LinearLR", "total_iters": 9}, {"name": "CosineAnnealingLR", "T_max": 40}],
        },
    },
    "steps that end inside an epoch": {
        "steps": 16,
        "log_every": 7,
        "optimizer": {"name": "RMSprop", "lr": 0.001},
        "scheduler": {"name": "StepLR", "step_size": 1, "gamma": 0.5},
    },
}


def lengthened(config: Config) -> tuple[str, Config]:
    key = "epochs" if "epochs" in config else "steps"
    length = 5 if key == "epochs" else 29
    return f"{key}={length}", {**config, key: length}


@pytest.mark.parametrize("name", LONGER)
def test_longer(name: str, tmp_path: Path) -> None:
    config = {**BASE, **LONGER[name]}
    config = {key: value for key, value in config.items() if key != "steps" or "epochs" not in config}
    override, longer = lengthened(config)
    whole = trained(tmp_path / "whole", longer)
    run = trained(tmp_path / "extended", config)
    assert run.status == "completed"
    assert_same_files(optrun.resume(run.path, [override]), whole)


def test_longer_twice_and_stopped_on_the_way(tmp_path: Path) -> None:
    config = {**BASE, **LONGER["steps that end inside an epoch"]}
    whole = trained(tmp_path / "whole", {**config, "steps": 29})
    run = trained(tmp_path / "extended", config)
    optrun.resume(run.path, ["steps=23"])
    stop_after(Experiment.resumed(run.path, ["steps=29"]), ("Stepped", 25))
    assert_same_files(optrun.resume(run.path), whole)


def test_longer_and_killed_before_its_first_step(tmp_path: Path) -> None:
    """config.yaml says the new length by then, and the last checkpoint still the old one."""
    config = {**BASE, **LONGER["steps that end inside an epoch"]}
    whole = trained(tmp_path / "whole", {**config, "steps": 29})
    run = trained(tmp_path / "extended", config)
    experiment = Experiment.resumed(run.path, ["steps=29"])
    experiment.record.close()
    experiment.lock.release()
    assert_same_files(optrun.resume(run.path), whole)


def test_rows_that_only_the_end_asked_for_are_cut(tmp_path: Path) -> None:
    config = {**BASE, **LONGER["steps that end inside an epoch"]}
    run = trained(tmp_path, config)
    assert [row["step"] for row in training_rows(run)] == [7, 14, 16]
    assert [row["step"] for row in evaluation_rows(run)] == [6, 12, 16]
    run = optrun.resume(run.path, ["steps=20"])
    assert [row["step"] for row in training_rows(run)] == [7, 14, 20]
    assert [row["step"] for row in evaluation_rows(run)] == [6, 12, 18, 20]


def test_the_best_weights_are_not_those_of_an_evaluation_that_was_cut(tmp_path: Path) -> None:
    """The learning rate jumps after the first epoch, whose end asked for an evaluation that the longer run lacks."""
    config = {key: value for key, value in BASE.items() if key != "steps"} | {
        "epochs": 1,
        "eval_every": {"steps": 4},
        "scheduler": {"name": "StepLR", "step_size": 1, "gamma": 1000.0},
    }
    whole = trained(tmp_path / "whole", {**config, "epochs": 2})
    run = trained(tmp_path / "extended", config)
    assert run.summary["best"]["step"] == 6
    assert whole.summary["best"]["step"] == 4
    assert_same_files(optrun.resume(run.path, ["epochs=2"]), whole)


def test_a_damaged_best_checkpoint_stops_nobody(short: Path, tmp_path: Path) -> None:
    run = optrun.train(short, run_dir=tmp_path / "run")
    damage(run.path / "checkpoints" / "best.pt")
    assert optrun.resume(run.path, ["steps=14"]).status == "completed"
    assert checkpoint(run, "best")["step"] == read(run.path).summary["best"]["step"]


@pytest.mark.parametrize(
    ("scheduler", "setting"),
    [
        ({"name": "CosineAnnealingLR"}, "CosineAnnealingLR.T_max"),
        ({"name": "OneCycleLR", "max_lr": 0.1}, "OneCycleLR.total_steps"),
        ({"name": "OneCycleLR", "max_lr": 0.1, "total_steps": 100}, "OneCycleLR.total_steps"),
        ({"name": "LinearLR", "total_iters": "run"}, "LinearLR.total_iters"),
        ({"name": "LambdaLR", "lr_lambda": {"name": "polynomial", "total": "run"}}, "LambdaLR.lr_lambda"),
    ],
)
def test_not_longer_where_the_schedule_was_made_for_the_length(scheduler: Config, setting: str, tmp_path: Path) -> None:
    optimizer = {"name": "SGD", "lr": 0.1, "momentum": 0.9}
    config = {**BASE, "steps": 12, "optimizer": optimizer, "scheduler": scheduler}
    run = trained(tmp_path, config)
    before = contents(run.path)
    expected = f"steps: cannot be changed: {setting} was made for the run's first length; start a new run"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        optrun.resume(run.path, ["steps=18"])
    assert contents(run.path) == before


def test_not_shorter_than_it_is(short: Path, tmp_path: Path) -> None:
    run = optrun.train(short, run_dir=tmp_path / "run")
    before = contents(run.path)
    with pytest.raises(UsageError, match="has taken 10 steps already, more than 8"):
        optrun.resume(run.path, ["steps=8"])
    assert contents(run.path) == before
    with Lock(run.path):
        pass


# The best ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [None, ("Evaluated", 6), ("Stepped", 9), ("Evaluated", 12), ("Stepped", 22)])
def test_best_is_the_best_evaluation(stop: Stop | None, tmp_path: Path) -> None:
    """Trained on with a learning rate that is too high from the second epoch on, so that the best is not the last."""
    config = {**BASE, "scheduler": {"name": "MultiStepLR", "milestones": [1], "gamma": 1000.0}}
    experiment = interrupted(write_config(tmp_path / "c.yaml", config), tmp_path / "run", [stop] if stop else [])
    run = finish(experiment)
    rows = evaluation_rows(run)
    best = max(rows, key=lambda row: row["val/accuracy"])
    assert best["step"] == 6
    assert run.summary["best"] == {
        "metric": "val/accuracy", "mode": "max", "value": best["val/accuracy"], "step": 6, "epoch": 1,
    }  # fmt: skip
    saved = checkpoint(run, "best")
    assert (saved["value"], saved["step"], saved["epoch"]) == (best["val/accuracy"], 6, 1)
    experiment.state.model.load_state_dict(saved["model"])
    assert evaluate(experiment.state, experiment.state.data.val, "val")["val/accuracy"] == best["val/accuracy"]


def test_process_is_clean_after_a_stop(short: Path, tmp_path: Path) -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stop_after(Experiment.new(load(short), directory=tmp_path / "run"), ("Stepped", 7))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert not torch.are_deterministic_algorithms_enabled()
    assert sorted(os.listdir(tmp_path / "run" / "checkpoints")) == ["best.pt", "last.pt"]


def test_a_completed_run_refuses_what_would_be_forgotten(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", {**DIGITS_MLP, "epochs": 1})
    run = optrun.train(config, run_dir=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"override notes=hi: notes: the run is complete and stays as it is"):
        optrun.resume(run.path, ["notes=hi"])


def test_a_refusal_points_at_the_setting(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", {**DIGITS_MLP, "epochs": 1})
    run = optrun.train(config, run_dir=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"override optimizer\.lr=7: optimizer\.lr: cannot be changed by a resume"):
        optrun.resume(run.path, ["optimizer.lr=7", "epochs=2"])
