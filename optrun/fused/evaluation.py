"""Evaluation of a stack: the lines of `optrun.training.evaluation`, for all members at once."""

from __future__ import annotations

import torch
from torch import Tensor

from optrun.components.data import Part
from optrun.components.losses import summed, whole
from optrun.fused.stack import Stack
from optrun.fused.tensor import physical, stacked
from optrun.training.evaluation import fetched, slices, weights_of

__all__ = ["evaluate"]


@torch.no_grad()
def evaluate(stack: Stack, rows: list[int], part: Part, split: str) -> list[dict[str, float]]:
    """The loss and every metric over `part` of the members in `rows`, as {"val/loss": …, "val/accuracy": …} each.

    Raises CannotFuse.
    """
    state = stack.members[0].state
    criterion = summed(state.criterion)
    stack.model.eval()
    every_sum, every_wanted, every_output, every_target = [], [], [], []
    for inputs, targets in slices(part, state.place):
        wanted = state.loss_targets(targets)
        outputs = stack.model(_for_all(inputs, len(stack.members)))
        every_sum.append(physical(criterion(outputs, _for_all(wanted, len(stack.members)))))
        every_wanted.append(wanted)
        every_output.append(physical(outputs))
        every_target.append(targets)
    sums, weights = fetched(every_sum), weights_of(state, every_wanted)
    values = [{f"{split}/loss": whole(state.criterion, [each[row] for each in sums], weights)} for row in rows]
    if state.metrics:
        targets = torch.cat(every_target)
        for row, found in zip(rows, values):
            outputs = torch.cat([each[row] for each in every_output])
            found |= {f"{split}/{name}": float(metric(outputs, targets)) for name, metric in state.metrics.items()}
    return values


def _for_all(tensor: Tensor, count: int) -> Tensor:
    """The same for every member."""
    return stacked(tensor.expand(count, *tensor.shape))
