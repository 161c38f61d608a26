"""SGD, Adam, AdamW and RMSprop for many members at once: torch's lines with a column of numbers for each number.

Each function is the loop's body of `torch.optim.*._single_tensor_*` in its own order. Where torch hands a number to a
kernel (`grad.add(param, alpha=weight_decay)`), a member's number stands in its row of a tensor [k, 1], rounded to the
weights' type as the kernel rounds it, and the kernel is the one that takes a tensor there (`addcmul`). What torch
computes in Python's floats, the bias corrections, is computed in Python's floats here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["VECTORISED", "Group", "Scratch", "Vectorised"]

Group = Mapping[str, Any]
"""A parameter group of an optimizer of torch."""
Columns = Mapping[str, Tensor]
"""A number for each member, [k, 1]."""


class Vectorised(NamedTuple):
    """How one class of torch's is done to weights and gradients [k, P]."""

    branches: Callable[[Group], tuple[Any, ...]]
    """What decides which lines are run; members that are updated together have it in common."""
    constants: Callable[[Sequence[Group]], dict[str, list[float]]]
    """The numbers that change only when a schedule changes them."""
    progressing: Callable[[Sequence[Group], Sequence[float]], dict[str, list[float]]]
    """The numbers that depend on how many steps have been taken, this one included."""
    memory: Callable[[tuple[Any, ...]], tuple[str, ...]]
    """The names under which torch keeps an element for each weight."""
    counts_steps: bool
    """Whether torch keeps `step` as well."""
    update: Callable[[Tensor, Tensor, dict[str, Tensor], Columns, tuple[Any, ...], Scratch], None]


class Scratch:
    """Two tensors as large as the weights, for what torch's lines allocate anew in every step."""

    def __init__(self, like: Tensor) -> None:
        self.one, self.two = torch.empty_like(like), torch.empty_like(like)


def _decayed(weights: Tensor, gradients: Tensor, columns: Columns, maximize: bool, decay: bool, out: Tensor) -> Tensor:
    """`grad if not maximize else -grad`, then `grad.add(param, alpha=weight_decay)`."""
    if maximize:
        gradients = torch.neg(gradients, out=out)
    return torch.addcmul(gradients, weights, columns["weight_decay"], out=out) if decay else gradients


# SGD -----------------------------------------------------------------------------------------------------------------


def _sgd_branches(group: Group) -> tuple[Any, ...]:
    momentum = group["momentum"] != 0
    return (group["maximize"], group["weight_decay"] != 0, momentum, group["dampening"] != 0, group["nesterov"])


def _sgd_constants(groups: Sequence[Group]) -> dict[str, list[float]]:
    return {
        "weight_decay": [group["weight_decay"] for group in groups],
        "momentum": [group["momentum"] for group in groups],
        "undamped": [1 - group["dampening"] for group in groups],
        "minus_lr": [-group["lr"] for group in groups],
    }


def _sgd(
    weights: Tensor, gradients: Tensor, memory: dict[str, Tensor], columns: Columns, branches: Any, scratch: Scratch
) -> None:
    maximize, decay, momentum, dampening, nesterov = branches
    gradients = _decayed(weights, gradients, columns, maximize, decay, scratch.one)
    if momentum:
        if "momentum_buffer" not in memory:
            memory["momentum_buffer"] = gradients.clone()
        else:
            buffer = memory["momentum_buffer"].mul_(columns["momentum"])
            buffer.addcmul_(gradients, columns["undamped"]) if dampening else buffer.add_(gradients)
        buffer = memory["momentum_buffer"]
        gradients = torch.addcmul(gradients, buffer, columns["momentum"], out=scratch.two) if nesterov else buffer
    weights.addcmul_(gradients, columns["minus_lr"])


# Adam and AdamW ------------------------------------------------------------------------------------------------------


def _adam_branches(group: Group) -> tuple[Any, ...]:
    decay = group["weight_decay"] != 0
    return (group["maximize"], decay, group.get("decoupled_weight_decay", False), group["amsgrad"])


def _adam_constants(groups: Sequence[Group]) -> dict[str, list[float]]:
    return {
        "weight_decay": [group["weight_decay"] for group in groups],
        "kept": [1 - group["lr"] * group["weight_decay"] for group in groups],
        "one_minus_beta1": [1 - group["betas"][0] for group in groups],
        "beta2": [group["betas"][1] for group in groups],
        "one_minus_beta2": [1 - group["betas"][1] for group in groups],
        "eps": [group["eps"] for group in groups],
    }


def _adam_progressing(groups: Sequence[Group], steps: Sequence[float]) -> dict[str, list[float]]:
    known: dict[tuple[float, float], float] = {}

    def correction(beta: float, step: float) -> float:
        if (beta, step) not in known:
            known[beta, step] = 1 - beta**step
        return known[beta, step]

    each = list(zip(groups, steps))
    return {
        "minus_step_size": [-(group["lr"] / correction(group["betas"][0], step)) for group, step in each],
        "correction2_sqrt": [correction(group["betas"][1], step) ** 0.5 for group, step in each],
    }


def _adam(
    weights: Tensor, gradients: Tensor, memory: dict[str, Tensor], columns: Columns, branches: Any, scratch: Scratch
) -> None:
    maximize, decay, decoupled, amsgrad = branches
    if decay and decoupled:
        weights.mul_(columns["kept"])
    gradients = _decayed(weights, gradients, columns, maximize, decay and not decoupled, scratch.one)
    average, squares = memory["exp_avg"], memory["exp_avg_sq"]
    average.lerp_(gradients, columns["one_minus_beta1"].expand_as(gradients))
    scaled = torch.mul(gradients, columns["one_minus_beta2"], out=scratch.two)
    squares.mul_(columns["beta2"]).addcmul_(scaled, gradients)
    if amsgrad:
        torch.maximum(memory["max_exp_avg_sq"], squares, out=memory["max_exp_avg_sq"])
        squares = memory["max_exp_avg_sq"]
    denominator = torch.sqrt(squares, out=scratch.two).div_(columns["correction2_sqrt"]).add_(columns["eps"])
    weights.add_(torch.mul(average, columns["minus_step_size"], out=scratch.one).div_(denominator))


# RMSprop -------------------------------------------------------------------------------------------------------------


def _rmsprop_branches(group: Group) -> tuple[Any, ...]:
    return (group["maximize"], group["weight_decay"] != 0, group["centered"], group["momentum"] > 0)


def _rmsprop_constants(groups: Sequence[Group]) -> dict[str, list[float]]:
    return {
        "weight_decay": [group["weight_decay"] for group in groups],
        "alpha": [group["alpha"] for group in groups],
        "one_minus_alpha": [1 - group["alpha"] for group in groups],
        "eps": [group["eps"] for group in groups],
        "momentum": [group["momentum"] for group in groups],
        "minus_lr": [-group["lr"] for group in groups],
    }


def _rmsprop(
    weights: Tensor, gradients: Tensor, memory: dict[str, Tensor], columns: Columns, branches: Any, scratch: Scratch
) -> None:
    maximize, decay, centered, momentum = branches
    gradients = _decayed(weights, gradients, columns, maximize, decay, scratch.one)
    squares = memory["square_avg"]
    scaled = torch.mul(gradients, columns["one_minus_alpha"], out=scratch.two)
    squares.mul_(columns["alpha"]).addcmul_(scaled, gradients)
    if centered:
        average = memory["grad_avg"].lerp_(gradients, columns["one_minus_alpha"].expand_as(gradients))
        torch.addcmul(squares, average, average, value=-1, out=scratch.two)
        deviation = scratch.two.sqrt_()
    else:
        deviation = torch.sqrt(squares, out=scratch.two)
    deviation.add_(columns["eps"])
    if momentum:
        buffer = memory["momentum_buffer"].mul_(columns["momentum"]).addcdiv_(gradients, deviation)
        weights.addcmul_(buffer, columns["minus_lr"])
    else:
        weights.add_(torch.mul(gradients, columns["minus_lr"], out=scratch.one).div_(deviation))


def _nothing(groups: Sequence[Group], steps: Sequence[float]) -> dict[str, list[float]]:
    return {}


_ADAM = Vectorised(
    _adam_branches,
    _adam_constants,
    _adam_progressing,
    lambda branches: ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if branches[3] else ())),
    True,
    _adam,
)

VECTORISED = {
    "SGD": Vectorised(_sgd_branches, _sgd_constants, _nothing, lambda branches: (), False, _sgd),
    "Adam": _ADAM,
    "AdamW": _ADAM,
    "RMSprop": Vectorised(
        _rmsprop_branches,
        _rmsprop_constants,
        _nothing,
        lambda branches: (
            "square_avg",
            *(("momentum_buffer",) if branches[3] else ()),
            *(("grad_avg",) if branches[2] else ()),
        ),
        True,
        _rmsprop,
    ),
}
"""By torch's names."""
