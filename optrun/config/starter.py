"""The config that `optrun init` writes: it trains as it is, and says what else could stand there."""

from __future__ import annotations

__all__ = ["STARTER"]

STARTER = """\
# A training run. `optrun train` of this file trains it; `optrun check` judges it without training.
# Every name is PyTorch's own, and its settings are the arguments of that class:
# `optrun components` lists all, `optrun components optimizers AdamW` shows one.

seed: 0
epochs: 20                          # or steps: 1000

dataset: {name: digits, batch_size: 64}
model: {name: mlp, hidden: [128, 64], dropout: 0.1}
loss: cross_entropy
metrics: [accuracy]                 # the first one decides which evaluation is best

optimizer: {name: SGD, lr: 0.1, momentum: 0.9}
# optimizer: {name: AdamW, lr: 0.001, weight_decay: 0.01}
# optimizer: {name: Muon, lr: 0.02, fallback: {name: AdamW, lr: 0.001}}

scheduler: {name: CosineAnnealingLR}   # T_max is the run's length unless you give it
# scheduler: {name: StepLR, step_size: 10, gamma: 0.1}
# scheduler: {name: ReduceLROnPlateau, patience: 3}
# scheduler: {name: OneCycleLR, max_lr: 0.1}

clip_norm: 1.0                      # null: no clipping; .inf: measure the norm, clip nothing

# early_stop: {metric: val/loss, patience: 5}
# target: {metric: val/accuracy, value: 0.97}
"""
