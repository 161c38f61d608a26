"""Metrics: one number for a whole part of the data, equal to scikit-learn's wherever scikit-learn has the metric.

    outputs   [n, C] scores · [n, k] predicted numbers · [n, V, T] scores of a language model
    targets   int64 [n]     · float [n, k]             · int64 [n, T]

Sums are taken in float64. Among equal scores the first class is the prediction, as `torch.argmax` has it. A NaN among
the outputs, or a part without examples, makes the metric NaN: a model that has broken down gets no number.
Importing this module does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol, cast

from optrun.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from optrun.components.data import Task

__all__ = [
    "accuracy",
    "balanced_accuracy",
    "f1",
    "mae",
    "mse",
    "perplexity",
    "precision",
    "r2",
    "recall",
    "rmse",
    "top_k_accuracy",
]

Mode = Literal["max", "min"]


class Metric(Protocol):
    """A function (outputs, targets, *, settings) → float that knows its better direction and the tasks it can judge."""

    __name__: str
    mode: Mode
    tasks: tuple[Task, ...]

    def __call__(self, outputs: Tensor, targets: Tensor, **settings: object) -> float: ...


def metric(*, mode: Mode, tasks: tuple[Task, ...]) -> Callable[[Callable[..., float]], Metric]:
    """Decorator: write on a function whether more (`max`) or less (`min`) of it is better, and which tasks it suits."""

    def mark(function: Callable[..., float]) -> Metric:
        marked = cast(Metric, function)
        marked.mode, marked.tasks = mode, tasks
        return marked

    return mark


@metric(mode="max", tasks=("classification", "language_model"))
def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """The share of examples (for a language model: of positions) whose highest score is at the target.

    scikit-learn: `accuracy_score`.
    """
    if _undefined(outputs):
        return math.nan
    return (_predicted(outputs, targets) == targets).sum().item() / targets.numel()


@metric(mode="max", tasks=("classification", "language_model"))
def top_k_accuracy(outputs: Tensor, targets: Tensor, *, k: int = 5) -> float:
    """The share of examples (or positions) whose target is among the k highest scores.

    Of equal scores the class of the lower index ranks first, so that k = 1 is `accuracy`; scikit-learn's
    `top_k_accuracy_score` ranks it last and agrees otherwise. Raises UsageError unless 1 ≤ k < the number of classes.
    """
    import torch

    classes = outputs.shape[1]
    if not 1 <= k < classes:
        raise UsageError(f"top_k_accuracy has k: {k}; it should be at least 1 and below the {classes} classes")
    if _undefined(outputs):
        return math.nan
    target = targets.unsqueeze(1)
    score = outputs.gather(1, target)
    index = torch.arange(classes, device=outputs.device).view(1, -1, *[1] * (outputs.dim() - 2))
    rank = ((outputs > score) | ((outputs == score) & (index < target))).sum(1)
    return (rank < k).sum().item() / targets.numel()


@metric(mode="max", tasks=("classification",))
def balanced_accuracy(outputs: Tensor, targets: Tensor) -> float:
    """The mean, over the classes that occur among the targets, of the share of their examples that is recognised.

    scikit-learn: `balanced_accuracy_score`.
    """
    if _undefined(outputs):
        return math.nan
    hit, _, true = _counts(outputs, targets)
    return (hit / true)[true > 0].mean().item()


@metric(mode="max", tasks=("classification",))
def f1(outputs: Tensor, targets: Tensor, *, average: Literal["macro", "micro", "weighted"] = "macro") -> float:
    """The harmonic mean of precision and recall.

    scikit-learn: `f1_score(average=average, zero_division=0)`.
    """
    if _undefined(outputs):
        return math.nan
    hit, predicted, true = _counts(outputs, targets)
    return _averaged(2 * hit, predicted + true, predicted, true, average)


@metric(mode="max", tasks=("classification",))
def precision(outputs: Tensor, targets: Tensor, *, average: Literal["macro", "micro", "weighted"] = "macro") -> float:
    """Of the examples given to a class, the share that belongs to it.

    scikit-learn: `precision_score(average=average, zero_division=0)`.
    """
    if _undefined(outputs):
        return math.nan
    hit, predicted, true = _counts(outputs, targets)
    return _averaged(hit, predicted, predicted, true, average)


@metric(mode="max", tasks=("classification",))
def recall(outputs: Tensor, targets: Tensor, *, average: Literal["macro", "micro", "weighted"] = "macro") -> float:
    """Of the examples that belong to a class, the share given to it.

    scikit-learn: `recall_score(average=average, zero_division=0)`.
    """
    if _undefined(outputs):
        return math.nan
    hit, predicted, true = _counts(outputs, targets)
    return _averaged(hit, true, predicted, true, average)


@metric(mode="min", tasks=("regression",))
def mse(outputs: Tensor, targets: Tensor) -> float:
    """The mean squared error, in the targets' unit squared. scikit-learn: `mean_squared_error`."""
    return _errors(outputs, targets).square().mean().item()


@metric(mode="min", tasks=("regression",))
def rmse(outputs: Tensor, targets: Tensor) -> float:
    """The root of the mean squared error, in the targets' unit; of several targets the mean of their roots.

    scikit-learn: `root_mean_squared_error`.
    """
    return _errors(outputs, targets).square().mean(0).sqrt().mean().item()


@metric(mode="min", tasks=("regression",))
def mae(outputs: Tensor, targets: Tensor) -> float:
    """The mean absolute error, in the targets' unit. scikit-learn: `mean_absolute_error`."""
    return _errors(outputs, targets).abs().mean().item()


@metric(mode="max", tasks=("regression",))
def r2(outputs: Tensor, targets: Tensor) -> float:
    """The share of the targets' variance that the outputs explain, R²; of several targets the mean of their shares.

    Targets that are all the same have no variance: 1 where the outputs meet them exactly, 0 otherwise. NaN for fewer
    than two examples. scikit-learn: `r2_score`.
    """
    import torch

    errors, targets = _errors(outputs, targets), _float64(targets)
    if len(targets) < 2:
        return math.nan
    residual = errors.square().sum(0)
    total = (targets - targets.mean(0)).square().sum(0)
    constant = (targets == targets[0]).all(0)
    flat = torch.where(residual == 0, 1.0, torch.where(residual.isnan(), math.nan, 0.0))
    return torch.where(constant, flat, 1 - residual / total).mean().item()


@metric(mode="min", tasks=("language_model",))
def perplexity(outputs: Tensor, targets: Tensor) -> float:
    """exp of the mean cross entropy (in nats) over all positions; a uniform guess has the size of the vocabulary.

    Jelinek et al. 1977; TorchMetrics: `Perplexity`.
    """
    import torch

    if _undefined(outputs):
        return math.nan
    total = torch.zeros((), dtype=torch.float64)
    for scores, target in zip(outputs.split(1024), targets.split(1024)):  # a float64 copy of the whole could be too big
        scores = _float64(scores)
        chosen = scores.gather(1, target.to(scores.device).unsqueeze(1)).squeeze(1)
        total += (scores.logsumexp(1) - chosen).sum().cpu()
    return (total / targets.numel()).exp().item()


def _undefined(outputs: Tensor) -> bool:
    return outputs.numel() == 0 or bool(outputs.isnan().any())


def _predicted(outputs: Tensor, targets: Tensor) -> Tensor:
    """The class of the highest score, of the targets' shape. Raises UsageError when the shapes do not fit."""
    if (outputs.shape[0], *outputs.shape[2:]) != tuple(targets.shape):
        raise UsageError(f"outputs {[*outputs.shape]} do not hold scores per class for targets {[*targets.shape]}")
    return outputs.argmax(1)


def _counts(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Per class, float64 [C]: the examples recognised, those given to the class, those that belong to it."""
    predicted, classes = _predicted(outputs, targets), outputs.shape[1]
    chosen = (targets[predicted == targets], predicted, targets)
    hit, given, true = (each.flatten().bincount(minlength=classes).cpu().double() for each in chosen)
    return hit, given, true


def _averaged(reached: Tensor, possible: Tensor, predicted: Tensor, true: Tensor, average: str) -> float:
    """`reached / possible` of the classes as one number, 0 for 0 / 0; a class that occurs nowhere does not count."""
    if average == "micro":
        return (reached.sum() / possible.sum()).item()
    weight = {"macro": (predicted + true > 0).double(), "weighted": true}[average]
    return (reached / possible.clamp(min=1) * weight).sum().item() / weight.sum().item()


def _errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """outputs - targets, float64 [n, k]. Raises UsageError when the shapes differ, where torch would broadcast."""
    if outputs.shape != targets.shape:
        raise UsageError(f"outputs {[*outputs.shape]} and targets {[*targets.shape]} should have the same shape")
    return _float64(outputs) - _float64(targets)


def _float64(tensor: Tensor) -> Tensor:
    """In float64; on the CPU where the device has no such numbers (Apple's MPS)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
