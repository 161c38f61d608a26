"""Losses: what each of torch's criteria wants to be fed, how it is built, and its exact value over a whole part.

The names are the registry's (`CrossEntropyLoss` is `cross_entropy`). A user's own loss, a function (outputs, targets),
gets the targets as the data set has them and returns the mean over the rows of its batch.
Importing this module does not import torch.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from optrun.components.naming import snake_case
from optrun.components.registry import losses
from optrun.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from optrun.components.data import Data, Task

__all__ = [
    "FORMS",
    "Form",
    "build",
    "expects",
    "loss_weight",
    "misuses",
    "raw_scores_problem",
    "summed",
    "targets_for",
    "whole",
]

Criterion = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True)
class Form:
    """How a criterion is fed, and what its mean is taken over.

    `targets`, from classes (int64 [n], for a language model [n, T]) and from a regression's numbers (float [n, k]):

        classes         the class indices themselves       · not possible
        class rows      int64 [n, C]: the index, then -1   · not possible
        numbers         one-hot rows, float [n, C]         · the numbers themselves
        counts          likewise                           · likewise, none below 0
        probabilities   likewise                           · likewise, all from 0 to 1
        distributions   likewise                           · likewise, unchecked: they may be logarithms
        signs           1 at the class, -1 elsewhere       · likewise, all -1 or 1
    """

    targets: Literal["classes", "class rows", "numbers", "counts", "probabilities", "distributions", "signs"]
    outputs: str = "raw scores"
    instead: str = ""
    """The criterion to use with a model that gives raw scores."""
    mean_over: Literal["elements", "rows", "class weights"] = "elements"


FORMS: Mapping[str, Form] = {
    "cross_entropy": Form("classes", mean_over="class weights"),
    "nll": Form("classes", "log-probabilities", "cross_entropy", mean_over="class weights"),
    "multi_margin": Form("classes", mean_over="rows"),
    "multi_label_margin": Form("class rows", mean_over="rows"),
    "multi_label_soft_margin": Form("probabilities", mean_over="rows"),
    "bce": Form("probabilities", "probabilities", "bce_with_logits"),
    "bce_with_logits": Form("probabilities"),
    "kl_div": Form("distributions", "log-probabilities", "cross_entropy"),
    "soft_margin": Form("signs"),
    "hinge_embedding": Form("signs", "distances", "soft_margin"),
    "mse": Form("numbers"),
    "l1": Form("numbers"),
    "smooth_l1": Form("numbers"),
    "huber": Form("numbers"),
    "poisson_nll": Form("counts"),
}


def expects(name: str, settings: Mapping[str, Any] | None = None) -> str:
    """What the criterion takes for outputs: raw scores, probabilities, log-probabilities, distances or rates."""
    if name == "poisson_nll" and not (settings or {}).get("log_input", True):
        return "rates"
    return FORMS[name].outputs if name in FORMS else "raw scores"


def raw_scores_problem(name: str, settings: Mapping[str, Any], model: str) -> str | None:
    """Why the loss cannot go with `model`, known to give raw scores, and what to use; None when it can."""
    wanted = expects(name, settings)
    if wanted == "raw scores":
        return None
    remedy = "leave log_input at true" if wanted == "rates" else f"use {FORMS[name].instead}"
    return f"{name} takes {wanted} and {model} gives raw scores; {remedy}"


_NOT_ONE_NUMBER = "this leaves a loss per element, and a step descends on one number"
_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "label_smoothing": (lambda value: 0 <= value <= 1, "from 0 to 1"),
    "delta": (lambda value: value > 0, "above 0"),
    "beta": (lambda value: value >= 0, "0 or more"),
    "eps": (lambda value: value >= 0, "0 or more"),
    "p": (lambda value: value in (1, 2), "1 or 2"),
    "weight": (lambda value: min(value, default=0) >= 0 and any(value), "a list of numbers, 0 or more, one above 0"),
    "pos_weight": (lambda value: min(value, default=0) >= 0, "a list of numbers, 0 or more"),
}


def misuses(name: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(setting, what is wrong with it) for the values that torch takes and fails on later. No torch is needed."""
    if name not in FORMS:  # a user's own loss may mean something else by these words
        return
    if settings.get("reduce") is False:
        yield "reduce", f"{_NOT_ONE_NUMBER}; leave it out"
    allowed = ["mean", "sum", "batchmean"] if name == "kl_div" else ["mean", "sum"]
    reduction = settings.get("reduction", "mean")
    if reduction not in allowed:
        reason = _NOT_ONE_NUMBER if reduction == "none" else f"there is no reduction {reduction!r}"
        yield "reduction", f"{reason}; use {' or '.join(allowed)}"
    for key, (holds, wanted) in _RANGES.items():
        if settings.get(key) is not None and not holds(settings[key]):
            yield key, f"{settings[key]} is not {wanted}"


def build(
    name: str,
    settings: Mapping[str, Any],
    data: Data,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Criterion:
    """The criterion (outputs, targets) → scalar; for torch's own the module itself.

    `weight` and `pos_weight`, one number for each of the model's outputs, become tensors on `device` of `dtype`
    (None: torch's default). Raises UsageError for what `misuses` finds, for weights of another length and for a loss
    that cannot judge the data's task.
    """
    import torch

    component = losses.find(name)
    loss = component.load()
    if not isinstance(loss, type):
        return functools.partial(loss, **settings)
    wrong = [f"{name}: {key}: {reason}" for key, reason in (*misuses(name, settings), *_misfits(name, settings, data))]
    if wrong:
        raise UsageError("\n".join(wrong))
    _demand_task(name, data.task)
    arguments = dict(settings)
    for parameter in component.signature.settings:
        if "Tensor" in parameter.annotation and arguments.get(parameter.name) is not None:
            numbers = arguments[parameter.name]
            arguments[parameter.name] = torch.tensor(numbers, dtype=dtype or torch.get_default_dtype())
    criterion = loss(**arguments).to(device)
    if data.task == "language_model" and torch.device(device).type == "cuda":
        criterion.register_forward_pre_hook(_by_position)
    return criterion


def _by_position(_: object, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """[B, V, T] and [B, T] as [B·T, V] and [B·T]: the same mean, by a CUDA kernel that has a deterministic form.

    The kernel for the first shape has none (torch.use_deterministic_algorithms lists NLLLoss).
    """
    outputs, targets = pair
    return outputs.transpose(1, 2).flatten(0, 1), targets.flatten()


def _misfits(name: str, settings: Mapping[str, Any], data: Data) -> Iterator[tuple[str, str]]:
    """(setting, what is wrong with it) where this can only be seen with the data."""
    for key in ("weight", "pos_weight"):
        numbers = settings.get(key)
        if numbers is not None and len(numbers) != data.num_outputs:
            yield key, f"a list of {len(numbers)} for {data.num_outputs} outputs; give one number for each"
    if settings.get("log_target") and data.task == "classification":
        yield "log_target", "classes become rows of 0 and 1, and 0 has no logarithm; leave it out"


def _demand_task(name: str, task: Task) -> None:
    """Raises UsageError when torch's criterion cannot judge the task."""
    form = FORMS.get(name)
    if form is None:
        return
    if task == "language_model" and form.mean_over != "class weights":
        raise UsageError(f"{name} cannot judge the scores of a language model; use cross_entropy")
    if task == "regression" and form.targets in ("classes", "class rows"):
        raise UsageError(f"{name} takes classes and the targets of a regression are numbers; use mse")


def targets_for(
    name: str, task: Task, targets: Tensor, num_classes: int | None, *, dtype: torch.dtype | None = None
) -> Tensor:
    """A part's (or a batch's) targets in the form the loss takes, as the table in `Form` has it.

    Targets that become numbers are of `dtype` (None: torch's default). Raises UsageError when the loss cannot judge
    the task, or when a regression's targets are not what it takes.
    """
    import torch

    _demand_task(name, task)
    form = FORMS.get(name)
    if form is None or form.targets == "classes":
        return targets
    dtype = dtype or torch.get_default_dtype()
    if task == "regression":
        _demand_values(name, form, targets)
        return targets.to(dtype)
    if form.targets == "class rows":
        rows = torch.full((len(targets), num_classes or 0), -1, device=targets.device)
        rows[:, 0] = targets
        return rows
    one_hot = torch.nn.functional.one_hot(targets, num_classes or -1).to(dtype)
    return 2 * one_hot - 1 if form.targets == "signs" else one_hot


def _demand_values(name: str, form: Form, targets: Tensor) -> None:
    """Raises UsageError when a regression's numbers are not what the criterion is defined for."""
    holds, wanted = {
        "counts": (targets >= 0, "of 0 or more"),
        "probabilities": ((targets >= 0) & (targets <= 1), "from 0 to 1"),
        "signs": (targets.abs() == 1, "of -1 and 1"),
    }.get(form.targets, (None, ""))
    if holds is not None and not holds.all():
        low, high = targets.min().item(), targets.max().item()
        raise UsageError(f"{name} takes targets {wanted}, and those of the data go from {low:g} to {high:g}; use mse")


def loss_weight(criterion: Criterion, targets: Tensor) -> float:
    """What torch's `reduction="mean"` divides by for these targets; for a user's own loss the number of rows.

    The elements or rows; for cross_entropy and nll the sum of the class weights over the targets not ignored, which
    can be 0.
    """
    name = snake_case(type(criterion).__name__.removesuffix("Loss"))
    over = FORMS[name].mean_over if name in FORMS else "rows"
    if over == "class weights":
        kept = targets[targets != criterion.ignore_index]  # type: ignore[attr-defined]
        weight = criterion.weight  # type: ignore[attr-defined]
        return float(kept.numel()) if weight is None else weight.cpu().double()[kept.cpu()].sum().item()
    if over == "rows" or getattr(criterion, "reduction", "mean") == "batchmean":
        return float(len(targets))
    return float(targets.numel())


def summed(criterion: Criterion) -> Criterion:
    """The criterion with `reduction="sum"`, to evaluate a part in slices; a user's own mean times its rows.

    Sums, since the mean of a slice can be infinite or 0/0 where the mean of the whole is not: class weights of 0.
    """
    if not hasattr(criterion, "reduction"):
        return lambda outputs, targets: criterion(outputs, targets) * len(targets)
    sums: Any = copy.copy(criterion)
    sums.reduction = "sum"
    return sums


def whole(criterion: Criterion, sums: Sequence[float], weights: Sequence[float]) -> float:
    """The criterion over a whole part, from what `summed(criterion)` and `loss_weight` say of its slices.

    `Σ sums / Σ weights`, which is what the criterion says of the part at once; with `reduction="sum"` the sum.
    """
    if getattr(criterion, "reduction", "mean") == "sum":
        return sum(sums)
    total = sum(weights)
    return sum(sums) / total if total else math.nan
