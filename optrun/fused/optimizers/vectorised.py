"""SGD, Adam, AdamW and RMSprop for many members at once: torch's lines with a column of numbers for each number.

Each function is the loop's body of `torch.optim.*._single_tensor_*` in its own order. Where torch hands a number to a
kernel (`grad.add(param, alpha=weight_decay)`), so does this if it is the same for all members; if not, each one's
stands in its row of a tensor [k, 1], rounded to the weights' type as the kernel rounds it, and the kernel is the one
that takes a tensor there (`addcmul`). What torch computes in Python's floats, the bias corrections, is computed in
Python's floats here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["VECTORISED", "Group", "Number", "Scratch", "Vectorised"]

Group = Mapping[str, Any]
"""A parameter group of an optimizer of torch."""
Number = Tensor | float
"""That of each member, [k, 1], or that of all."""
Numbers = Mapping[str, Number]


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
    update: Callable[[Tensor, Tensor, dict[str, Tensor], Numbers, tuple[Any, ...], Scratch], None]


class Scratch:
    """Two tensors as large as the weights, for what torch's lines allocate anew in every step."""

    def __init__(self, like: Tensor) -> None:
        self.one, self.two = torch.empty_like(like), torch.empty_like(like)


def _add(to: Tensor, what: Tensor, number: Number, out: Tensor) -> Tensor:
    """`to.add(what, alpha=number)`"""
    if isinstance(number, float):
        return torch.add(to, what, alpha=number, out=out)
    return torch.addcmul(to, what, number, out=out)


def _add_square(to: Tensor, what: Tensor, number: Number, scratch: Tensor) -> None:
    """`to.addcmul_(what, what, value=number)`"""
    if isinstance(number, float):
        to.addcmul_(what, what, value=number)
    else:
        to.addcmul_(torch.mul(what, number, out=scratch), what)


def _lerp(to: Tensor, what: Tensor, number: Number) -> Tensor:
    """`to.lerp_(what, number)`"""
    return to.lerp_(what, number if isinstance(number, float) else number.expand_as(what))


def _decayed(weights: Tensor, gradients: Tensor, numbers: Numbers, maximize: bool, decay: bool, out: Tensor) -> Tensor:
    """`grad if not maximize else -grad`, then `grad.add(param, alpha=weight_decay)`."""
    if maximize:
        gradients = torch.neg(gradients, out=out)
    return _add(gradients, weights, numbers["weight_decay"], out) if decay else gradients


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
    weights: Tensor, gradients: Tensor, memory: dict[str, Tensor], numbers: Numbers, branches: Any, scratch: Scratch
) -> None:
    maximize, decay, momentum, dampening, nesterov = branches
    gradients = _decayed(weights, gradients, numbers, maximize, decay, scratch.one)
    if momentum:
        if "momentum_buffer" not in memory:
            memory["momentum_buffer"] = gradients.clone()
        else:
            buffer = memory["momentum_buffer"].mul_(numbers["momentum"])
            _add(buffer, gradients, numbers["undamped"], buffer) if dampening else buffer.add_(gradients)
        buffer = memory["momentum_buffer"]
        gradients = _add(gradients, buffer, numbers["momentum"], scratch.two) if nesterov else buffer
    _add(weights, gradients, numbers["minus_lr"], weights)


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
    corrections = {
        (betas, step): (1 - betas[0] ** step, (1 - betas[1] ** step) ** 0.5)
        for betas, step in {(tuple(group["betas"]), step) for group, step in zip(groups, steps)}
    }
    each = [(group["lr"], *corrections[tuple(group["betas"]), step]) for group, step in zip(groups, steps)]
    return {
        "minus_step_size": [-(lr / correction1) for lr, correction1, _ in each],
        "correction2_sqrt": [correction2_sqrt for _, _, correction2_sqrt in each],
    }


def _adam(
    weights: Tensor, gradients: Tensor, memory: dict[str, Tensor], numbers: Numbers, branches: Any, scratch: Scratch
) -> None:
    maximize, decay, decoupled, amsgrad = branches
    if decay and decoupled:
        weights.mul_(numbers["kept"])
    gradients = _decayed(weights, gradients, numbers, maximize, decay and not decoupled, scratch.one)
    average, squares = memory["exp_avg"], memory["exp_avg_sq"]
    _lerp(average, gradients, numbers["one_minus_beta1"])
    _add_square(squares.mul_(numbers["beta2"]), gradients, numbers["one_minus_beta2"], scratch.two)
    if amsgrad:
        torch.maximum(memory["max_exp_avg_sq"], squares, out=memory["max_exp_avg_sq"])
        squares = memory["max_exp_avg_sq"]
    denominator = torch.sqrt(squares, out=scratch.two).div_(numbers["correction2_sqrt"]).add_(numbers["eps"])
    weights.add_(torch.mul(average, numbers["minus_step_size"], out=scratch.one).div_(denominator))


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
    weights: Tensor, gradients: Tensor, memory: dict[str, Tensor], numbers: Numbers, branches: Any, scratch: Scratch
) -> None:
    maximize, decay, centered, momentum = branches
    gradients = _decayed(weights, gradients, numbers, maximize, decay, scratch.one)
    squares = memory["square_avg"]
    _add_square(squares.mul_(numbers["alpha"]), gradients, numbers["one_minus_alpha"], scratch.two)
    if centered:
        average = _lerp(memory["grad_avg"], gradients, numbers["one_minus_alpha"])
        torch.addcmul(squares, average, average, value=-1, out=scratch.two)
        deviation = scratch.two.sqrt_()
    else:
        deviation = torch.sqrt(squares, out=scratch.two)
    deviation.add_(numbers["eps"])
    if momentum:
        buffer = memory["momentum_buffer"].mul_(numbers["momentum"]).addcdiv_(gradients, deviation)
        _add(weights, buffer, numbers["minus_lr"], weights)
    else:
        weights.add_(torch.mul(gradients, numbers["minus_lr"], out=scratch.one).div_(deviation))


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
