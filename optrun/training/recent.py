"""The losses and gradient norms of the latest steps, left where they were computed until somebody has to know."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from optrun.errors import Diverged

__all__ = ["Recent"]


@dataclass
class Recent:
    """Values of the steps since the last `gather`. On a GPU they stay there, so that no step waits for them."""

    clip_norm: float | None = None
    losses: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    clipped: int = 0
    """Steps whose norm was above `clip_norm`, of those gathered so far."""
    last_loss: float = math.nan
    last_norm: float | None = None

    def add(self, loss: Tensor, grad_norm: Tensor | None) -> None:
        """Remember one step's loss and norm, scalar tensors."""
        self.losses.append(loss)
        if grad_norm is not None:
            self.norms.append(grad_norm)

    def gather(self, step: int, epoch: int) -> None:
        """Fetch the values of the steps up to `step` in one transfer. Raises Diverged at the first loss that is not
        finite."""
        losses = torch.stack(self.losses).tolist() if self.losses else []
        norms = torch.stack(self.norms).tolist() if self.norms else []
        self.losses, self.norms = [], []
        for index, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise Diverged(step - len(losses) + 1 + index, loss, epoch)
        if self.clip_norm is not None:
            self.clipped += sum(norm > self.clip_norm for norm in norms)
        self.last_loss = losses[-1] if losses else self.last_loss
        self.last_norm = norms[-1] if norms else self.last_norm
