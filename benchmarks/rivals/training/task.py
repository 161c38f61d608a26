"""What every tool trains: data, batches, network, optimizer and length, as the benchmark left them in the folder.

The same batches are served to all, and random numbers go on where the network's making left them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from benchmarks import turns
from benchmarks.rivals.training.transformer import Transformer

__all__ = [
    *("batch_size", "clip_norm", "criterion", "data", "dataset", "epochs", "finished", "folder", "loader", "loading"),
    *("network", "optimizer", "optimizer_class", "optimizer_settings"),
]

folder = Path(sys.argv[1])
_work: dict[str, Any] = json.loads((folder / "work.json").read_text(encoding="utf-8"))
_random = torch.get_rng_state()

epochs: int = _work["epochs"]
batch_size: int = _work["batch_size"]
clip_norm: float = _work["clip_norm"]
criterion = nn.CrossEntropyLoss()
data: dict[str, Tensor] = torch.load(folder / "data.pt", weights_only=True)
"""`inputs`, `targets`, and the `orders` [epochs, examples] in which they are served."""

torch.set_num_threads(_work["threads"])


def network() -> nn.Module:
    """The network of the workload, with the weights that it begins with."""
    global _random
    torch.manual_seed(0)
    made = _network()
    _random = torch.get_rng_state()
    return made


def _network() -> nn.Module:
    if _work["workload"] == "digits":
        return nn.Sequential(
            *(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1)),
            *(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10)),
        )
    if _work["workload"] == "images":
        return nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(784, 10)),
        )
    return Transformer(characters=_work["outputs"], context=64, dim=64, depth=2, heads=4)


def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer of the workload: SGD with momentum, or AdamW."""
    return optimizer_class(parameters, **optimizer_settings)


optimizer_class: Any = getattr(torch.optim, _work["optimizer"]["name"])
optimizer_settings: dict[str, Any] = {key: value for key, value in _work["optimizer"].items() if key != "name"}


class Orders(Sampler[int]):
    """The given order of each epoch, so that all tools train on the same batches."""

    def __init__(self) -> None:
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        if self.epoch == 0:
            torch.set_rng_state(_random)
        turns.begin(self.epoch)
        self.epoch += 1
        return iter(data["orders"][self.epoch - 1].tolist())

    def __len__(self) -> int:
        return data["orders"].shape[1]


dataset = TensorDataset(data["inputs"], data["targets"])
loading: dict[str, Any] = {
    "batch_size": batch_size,
    "sampler": Orders(),
    "generator": torch.Generator(),  # else every epoch draws from the random numbers of dropout
}


def loader() -> DataLoader[tuple[Tensor, ...]]:
    """The batches as torch's own DataLoader makes them."""
    return DataLoader(dataset, **loading)


def finished(trained: nn.Module) -> None:
    """Leave the weights: who started this compares them."""
    torch.save(trained.state_dict(), folder / "final.pt")
