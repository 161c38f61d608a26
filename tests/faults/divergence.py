"""Numbers that are none: in the loss, in a gradient, in a weight, in a metric, with every optimizer."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

import torch
from experiments import checkpoint, write_config
from test_resume import BASE, PAIRS
from torch import nn

import optrun
from optrun.cli.app import run as command
from optrun.components.optimizers import NEEDS_CLOSURE
from optrun.errors import Diverged
from optrun.runs.reader import read

__all__ = ["CASES", "broken"]

NAMES = [name for name in PAIRS if name not in ("images-augmented", "schedulefree")]
WRONG = {"NaN": math.nan, "infinity": math.inf, "explosion": 1e30}
PLACES = ("loss", "gradient", "weight")
STEPS = (1, 5, BASE["steps"])
"""After the last step no other one notices what it did to the weights."""
CASES = len(NAMES) + 1
"""Every optimizer of the tests of resuming, fp16 among them; then metrics, and sweeps with their comparison."""


class _Factor(torch.autograd.Function):
    """What multiplies the gradient alone."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        return gradient * ctx.factor, None


class Poisoned(nn.Module):
    """A model that goes wrong in its `at`-th forward pass of training: its outputs, and so the loss, a weight, or the
    gradient."""

    def __init__(self, inner: nn.Module, wrong: str, place: str, at: int) -> None:
        super().__init__()
        self.inner, self.factor, self.place, self.at, self.passes = inner, WRONG.get(wrong), place, at, 0

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        self.passes += self.training
        factor = self.factor if self.training and self.passes == self.at else None
        if factor is not None and self.place == "weight":
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.mul_(factor)
        outputs = self.inner(*inputs)
        if factor is not None and self.place == "gradient":
            return _Factor.apply(outputs, factor)
        return outputs * factor if factor is not None and self.place == "loss" else outputs


def register() -> None:
    """The poisoned models, and a metric that is no number; a test forgets them again."""

    @optrun.models.register
    def poisoned(data: Any, *, wrong: str = "nothing", place: str = "loss", at: int = 5) -> nn.Module:
        inner = optrun.models.find("mlp").load()(data, hidden=(16,), batch_norm=True)
        return Poisoned(inner, wrong, place, at)

    @optrun.models.register
    def poisoned_bag(data: Any, *, wrong: str = "nothing", place: str = "loss", at: int = 5) -> nn.Module:
        return Poisoned(optrun.models.find("embedding_bag").load()(data, dim=8, sparse=True), wrong, place, at)

    @optrun.metrics.register
    def nothing(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        return math.nan

    @optrun.metrics.register
    def endless(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        return math.inf


def broken(number: int, folder: Path) -> int:
    """`diverged`, with the step in the summary and in the last row, which is kept; nothing else is harmed."""
    register()
    if number == len(NAMES):
        return sum(_metric(name, folder) for name in ("nothing", "endless")) + _sweep(folder)
    cases = list(itertools.product(WRONG, PLACES, STEPS))
    for case in cases:
        _goes_wrong(NAMES[number], *case, folder / "-".join(map(str, case)))
    return len(cases)


def _goes_wrong(name: str, wrong: str, place: str, at: int, folder: Path) -> None:
    folder.mkdir()
    pair = PAIRS[name]
    model = "poisoned_bag" if pair.get("model", {}).get("name") == "embedding_bag" else "poisoned"
    settings = {"name": model, "wrong": wrong, "place": place, "at": at}
    config = write_config(folder / "c.yaml", {**BASE, **pair, "model": settings})
    with contextlib.suppress(Diverged):
        optrun.train(config, run_dir=folder / "run")
    run = read(folder / "run")
    if run.status == "completed":
        # A finite number may be survived; a gradient that is none is clipped, or skipped, or takes part by its sign.
        assert wrong == "explosion" or place == "gradient"
        assert all(math.isfinite(row.get("train/loss", 0.0)) for row in run.rows())
        bad = [key for key, leaf in checkpoint(run)["model"].items() if not leaf.isfinite().all()]
        assert all("running_" in key for key in bad), bad  # batch norm in evaluation divides by an infinite variance
        return
    assert run.status == "diverged"
    last = run.rows()[-1]
    assert f" step {last['step']}: the run has diverged" in run.summary["error"]
    loss = last.get("train/loss", last.get("val/loss"))
    assert not math.isfinite(loss)
    assert str(loss) in run.summary["error"]
    assert all(math.isfinite(row["train/loss"]) for row in run.rows()[:-1] if "train/loss" in row)
    if "accumulate" not in pair and pair["optimizer"]["name"] not in NEEDS_CLOSURE and wrong != "explosion":
        assert last["step"] == min(at + (place == "gradient"), STEPS[-1])


def _metric(name: str, folder: Path) -> int:
    """A metric may be no number and the training go on: it is written down, and is never the best."""
    config = write_config(folder / f"{name}.yaml", {**BASE, "optimizer": {"name": "SGD", "lr": 0.1}, "metrics": [name]})
    run = optrun.train(config, run_dir=folder / name)
    assert run.status == "completed"
    assert not math.isfinite(run.summary["final"][f"val/{name}"])
    assert run.summary["best"] is None
    return 1


def _sweep(folder: Path) -> int:
    """A diverged trial is a result of its sweep, and counts as the worst in the comparison."""
    base = {**BASE, "optimizer": {"name": "SGD", "lr": 0.1}, "model": {"name": "poisoned", "at": STEPS[-1]}}
    grid = {"model.wrong": ["nothing", "NaN"], "model.place": list(PLACES)}
    sweep = write_config(folder / "s.yaml", {"name": "s", "base": base, "grid": grid, "seeds": 2})
    assert command(["sweep", str(sweep), "--executor", "inline", "--runs-dir", str(folder), "--quiet"]) == 0
    found = optrun.compare(folder / "s")
    assert sorted((each.group.settings["model.wrong"], each.n, each.diverged) for each in found.groups) == [
        *[("NaN", 0, 2)] * len(PLACES),
        *[("nothing", 2, 0)] * len(PLACES),
    ]
    json.dumps(found.as_json(), allow_nan=False)
    return 1
