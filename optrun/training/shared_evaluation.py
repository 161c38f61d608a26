"""Evaluation by several processes: every one takes some of the slices, and the whole has the bits of one process."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from optrun.components.data import Part
from optrun.components.losses import loss_weight, summed, whole
from optrun.training.evaluation import SLICE, slice_from
from optrun.training.parallel import Parallel

if TYPE_CHECKING:
    from optrun.training.state import State

__all__ = ["evaluate_together"]

Slice = tuple[float, float, Tensor | None, Tensor | None]
"""Of a slice the sum of its losses, what they are divided by, and for the metrics its outputs and targets."""


@torch.no_grad()
def evaluate_together(state: State, parallel: Parallel, part: Part, split: str) -> dict[str, float]:
    """What `evaluate` returns, in every process. The slices are those of one process, dealt out in turn; their sums are
    added up in order, and the first process has the metrics computed from all outputs."""
    ranks = parallel.ranks
    parallel.level(state.model)
    starts = list(range(0, len(part), SLICE))
    own = starts[ranks.rank :: ranks.size]
    found = [_evaluated(state, part, start) for start in own]
    if parallel.sharded and len(own) < -(-len(starts) // ranks.size):
        _evaluated(state, part, 0)  # a forward pass takes all of them
    dealt = ranks.collected(found)
    return ranks.told(_judged(state, dealt, split) if dealt else {})


def _judged(state: State, dealt: Sequence[Sequence[Slice]], split: str) -> dict[str, float]:
    """The loss and the metrics, from the slices of each process."""
    in_order = [each for in_turn in itertools.zip_longest(*dealt) for each in in_turn if each is not None]
    sums, weights, outputs, targets = zip(*in_order)
    values = {f"{split}/loss": whole(state.criterion, sums, weights)}
    if state.metrics:
        every_output, every_target = (torch.cat(each).to(state.device) for each in (outputs, targets))
        values |= {f"{split}/{name}": float(judge(every_output, every_target)) for name, judge in state.metrics.items()}
    return values


def _evaluated(state: State, part: Part, start: int) -> Slice:
    inputs, targets = slice_from(start, part, state.place)
    wanted = state.loss_targets(targets)
    with state.autocast():
        outputs = state.model(inputs)
        loss = float(summed(state.criterion)(outputs, wanted))
    weight = loss_weight(state.criterion, wanted)
    return (loss, weight, outputs.cpu(), targets.cpu()) if state.metrics else (loss, weight, None, None)
