"""Evaluation: the loss and the metrics over a whole part, exactly, in slices of 1,024 rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from optrun.components.data import Examples, Part
from optrun.components.losses import loss_weight, summed, whole
from optrun.components.parts import fetch
from optrun.training.placing import streamed
from optrun.training.precision import Placement

if TYPE_CHECKING:
    from optrun.training.state import State

__all__ = ["SLICE", "evaluate", "fetched", "slice_from", "slices", "weights_of"]

SLICE = 1024
"""Rows evaluated at a time, everywhere: the bits of a sum depend on how it is cut."""


@torch.no_grad()
def evaluate(state: State, part: Part, split: str) -> dict[str, float]:
    """The loss and every metric of the run over `part`, as `{"val/loss": …, "val/accuracy": …}`.

    The model is put, and left, in evaluation mode; no generator is drawn from. The loss is the mean over the whole part
    (weighted as the criterion itself weights its mean), not a mean of batch means.
    """
    state.eval()
    if state.parallel is not None:
        from optrun.training.shared_evaluation import evaluate_together

        return evaluate_together(state, state.parallel, part, split)
    criterion = summed(state.criterion)
    sums, every_wanted, every_output, every_target = [], [], [], []
    for inputs, targets in slices(part, state.place):
        wanted = state.loss_targets(targets)
        with state.autocast():
            outputs = state.model(inputs)
            sums.append(criterion(outputs, wanted).reshape(()))
        every_wanted.append(wanted)
        if state.metrics:
            every_output.append(outputs.clone() if state.is_compiled else outputs)
            every_target.append(targets)
    values = {f"{split}/loss": whole(state.criterion, fetched(sums), weights_of(state, every_wanted))}
    if state.metrics:
        outputs, targets = torch.cat(every_output), torch.cat(every_target)
        values |= {f"{split}/{name}": float(metric(outputs, targets)) for name, metric in state.metrics.items()}
    return values


def fetched(values: Sequence[Tensor]) -> list[Any]:
    """Tensors of one shape as lists of Python's numbers (scalars as numbers), read from the device at once."""
    return torch.stack(list(values)).tolist() if values else []


def weights_of(state: State, targets: Sequence[Tensor]) -> list[float]:
    """What the losses of slices are weighted with. Some criteria look at the targets, which a CPU can do without
    waiting for a device slice by slice."""
    if targets and state.device.type != "cpu":
        targets = torch.cat(list(targets)).cpu().split(SLICE)
    return [loss_weight(state.criterion, each) for each in targets]


def slices(part: Part, place: Placement) -> Iterator[tuple[Tensor, Tensor]]:
    """The part in its own order, cut into slices of 1,024 rows, where `place` puts them."""
    for start in range(0, len(part), SLICE):
        yield slice_from(start, part, place)


def slice_from(start: int, part: Part, place: Placement) -> tuple[Tensor, Tensor]:
    """(inputs, targets) of the slice that begins with row `start`."""
    stop = min(start + SLICE, len(part))
    if isinstance(part, Examples):
        inputs, targets = part.inputs[start:stop], part.targets[start:stop]
    else:
        inputs, targets = fetch(part, torch.arange(start, stop))
    return streamed(inputs, place), streamed(targets, place)
