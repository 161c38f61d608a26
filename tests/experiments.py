"""Configs written and trained by the tests, and their results read back from the disk."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import optrun
from optrun.components import registry
from optrun.components.data import Data, prepare
from optrun.runs.reader import Run

DIGITS_MLP = {
    "device": "cpu",
    "threads": 1,
    "log_every": 1,
    "dataset": {"name": "digits", "batch_size": 64},
    "model": {"name": "mlp", "hidden": [32]},
    "loss": "cross_entropy",
    "optimizer": {"name": "SGD", "lr": 0.05},
}
"""A run of 23 steps an epoch, the last of 30 examples; it needs `epochs` or `steps`."""


def write_config(path: Path, config: Mapping[str, Any]) -> Path:
    """JSON is YAML, but for infinity."""
    path.write_text(json.dumps(config).replace("Infinity", ".inf"))
    return path


def trained(directory: Path, config: Mapping[str, Any]) -> Run:
    """`optrun train` of the config, run in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    return optrun.train(write_config(directory / "config-given.yaml", config), run_dir=directory / "run")


@functools.cache
def data_of(name: str) -> Data:
    return prepare(registry.datasets.find(name).load()(), name=name)


def training_rows(run: Run) -> list[dict[str, Any]]:
    return [row for row in run.rows() if "train/loss" in row]


def evaluation_rows(run: Run) -> list[dict[str, Any]]:
    return [row for row in run.rows() if "val/loss" in row]


def checkpoint(run: Run, kind: str = "last") -> dict[str, Any]:
    return torch.load(run.path / "checkpoints" / f"{kind}.pt", weights_only=True)
