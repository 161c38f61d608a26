"""Numbers that are none: in the loss, in a gradient, in a weight, in a metric, with every optimizer."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from experiments import write_config
from test_resume import BASE, PAIRS
from torch import nn

import optrun
from optrun.cli.app import run as command
from optrun.errors import Diverged
from optrun.runs.reader import read

__all__ = ["CASES", "broken"]

NAMES = [name for name in PAIRS if name not in ("images-augmented", "schedulefree")]
TOLERANT = ("rprop-multistep", "lbfgs-exponential")
"""torch's own Rprop and LBFGS take no step for such a gradient; loss scaling skips it."""
KINDS = ("loss", "infinity", "gradient", "weight", "explosion")
CASES = len(NAMES) + 1
"""Every optimizer of the tests of resuming; then a metric, and a sweep with its comparison."""


class _BadGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return gradient * math.nan


class Poisoned(nn.Module):
    """A model that goes wrong in its `at`-th forward pass of training."""

    def __init__(self, inner: nn.Module, kind: str, at: int) -> None:
        super().__init__()
        self.inner, self.kind, self.at, self.passes = inner, kind, at, 0

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return self.inner(*inputs)
        self.passes += 1
        now = self.passes == self.at
        if now and self.kind == "weight":
            with torch.no_grad():
                next(self.parameters()).fill_(math.nan)
        if self.passes >= self.at and self.kind == "explosion":
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.mul_(1e12)
        outputs = self.inner(*inputs)
        if now and self.kind == "gradient":
            return _BadGradient.apply(outputs)
        factor = {"loss": math.nan, "infinity": math.inf}.get(self.kind)
        return outputs * factor if now and factor is not None else outputs


def register() -> None:
    """The poisoned models, and a metric that is no number; a test forgets them again."""

    @optrun.models.register
    def poisoned(data: Any, *, kind: str = "none", at: int = 5) -> nn.Module:
        inner = optrun.models.find("mlp").load()(data, hidden=(16,), batch_norm=True)
        return Poisoned(inner, kind, at)

    @optrun.models.register
    def poisoned_bag(data: Any, *, kind: str = "none", at: int = 5) -> nn.Module:
        return Poisoned(optrun.models.find("embedding_bag").load()(data, dim=8, sparse=True), kind, at)

    @optrun.metrics.register
    def nothing(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        return math.nan


def broken(number: int, folder: Path) -> int:
    """`diverged`, with the step in the summary and in the last row, which is kept; nothing else is harmed."""
    register()
    if number == len(NAMES):
        return _metric(folder) + _sweep(folder)
    for kind in KINDS:
        _diverges(NAMES[number], kind, folder / kind)
    return len(KINDS)


def _diverges(name: str, kind: str, folder: Path) -> None:
    folder.mkdir()
    pair = PAIRS[name]
    model = "poisoned_bag" if pair.get("model", {}).get("name") == "embedding_bag" else "poisoned"
    config = write_config(folder / "c.yaml", {**BASE, **pair, "model": {"name": model, "kind": kind, "at": 5}})
    if kind == "explosion" or (kind == "gradient" and (pair.get("precision") == "fp16" or name in TOLERANT)):
        with contextlib.suppress(Diverged):
            run = optrun.train(config, run_dir=folder / "run")
            assert all(math.isfinite(row.get("train/loss", 0.0)) for row in run.rows())
        assert read(folder / "run").status in ("diverged", "completed")
        return
    with pytest.raises(Diverged) as caught:
        optrun.train(config, run_dir=folder / "run")
    assert 1 <= caught.value.step <= 6
    run = read(folder / "run")
    assert run.status == "diverged"
    assert str(caught.value.step) in run.summary["error"]
    rows = run.rows()
    assert rows[-1]["step"] == caught.value.step
    assert not math.isfinite(rows[-1]["train/loss"])
    assert all(math.isfinite(row["train/loss"]) for row in rows[:-1] if "train/loss" in row)


def _metric(folder: Path) -> int:
    """A metric may be NaN and the training go on: it is written down, and is never the best."""
    config = write_config(folder / "m.yaml", {**BASE, "optimizer": {"name": "SGD", "lr": 0.1}, "metrics": ["nothing"]})
    run = optrun.train(config, run_dir=folder / "m")
    assert run.status == "completed"
    assert math.isnan(run.summary["final"]["val/nothing"])
    assert run.summary["best"] is None
    return 1


def _sweep(folder: Path) -> int:
    """A diverged trial is a result of its sweep, and counts as the worst in the comparison."""
    base = {**BASE, "optimizer": {"name": "SGD", "lr": 0.1}, "model": {"name": "poisoned"}}
    grid = {"model.kind": ["none", "loss"]}
    sweep = write_config(folder / "s.yaml", {"name": "s", "base": base, "grid": grid, "seeds": 2})
    assert command(["sweep", str(sweep), "--executor", "inline", "--runs-dir", str(folder), "--quiet"]) == 0
    found = optrun.compare(folder / "s")
    assert [(each.group.settings["model.kind"], each.n, each.diverged) for each in found.groups] == [
        ("none", 2, 0),
        ("loss", 0, 2),
    ]
    json.dumps(found.as_json(), allow_nan=False)
    return 1
