"""The configs in configs/ do what their comments say."""

from __future__ import annotations

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
from optrun.training.preparation import load_data

CONFIGS = Path(__file__).parent.parent / "configs"
EVERY_CONFIG = sorted(CONFIGS.rglob("*.yaml"))


@pytest.fixture(autouse=True)
def residual() -> Iterator[None]:
    """The model of configs/own_model, for the length of a test."""
    import_file(CONFIGS / "own_model" / "residual.py")
    yield
    models._registered.pop("residual")


@pytest.mark.parametrize("path", EVERY_CONFIG, ids=lambda path: path.stem)
def test_every_config_passes_check(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(path)]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("path", EVERY_CONFIG, ids=lambda path: path.stem)
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
