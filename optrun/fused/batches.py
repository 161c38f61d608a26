"""The training part, served to K members at once, each in its own order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from optrun.components.data import Examples
from optrun.fused.tensor import Stacked, stacked
from optrun.training.batches import Batches
from optrun.training.placing import gathered
from optrun.training.precision import sent
from optrun.training.randomness import epoch_order

__all__ = ["MicroBatch", "served"]

MicroBatch = tuple[Stacked, Stacked, float]
"""Inputs [K, B, …], targets [K, B, …], and the share of the step's examples, with which the losses are weighted."""


def served(batches: Sequence[Batches], epochs: Sequence[int], step: int) -> Iterator[list[MicroBatch]]:
    """The steps that follow step `step` of the members' epochs, without end: for each member those of its own
    `Batches`. Members of one seed and epoch see the same examples, which are fetched once if that is true of all."""
    first = batches[0]
    assert isinstance(first.part, Examples)
    epochs = list(epochs)
    while True:
        pairs = [(each.seed, epoch) for each, epoch in zip(batches, epochs)]
        orders = {pair: epoch_order(*pair, len(first.part)) for pair in set(pairs)}
        each = [orders[pair] for pair in pairs] if len(orders) > 1 else list(orders.values())
        order = sent(torch.stack(each), first.part.inputs.device)
        for start in range(step * first.rows_per_step, len(first.part), first.rows_per_step):
            rows = order[:, start : start + first.rows_per_step]
            inputs, targets = (
                _fetched(whole, rows, first, len(batches)) for whole in (first.part.inputs, first.part.targets)
            )
            yield _micro_batches(first, inputs, targets)
        epochs, step = [epoch + 1 for epoch in epochs], 0


def _fetched(whole: Tensor, rows: Tensor, like: Batches, count: int) -> Tensor:
    """The examples at `rows` ([K, B], or [1, B] for all members), as [K, B, …]."""
    found = gathered(whole, rows.reshape(-1), like.place).view(*rows.shape, *whole.shape[1:])
    return found if len(rows) == count else found.expand(count, *found.shape[1:])


def _micro_batches(first: Batches, inputs: Tensor, targets: Tensor) -> list[MicroBatch]:
    total, size = inputs.shape[1], first.batch_size
    pairs = zip(inputs.split(size, 1), targets.split(size, 1))
    return [(stacked(x), stacked(y), x.shape[1] / total if first.weighted and total > size else 1.0) for x, y in pairs]
