"""What forked processes need, imported and read once in the process they are forked from, by training a small run."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy
import torch

import optrun
import optrun.sweeps.driver
import optrun.sweeps.executors.inline
import optrun.sweeps.work
from optrun.components import registry

__all__ = ["numpy", "torch"]

torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as _folder:
    _config = Path(_folder, "warm.yaml")
    _config.write_text(
        "{device: cpu, threads: 1, steps: 1, dataset: {name: digits, batch_size: 64}, model: mlp, loss: cross_entropy,"
        " metrics: [accuracy], optimizer: {name: SGD, lr: 0.1}, scheduler: {name: StepLR, step_size: 1}}"
    )
    optrun.train(_config, run_dir=Path(_folder, "run"))
for _registry in (registry.optimizers, registry.schedulers, registry.losses):
    for _name in _registry.names():
        _ = _registry.find(_name).signature  # torch's sources are read
