"""One trial of the sweep, the same for every tool: the digits MLP, one epoch of ten steps, one evaluation."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import bare_loop

__all__ = ["EPOCHS", "arguments", "rates", "train", "write_values"]

BATCH_SIZE = 144
EPOCHS = 1
RATES = 1000
"""As many learning rates there are to choose from."""


def rates(trials: int) -> list[float]:
    """The learning rates of the sweep, the same for every number of trials: evenly spread over a decade and a half."""
    return [float(f"{0.01 * 30 ** (i * 617 % RATES / RATES):.6g}") for i in range(trials)]


@functools.cache
def data(folder: str) -> Mapping[str, Tensor]:
    """Inputs and targets of both parts, and the order of the epoch, as the benchmark left them: read once a process."""
    torch.set_num_threads(1)
    parts: dict[str, Tensor] = torch.load(Path(folder, "data.pt"), weights_only=True)
    return parts


def train(folder: str, rate: float) -> float:
    """The loss on the validation part after the trial with that learning rate."""
    parts = data(folder)
    inputs, targets = (parts[name][parts["order"]].split(BATCH_SIZE) for name in ("inputs", "targets"))
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1)),
        *(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10)),
    )
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS)
    bare_loop.train(model, criterion, optimizer, scheduler, [list(zip(inputs, targets))] * EPOCHS, clip_norm=1.0)
    model.eval()
    with torch.no_grad():
        return float(criterion(model(parts["val_inputs"]), parts["val_targets"]))


def arguments() -> tuple[str, list[float]]:
    """The folder and the learning rates of `python -m benchmarks.rivals.NAME FOLDER TRIALS`."""
    return sys.argv[1], rates(int(sys.argv[2]))


def write_values(folder: str, values: Mapping[float, float]) -> None:
    """Leave the loss of every learning rate where the benchmark looks for it."""
    Path(folder, "values.json").write_text(json.dumps(list(values.items())), encoding="utf-8")
