"""The configs in configs/ do what their comments say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import optrun
from optrun.cli.app import run
from optrun.components.data import Examples
from optrun.components.plugins import import_file
from optrun.components.registry import models
from optrun.config.loading import load
from optrun.config.sweep import load_sweep
from optrun.training.preparation import load_data

CONFIGS = Path(__file__).parent.parent / "configs"
EVERY_SWEEP = sorted(CONFIGS.glob("sweeps/*.yaml"))
EVERY_CONFIG = sorted(set(CONFIGS.rglob("*.yaml")) - set(EVERY_SWEEP))


@pytest.fixture(autouse=True)
def residual() -> Iterator[None]:
    """The model of configs/own_model, for the length of a test."""
    import_file(CONFIGS / "own_model" / "residual.py")
    yield
    models._registered.pop("residual")


@pytest.mark.parametrize("path", [*EVERY_CONFIG, *EVERY_SWEEP], ids=lambda path: path.stem)
def test_every_config_passes_check(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(path)]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("path", EVERY_SWEEP, ids=lambda path: path.stem)
def test_every_sweep_runs_in_small(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One epoch instead of many; of what is pruned, as many as there must be."""
    epochs = "epochs=3" if "prune:" in path.read_text(encoding="utf-8") else "epochs=1"
    arguments = ["sweep", str(path), epochs, "seeds=1", "--runs-dir", str(tmp_path), "--executor", "inline", "--json"]
    assert run(arguments) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert counts.keys() <= {"completed", "pruned", "diverged"}


def test_the_tutorial_grid_is_ninety_trials() -> None:
    sweep = load_sweep(CONFIGS / "sweeps" / "tutorial.yaml")
    assert [len(point.trials) for point in sweep.points] == [3] * 30
    optimizers = {point.settings["optimizer"]["name"] for point in sweep.points}
    schedules = {getattr(point.trials[0].scheduler, "name", None) for point in sweep.points}
    assert optimizers == {"SGD", "Adam", "RMSprop"}
    assert schedules == {None, "StepLR", "CosineAnnealingLR", "ReduceLROnPlateau", "CyclicLR"}
    assert {point.settings["clip_norm"] for point in sweep.points} == {None, 1.0}


@pytest.mark.parametrize("path", [*EVERY_CONFIG, *EVERY_SWEEP], ids=lambda path: path.stem)
def test_every_config_begins_with_a_comment_and_stands_in_the_table(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.match(r"# [A-Z]", text)
    name = path.relative_to(CONFIGS)
    assert f"| [{name}]({name}) |" in (CONFIGS / "README.md").read_text(encoding="utf-8")


def test_the_quick_start_reaches_97_percent(tmp_path: Path) -> None:
    run = optrun.train(CONFIGS / "quickstart.yaml", run_dir=tmp_path / "run")
    assert run.summary["final"]["val/accuracy"] >= 0.97


def test_without_clipping_the_clipping_example_learns_nothing(tmp_path: Path) -> None:
    clipped = optrun.train(CONFIGS / "clipping.yaml", {"seed": 1}, run_dir=tmp_path / "clipped")
    free = optrun.train(CONFIGS / "clipping.yaml", {"seed": 1, "clip_norm": None}, run_dir=tmp_path / "free")
    assert clipped.summary["final"]["val/accuracy"] > 0.95
    assert free.summary["final"]["val/accuracy"] < 0.2


def test_the_transformer_predicts_better_than_a_bigram_model(tmp_path: Path) -> None:
    path = CONFIGS / "transformer.yaml"
    run = optrun.train(path, run_dir=tmp_path / "run")
    assert run.summary["final"]["val/perplexity"] < bigram_perplexity(path)


def bigram_perplexity(path: Path) -> float:
    """The perplexity on the validation part of the next character's frequencies after each character in training,
    with one count in ten added to every pair, which of 1, 0.1 and 0.01 is the best for it."""
    data = load_data(load(path))
    assert isinstance(data.train, Examples)
    assert isinstance(data.val, Examples)
    counts = torch.full((data.num_outputs, data.num_outputs), 0.1, dtype=torch.float64)
    pairs = data.train.inputs.flatten(), data.train.targets.flatten()
    counts.index_put_(pairs, torch.ones(1, dtype=torch.float64), accumulate=True)
    surprise: Tensor = -(counts / counts.sum(1, keepdim=True)).log()
    return surprise[data.val.inputs, data.val.targets].mean().exp().item()
