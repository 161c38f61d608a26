"""How far a stack is from its members: 0 for the same bits; where bits differ anyway, beside what rounding does alone.

On a GPU sums are in no promised order. How much that matters depends on the numbers: the gradient of a bias in front of
batch normalisation is zero but for rounding, and Adam makes a whole step of it. So a member is trained alone twice, the
second time from weights that are `shaken` by about as much as rounding would move them, and a stack may differ from it
by a few times what the two differ by, number by number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from optrun.training.state import State

__all__ = ["allowed", "difference", "leaves", "relative_error", "shake", "unit"]

ROUNDINGS = 8
"""Units in the last place by which weights are shaken: what the order of a few thousand summands can move a sum by."""

SLACK = 16
"""How many times the noise that was found is accepted: it is the difference of two runs, not the largest of many."""

TF32 = 2.0**-11
"""What rounding to the ten bits of tf32 does to a number, relative to it."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def unit(state: State) -> float:
    """How far a run's weights are shaken, relative to them: `ROUNDINGS`, or tf32's where cuDNN may convolve in it."""
    is_rounded = state.device.type == "cuda" and state.place.dtype == torch.float32 and torch.backends.cudnn.allow_tf32
    if is_rounded and any(isinstance(module, _CONVOLUTIONS) for module in state.model.modules()):
        return TF32
    return ROUNDINGS * torch.finfo(state.place.dtype).eps


@torch.no_grad()
def shake(model: nn.Module, amount: float) -> None:
    """Make every weight larger or smaller by so much of it, by no generator that anybody else draws from."""
    coin = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        signs = torch.randint(2, parameter.shape, generator=coin).to(parameter) * 2 - 1
        parameter.add_(parameter * signs, alpha=amount)


def allowed(noise: float, unit: float) -> float:
    """The difference that is accepted of numbers that differ by `noise` between a run and the shaken one."""
    return SLACK * max(noise, unit)


def difference(wanted: Any, found: Any) -> float:
    """The largest difference, relative to the largest number: 0 for equal values (a NaN equals a NaN), infinity for
    values that cannot be near each other."""
    if isinstance(wanted, Tensor) and isinstance(found, Tensor) and wanted.shape == found.shape:
        if torch.equal(wanted, found):
            return 0.0
        if not wanted.is_floating_point() or not wanted.isnan().equal(found.isnan()):
            return math.inf
        one, other = wanted.double(), found.double()
        scale = one.nan_to_num().abs().max().item() or 1.0
        return float((one - other).abs().nan_to_num(0.0).max()) / scale
    if wanted == found or repr(wanted) == repr(found):
        return 0.0
    both = isinstance(wanted, float) and isinstance(found, float)
    return abs(wanted - found) / (abs(wanted) or 1.0) if both else math.inf


def relative_error(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> float:
    """‖found − wanted‖ / ‖wanted‖ over all floating-point numbers of a model."""
    pairs = [(each.double(), found[name].double()) for name, each in wanted.items() if each.is_floating_point()]
    apart = math.fsum((one - other).square().sum().item() for one, other in pairs)
    return math.sqrt(apart / (math.fsum(one.square().sum().item() for one, _ in pairs) or 1.0))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Everything in nested mappings and lists, each with its place."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value
