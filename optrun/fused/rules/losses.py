"""The loss of each member, [K], summed in the order in which torch's kernels sum."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.nn import functional as F

from optrun.fused.products import QUIETLY
from optrun.fused.softmax import softmax_for
from optrun.fused.tensor import is_stacked, physical, rule, stacked
from optrun.training.tape import decided, opaque


class _CrossEntropy(torch.autograd.Function):
    """Scores [K, N, C] and classes [K, N] → the mean (or the sum) of each member's losses, [K]."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, targets: Tensor, mean: bool) -> Tensor:
        ctx.softmax = softmax = softmax_for(scores)
        logarithms = softmax.forward(scores)
        ctx.save_for_backward(logarithms, targets)
        ctx.mean = mean
        total = -opaque(summed_like_nll, softmax.pick(logarithms, targets))
        return total / targets.shape[1] if mean else total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        logarithms, targets = ctx.saved_tensors
        shares = -(grad / targets.shape[1] if ctx.mean else grad).unsqueeze(1).expand_as(targets)
        return ctx.softmax.backward(logarithms, targets, shares), None, None


@QUIETLY
def summed_like_nll(values: Tensor) -> Tensor:
    """Sums of the rows of [K, N] in the order of torch's kernel for nll_loss on a CPU.

    It adds in levels (aten/src/ATen/native/LossNLL.cpp, nll_loss_out_frame): the first number stands alone, those that
    follow are added up in runs of sixteen (of more where N is above 2^40), the sums of runs in runs of sixteen, and so
    on; at last what is left over at each level is added, and the first number. All rows are summed side by side.
    """
    first, *_ = numbers = numpy.ascontiguousarray(values.numpy().T)
    run, numbers, total = 2 ** max(4, math.ceil(math.log2(len(numbers))) // 8), numbers[1:], 0
    while len(numbers):
        whole = len(numbers) // run * run
        total = total + _one_after_the_other(numbers[whole:], 0)
        numbers = _one_after_the_other(numbers[:whole].reshape(-1, run, len(first)), 1)
    return torch.from_numpy(total + first)


def _one_after_the_other(numbers: Any, axis: int) -> Any:
    """The sum along an axis in its order. numpy's `sum` takes that order along an axis that is not the last, as long as
    the last one has more than one element."""
    if numbers.shape[-1] > 1:
        return numbers.sum(axis)
    return numpy.add.accumulate(numbers, axis).take(-1, axis) if numbers.size else numbers.sum(axis)


@rule(F.cross_entropy)
def cross_entropy(
    scores: Tensor,
    targets: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    special = weight is not None or size_average is not None or reduce is not None or label_smoothing
    if special or reduction not in ("mean", "sum") or not is_stacked(scores) or targets.dtype != torch.int64:
        return NotImplemented
    if Tensor.dim(scores) != 3 or not Tensor.size(scores, 1):
        return NotImplemented
    whose = physical(targets) if is_stacked(targets) else targets.expand(Tensor.size(scores, 0), -1)
    if targets.device.type != "cpu":
        return stacked(whatever_is_ignored(physical(scores), whose, ignore_index, reduction == "mean"))
    if decided(functools.partial(_has, ignore_index), physical(targets)):
        return NotImplemented
    return stacked(_CrossEntropy.apply(physical(scores), whose, reduction == "mean"))


def whatever_is_ignored(scores: Tensor, targets: Tensor, ignore_index: int, mean: bool) -> Tensor:
    """The same for a device that should not be waited for to see whether any target is ignored: the losses of those
    are zeros, and the mean is over the others."""
    rows = scores.flatten(0, 1), targets.flatten()
    totals = F.cross_entropy(*rows, ignore_index=ignore_index, reduction="none").view(targets.shape).sum(1)
    return totals / (targets != ignore_index).sum(1) if mean else totals


def _has(value: int, targets: Tensor) -> bool:
    return bool((targets == value).any())


class _SquaredError(torch.autograd.Function):
    """Outputs and targets [K, …] → the mean (or the sum) of each member's squared differences, [K]."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, targets: Tensor, mean: bool) -> Tensor:
        ctx.save_for_backward(outputs, targets)
        ctx.mean = mean
        squares = F.mse_loss(outputs, targets.expand_as(outputs), reduction="none").flatten(1)
        return squares.mean(1) if mean else squares.sum(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        outputs, targets = ctx.saved_tensors
        factor = 2.0 / outputs[0].numel() if ctx.mean else 2.0
        return (outputs - targets) * factor * grad.view(-1, *(1,) * (outputs.dim() - 1)), None, None


@rule(F.mse_loss)
def mse_loss(
    outputs: Tensor,
    targets: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Any:
    special = size_average is not None or reduce is not None or weight is not None
    if special or reduction not in ("mean", "sum") or not is_stacked(outputs):
        return NotImplemented
    member = Tensor.size(targets)[1:] if is_stacked(targets) else Tensor.size(targets)
    if Tensor.size(outputs)[1:] != member or targets.requires_grad:
        return NotImplemented
    return stacked(_SquaredError.apply(physical(outputs), physical(targets), reduction == "mean"))
