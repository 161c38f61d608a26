"""The yardstick of fused sweeps: the trials of a sweep, trained by hand in two processes of one thread each.

    python -m benchmarks.bare_pool FOLDER

Every trial is the bare loop: it gathers each epoch's examples in their order, cuts batches from them, trains, steps the
schedule, and evaluates loss and accuracy once an epoch. Nothing is checked, written or saved but, at the end, a digest
of each trial's weights. FOLDER holds `data.pt` and `work.json`, which `benchmarks/fused_sweeps.py` leaves there. It is
never edited to move a ratio.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

__all__ = ["PROCESSES", "digest", "model", "train"]

PROCESSES = 2

Trial = Mapping[str, Any]
"""`name`, `seed`, `optimizer` and `scheduler` (each a class of torch and its settings), `clip_norm`."""


def model(name: str, characters: int) -> nn.Module:
    """The networks of the sweeps, written out; a text has so many characters."""
    if name == "digits":
        return nn.Sequential(
            *(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
        )
    if name == "moons":
        return nn.Sequential(
            *(nn.Flatten(), nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
        )
    if name == "images":
        return nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(784, 10)),
        )
    from optrun.components.models.transformer import Transformer

    return Transformer(characters, context=32, dim=64, depth=2, heads=4, dropout=0.0)


def train(work: Mapping[str, Any], trial: Trial, data: Mapping[str, Tensor]) -> nn.Module:
    """The textbook's loop over one trial."""
    inputs, targets, batch_size = data["inputs"], data["targets"], work["batch_size"]
    torch.manual_seed(trial["seed"])
    network = model(work["workload"], work["characters"])
    criterion = nn.CrossEntropyLoss()
    optimizer = getattr(torch.optim, trial["optimizer"]["name"])(network.parameters(), **trial["optimizer"]["settings"])
    schedule = trial["scheduler"]
    scheduler = getattr(torch.optim.lr_scheduler, schedule["name"])(optimizer, **schedule["settings"])
    for epoch in range(work["epochs"]):
        order = data[f"order.{trial['seed']}"][epoch]
        epoch_inputs, epoch_targets = inputs[order], targets[order]
        network.train()
        for batch, wanted in zip(epoch_inputs.split(batch_size), epoch_targets.split(batch_size)):
            optimizer.zero_grad()
            outputs = network(batch)
            loss = criterion(outputs, wanted)
            loss.backward()
            if trial["clip_norm"] is not None:
                clip_grad_norm_(network.parameters(), trial["clip_norm"])
            optimizer.step()
        scheduler.step()
        evaluate(network, criterion, data["val_inputs"], data["val_targets"])
    return network


@torch.no_grad()
def evaluate(network: nn.Module, criterion: Callable[..., Tensor], inputs: Tensor, targets: Tensor) -> Sequence[float]:
    """The loss and the accuracy over the validation part, 1,024 examples at a time."""
    network.eval()
    loss = right = 0.0
    for batch, wanted in zip(inputs.split(1024), targets.split(1024)):
        outputs = network(batch)
        loss += criterion(outputs, wanted).item() * len(wanted)
        right += (outputs.argmax(1) == wanted).sum().item()
    return loss / len(targets), right / targets.numel()


def digest(weights: Mapping[str, Tensor]) -> str:
    """The bits of a network."""
    return hashlib.sha256(b"".join(tensor.contiguous().numpy().tobytes() for tensor in weights.values())).hexdigest()


def main(folder: Path) -> None:
    """Train the trials of `work.json`, every other one in each process, and leave what came out and what it took."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    work = json.loads((folder / "work.json").read_text(encoding="utf-8"))
    data = torch.load(folder / "data.pt", weights_only=True)
    children = []
    for process in range(PROCESSES):
        if (child := os.fork()) == 0:
            mine = work["trials"][process::PROCESSES]
            found = {trial["name"]: digest(train(work, trial, data).state_dict()) for trial in mine}
            (folder / f"found.{process}.json").write_text(json.dumps(found), encoding="utf-8")
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    (folder / "seconds.json").write_text(json.dumps(time.perf_counter() - started), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
