"""The loss of each member, [K], summed in the order in which torch's kernels sum."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from optrun.fused.tensor import is_stacked, physical, rule, stacked


class _CrossEntropy(torch.autograd.Function):
    """Scores [K, N, C] and classes [K, N] → the mean (or the sum) of each member's losses, [K]."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, targets: Tensor, mean: bool) -> Tensor:
        logarithms = torch.log_softmax(scores, 2)
        ctx.save_for_backward(logarithms, targets)
        ctx.mean = mean
        picked = logarithms.gather(2, targets.unsqueeze(2)).squeeze(2)
        total = -summed_like_nll(picked)
        return total / picked.shape[1] if mean else total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        logarithms, targets = ctx.saved_tensors
        share = -(grad / targets.shape[1] if ctx.mean else grad)
        picked = torch.zeros_like(logarithms)
        picked.scatter_(2, targets.unsqueeze(2), share.view(-1, 1, 1).expand(-1, targets.shape[1], 1))
        return torch.ops.aten._log_softmax_backward_data(picked, logarithms, 2, logarithms.dtype), None, None


def summed_like_nll(values: Tensor) -> Tensor:
    """Sums of the rows of [K, N] in the order of torch's kernel for nll_loss on a CPU.

    It adds in levels (aten/src/ATen/native/LossNLL.cpp, nll_loss_out_frame): after number i, counted from 0, every
    level whose digit of i is zero is added to the next. So the first number stands alone, and those that follow come in
    runs of sixteen. Here the runs are summed side by side.
    """
    count = values.shape[1]
    digits = max(4, math.ceil(math.log2(count)) // 8 if count > 1 else 0)
    run = 2**digits
    if values.device.type != "cpu":
        return values.sum(1)
    runs = math.ceil((count - 1) / run)
    padded = values.new_zeros(len(values), runs * run)  # x + 0.0 is x, for whatever a sum can be
    padded[:, : count - 1] = values[:, 1:]
    by_place = padded.view(len(values), runs, run).permute(2, 1, 0).contiguous()  # [run, runs, K]
    sums = by_place[0]
    for numbers in by_place[1:]:
        sums = sums + numbers
    whole = (count - 1) // run
    levels = [torch.zeros_like(values[:, 0]) for _ in range(8)]
    levels[7] = levels[7] + values[:, 0]
    for number in range(1, whole + 1):
        carried, level = sums[number - 1], 1
        levels[1] = levels[1] + carried
        while level < 7 and number % run**level == 0:
            levels[level + 1] = levels[level + 1] + levels[level]
            levels[level] = torch.zeros_like(levels[level])
            level += 1
    if whole < runs:
        levels[0] = sums[whole]
    total = levels[0]
    for level in levels[1:]:
        total = total + level
    return total


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
    if Tensor.dim(scores) != 3 or not Tensor.size(scores, 1) or bool((physical(targets) == ignore_index).any()):
        return NotImplemented
    whose = physical(targets) if is_stacked(targets) else targets.expand(Tensor.size(scores, 0), -1)
    return stacked(_CrossEntropy.apply(physical(scores), whose, reduction == "mean"))


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
    if Tensor.size(outputs)[1:] != member or Tensor.requires_grad.__get__(targets):
        return NotImplemented
    return stacked(_SquaredError.apply(physical(outputs), physical(targets), reduction == "mean"))
