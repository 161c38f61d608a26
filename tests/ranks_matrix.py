"""What is trained twice, by one process and by two that torchrun starts: `python tests/ranks_matrix.py DIR`.

In each process every step is followed by a comparison of all weights with those of the others, bit by bit.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

import optrun
from optrun.errors import RunError
from optrun.experiment import Experiment
from optrun.experiment.launching import end
from optrun.training.events import Stepped
from optrun.training.ranks import Ranks, joined

OPTIMIZERS = {
    "SGD": {"name": "SGD", "lr": 0.05, "momentum": 0.9},
    "AdamW": {"name": "AdamW", "lr": 0.002},
    "RMSprop": {"name": "RMSprop", "lr": 0.001},
}
SCHEDULERS = {
    "Cosine": {"name": "CosineAnnealingLR"},
    "Plateau": {"name": "ReduceLROnPlateau", "patience": 0, "factor": 0.5},
    "Cyclic": {"name": "CyclicLR", "base_lr": 0.001, "max_lr": 0.01, "step_size_up": 8, "cycle_momentum": False},
}
CLIPPING: dict[str, dict[str, Any]] = {"null": {}, "norm": {"clip_norm": 0.3}, "value": {"clip_value": 0.01}}

BASE: dict[str, Any] = {
    "steps": 40,
    "log_every": 1,
    "device": "cpu",
    "threads": 1,
    "eval_every": {"steps": 10},
    "keep_checkpoints": "last",
    "dataset": {"name": "digits", "batch_size": 64},
    "model": {"name": "mlp", "hidden": [32]},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
}
WEIGHTS = {"name": "cross_entropy", "weight": [1, 0, 0, 2, 0.5, 1, 1, 1, 1, 3], "label_smoothing": 0.1}
SGD, COSINE = OPTIMIZERS["SGD"], SCHEDULERS["Cosine"]
SLICES = {"name": "moons", "n": 10_000, "batch_size": 250, "val_fraction": 0.3}


def matrix() -> dict[str, dict[str, Any]]:
    """The configs by their names."""
    product = itertools.product(OPTIMIZERS, SCHEDULERS, CLIPPING)
    configs = {
        f"{o}-{s}-{c}": {"optimizer": OPTIMIZERS[o], "scheduler": SCHEDULERS[s], **CLIPPING[c]} for o, s, c in product
    }
    configs |= {
        # 1,437 examples in batches of 45: pieces of 23 and 22, and a last batch of 42; of 34 × 4: one of 9 = 5 + 4
        "uneven": {"optimizer": SGD, "dataset": {"name": "digits", "batch_size": 45}},
        "accumulated": {"optimizer": SGD, "dataset": {"name": "digits", "batch_size": 17}, "accumulate": 2},
        "one-example-left": {"optimizer": SGD, "dataset": {"name": "digits", "batch_size": 359}, "steps": 10},
        "class-weights": {"optimizer": SGD, "loss": WEIGHTS, "accumulate": 2},
        "few-with-weights": {"optimizer": SGD, "loss": WEIGHTS, "dataset": {"name": "digits", "batch_size": 3}},
        "summed": {"optimizer": {"name": "SGD", "lr": 0.001}, "loss": {"name": "cross_entropy", "reduction": "sum"}},
        "LBFGS": {"optimizer": {"name": "LBFGS", "lr": 0.1, "max_iter": 4}, "clip_norm": 1.0, "steps": 4},
        "slices": {"optimizer": SGD, "dataset": SLICES, "metrics": ["f1", "accuracy"]},
        "images": {
            "optimizer": SGD,
            "dataset": {"name": "FakeData", "size": 100, "image_size": [3, 8, 8], "num_classes": 10, "batch_size": 9},
            "model": {"name": "cnn", "channels": [4]},
            "steps": 12,
        },
        "fsdp-SGD": {"optimizer": SGD, "scheduler": COSINE, "clip_norm": 0.3, "distributed": "fsdp"},
        "fsdp-AdamW": {"optimizer": OPTIMIZERS["AdamW"], "accumulate": 2, "clip_value": 0.01, "distributed": "fsdp"},
        "fsdp-slices": {"optimizer": SGD, "dataset": SLICES, "distributed": "fsdp", "steps": 20},
    }
    return {name: {**BASE, **config, "name": name} for name, config in configs.items()}


def train_all(directory: Path) -> None:
    """Train each into `directory/NAME`, in every process that torchrun has started."""
    with joined("cpu") as ranks:
        if ranks:
            assert_differences_are_found(ranks)
        for name, config in matrix().items():
            file = directory / f"{name}.{ranks.rank if ranks else 0}.yaml"
            file.write_text(yaml.safe_dump(config))
            experiment = Experiment.new(optrun.load(file), directory=directory / name, ranks=ranks)
            for event in experiment.events():
                if ranks and isinstance(event, Stepped) and config.get("distributed") != "fsdp":
                    ranks.demand_equal(experiment.state.model)
            if ranks:
                ends = ranks.gathered(experiment.state.step)
                assert ends == [config["steps"]] * ranks.size


def assert_differences_are_found(ranks: Ranks) -> None:
    """Also where the weights have the same bytes in another order."""
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0]]))
        ranks.demand_equal(layer)
        layer.weight.copy_(layer.weight.roll(ranks.rank, 1))
    with pytest.raises(RunError):
        ranks.demand_equal(layer)


if __name__ == "__main__":
    train_all(Path(sys.argv[1]))
    end(0)
