"""The losses and gradient norms of the latest steps, left where they were computed until somebody has to know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from optrun.errors import Diverged

__all__ = ["Rates", "Recent"]

Rates = float | Sequence[float]
"""A learning rate, or one for each parameter group where they differ."""


@dataclass
class Recent:
    """Values of the steps since the last `gather`. On a GPU they stay there, so that no step waits for them."""

    clip_norm: float | None = None
    losses: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    circumstances: list[tuple[int, Rates]] = field(default_factory=list)
    """Of each of these steps, the epochs finished before it and the learning rate it used."""
    clipped: int = 0
    """Steps whose norm was above `clip_norm`, of those gathered so far."""
    last_loss: float = math.nan
    last_norm: float | None = None
    last_epoch: int = 0
    """Epochs finished before the latest step."""
    last_lr: Rates = math.nan
    """What the latest step used."""

    def add(self, loss: Tensor, grad_norm: Tensor | None, *, epoch: int, lr: Rates) -> None:
        """Remember one step: its loss and norm (scalar tensors), the epochs finished before it, what it used."""
        self.last_epoch, self.last_lr = epoch, lr
        self.circumstances.append((epoch, lr))
        self.losses.append(loss)
        if grad_norm is not None:
            self.norms.append(grad_norm)

    def gather(self, step: int) -> None:
        """Fetch the values of the steps up to `step` in one transfer. Raises Diverged at the first loss that is not
        finite."""
        losses = torch.stack(self.losses).tolist() if self.losses else []
        norms = torch.stack(self.norms).tolist() if self.norms else []
        for index, (loss, (epoch, lr)) in enumerate(zip(losses, self.circumstances)):
            if not math.isfinite(loss):
                raise Diverged(step - len(losses) + 1 + index, loss, epoch, lr)
        self.losses, self.norms, self.circumstances = [], [], []
        if self.clip_norm is not None:
            self.clipped += sum(norm > self.clip_norm for norm in norms)
        self.last_loss = losses[-1] if losses else self.last_loss
        self.last_norm = norms[-1] if norms else self.last_norm

    def state_dict(self) -> dict[str, Any]:
        """What is left when all has been gathered."""
        return {key: getattr(self, key) for key in ("clipped", "last_loss", "last_norm", "last_epoch", "last_lr")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for key, value in state.items():
            setattr(self, key, value)
