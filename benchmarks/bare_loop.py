"""The yardstick: the textbook's training loop and nothing else, with torch's own calls as they are shipped.

Batches are cut before the clock starts, and nothing is logged, evaluated, checked or saved. It is never edited to move
a ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Batch = tuple[Tensor, Tensor]


def train(
    model: nn.Module,
    criterion: Callable[[Tensor, Tensor], Tensor],
    optimizer: Optimizer,
    scheduler: LRScheduler,
    epochs: Iterable[Iterable[Batch]],
    clip_norm: float,
) -> None:
    """Train over every epoch's batches of inputs and targets; the scheduler steps once an epoch."""
    model.train()
    for batches in epochs:
        for inputs, targets in batches:
            optimizer.zero_grad()
            outputs = model(inputs)
            loss = criterion(outputs, targets)
            loss.backward()
            clip_grad_norm_(model.parameters(), clip_norm)
            optimizer.step()
        scheduler.step()
