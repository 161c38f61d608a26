"""What only torch, the data or the model can tell about a spec: judged before the first step, with its place.

Some values are accepted when a thing is built and fail when it is used, perhaps hundreds of steps later. They are found
by using a small one first: a step of the optimizer, the schedule from its beginning, the loss and each metric on two
examples.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from optrun.components import losses
from optrun.components import optimizers as optimizing
from optrun.components.choice import SchedulerChoice
from optrun.components.data import Data, fetch
from optrun.components.naming import either
from optrun.components.registry import metrics, models, optimizers
from optrun.components.schedulers import interval_of
from optrun.config.document import KeyPath
from optrun.config.semantics import optimizers_of, schedulers_of
from optrun.config.spec import Spec
from optrun.errors import ConfigError, Problem, UsageError
from optrun.training.locating import located
from optrun.training.schedule import Schedule
from optrun.training.stepping import bare_step

__all__ = ["judge_data", "judge_loss", "judge_model", "judge_optimizer", "judge_schedule"]

TRIED_STEPS = 1_000
"""How far a schedule is tried out."""


def judge_data(spec: Spec, data: Data) -> None:
    """The data against the batch size and the metrics. Raises ConfigError with every problem."""
    problems = list(_data_problems(spec, data))
    if problems:
        raise ConfigError(problems)


def _data_problems(spec: Spec, data: Data) -> Iterator[Problem]:
    examples = len(data.train)
    micro_batches = math.ceil(examples / spec.dataset.batch_size)
    if spec.dataset.batch_size > examples:
        message = f"must be at most {examples}, the examples of the training part, not {spec.dataset.batch_size}"
        yield spec.problem(("dataset", "batch_size"), message)
    elif spec.accumulate > micro_batches:
        message = f"must be at most {micro_batches}, the micro-batches of an epoch, not {spec.accumulate}"
        yield spec.problem(("accumulate",), message)
    for index, choice in enumerate(spec.metrics):
        if not _judges(choice.name, data):
            able = [name for name in metrics.names() if _judges(name, data)]
            task = f"a {data.task.replace('_', ' ')}"
            message = f"{choice.name} cannot judge {task}, which {data.name} is; use {either(able)}"
            yield spec.problem(("metrics", index), message)
        elif _gives_scores(spec):
            try:
                with located(spec, "metrics", index):
                    metrics.find(choice.name).load()(*_two_examples(data), **choice.settings)
            except ConfigError as refused:
                yield from refused.problems


def _judges(metric: str, data: Data) -> bool:
    return data.task in getattr(metrics.find(metric).load(), "tasks", (data.task,))


def _gives_scores(spec: Spec) -> bool:
    """Whether the outputs are the scores that torch's criteria take, as they may not be with a loss and a model of
    the user's own."""
    return spec.loss.name in losses.FORMS or models.find(spec.model.name).origin in ("optrun", "torchvision")


def _two_examples(data: Data, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """(outputs, targets) of zeros, shaped as a model and the data set would give them for two examples."""
    places = (1,) if data.task == "language_model" else ()
    outputs = torch.zeros(2, data.num_outputs, *places, device=device)
    if data.task == "regression":
        return outputs, torch.zeros_like(outputs)
    return outputs, torch.zeros(2, *places, dtype=torch.int64, device=device)


def judge_model(spec: Spec, model: object, data: Data) -> None:
    """What a model function returned. Raises TypeError, ValueError, or what the model does on an example."""
    name = spec.model.name
    if not isinstance(model, nn.Module):
        raise TypeError(f"{name} must return a torch.nn.Module, not {type(model).__name__}")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"{name} has no parameters to train")
    if models.find(name).origin not in ("optrun", "torchvision") and spec.loss.name in losses.FORMS:
        _judge_outputs(name, model, data)


def _judge_outputs(name: str, model: nn.Module, data: Data) -> None:
    """A user's own model, on one example: its scores must have the shape that torch's criteria take."""
    inputs, targets = fetch(data.val, torch.arange(1))
    like = next(model.parameters(), inputs)  # the data can have been placed already, for other runs
    inputs = inputs.to(like.device, like.dtype if inputs.is_floating_point() else inputs.dtype)
    inner = targets.shape[1:] if data.task == "language_model" else ()
    wanted = (1, data.num_outputs, *inner)
    was_training = model.training
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        outputs = model.eval()(inputs)
    model.train(was_training)
    got = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if got != list(wanted):
        raise ValueError(f"{name} gives {got} for an example of {data.name}; it must give {list(wanted)}")


def judge_loss(spec: Spec, data: Data, criterion: losses.Criterion, device: torch.device, dtype: torch.dtype) -> None:
    """The loss on two examples. Raises what it raises, and ValueError when it gives more than one number."""
    if not _gives_scores(spec):
        return
    outputs, targets = _two_examples(data, device)
    targets = losses.targets_for(spec.loss.name, data.task, targets, data.num_classes, dtype=dtype)
    loss = criterion(outputs.to(dtype), targets)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise ValueError(f"{spec.loss.name} must give one number, the mean over its batch")


def judge_optimizer(spec: Spec, model: nn.Module, device: torch.device) -> None:
    """Steps of the same optimizer on a small weight: torch refuses some settings (differentiable, capturable, fused)
    only in `step`, and does not look at those of groups. Raises ConfigError."""
    sparse = bool(optimizing.sparse_names(model))
    for path, choice in optimizers_of(spec):
        step = functools.partial(_try_step, choice.name, device, sparse)
        _judge_settings(spec, path, choice.settings, step)
        for index, group in enumerate(choice.param_groups):
            values = {key: value for key, value in group.items() if key != "match"}
            merged = functools.partial(_try_step_of_group, step, choice.settings)
            _judge_settings(spec, (*path, "param_groups", index), values, merged)


def _try_step(name: str, device: torch.device, sparse: bool, settings: Mapping[str, Any]) -> None:
    weight = nn.Parameter(torch.ones(2, 2, device=device))
    optimizer = optimizers.find(name).load()([weight], **settings)
    if name.partition(".")[0] in optimizers.prefixes:
        return
    if name != "SparseAdam":
        _descend(name, optimizer, weight, torch.Tensor.clone)
    if sparse and name in optimizing.TAKES_SPARSE:
        _descend(name, optimizer, weight, lambda gradient: gradient.to_sparse(1))


def _descend(name: str, optimizer: Optimizer, weight: nn.Parameter, as_gradient: Callable[[Tensor], Tensor]) -> None:
    """Three steps down a parabola, whose gradient is the weight itself."""

    def evaluate() -> Tensor:
        weight.grad = as_gradient(weight.detach())
        return weight.detach().square().sum() / 2

    step = bare_step(optimizer)
    try:
        for _ in range(3):
            evaluate()
            optimizer.step(evaluate) if name in optimizing.NEEDS_CLOSURE else step()  # type: ignore[call-overload]
    except Exception as refused:
        raise UsageError(f"{name} cannot take a step with this: {refused}") from refused


def _try_step_of_group(step: Use, settings: Mapping[str, Any], group: Mapping[str, Any]) -> None:
    step({**settings, **group})


def judge_schedule(spec: Spec, built: Sequence[Optimizer], steps: int, steps_per_epoch: int) -> None:
    """The schedule against the run's length, and its first steps beside optimizers like those `built`.

    Raises ConfigError; warns of what works and may not be meant.
    """
    if spec.scheduler is None:
        return
    interval = interval_of(spec.scheduler)
    horizon = steps if interval == "step" else math.ceil(steps / steps_per_epoch)
    _judge_lengths(spec, interval, horizon)

    def use(choice: SchedulerChoice, tried: int, settings: Mapping[str, Any]) -> None:
        beside = [_like(optimizer) for optimizer in built]
        choice = replace(choice, settings=settings, interval=interval)
        schedule = Schedule(choice, beside, steps=steps, steps_per_epoch=steps_per_epoch)
        _demand_finite(beside)
        for _ in range(tried):
            schedule.after_step()
            schedule.after_epoch()
            _demand_finite(beside)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about an order of steps that is only so here
        for path, member in reversed(schedulers_of(spec)):  # the innermost first, to say which one it is
            tried = min(horizon, TRIED_STEPS) if path == ("scheduler",) else 0
            _judge_settings(spec, path, member.settings, functools.partial(use, member, tried))


def _demand_finite(built: Sequence[Optimizer]) -> None:
    for lr in (group["lr"] for optimizer in built for group in optimizer.param_groups):
        if not abs(float(lr)) <= torch.finfo(torch.float32).max:
            raise UsageError(f"the learning rate becomes {float(lr):g}, which is no 32-bit number")


Use = Callable[[Mapping[str, Any]], None]


def _judge_settings(spec: Spec, path: KeyPath, settings: Mapping[str, Any], use: Use) -> None:
    """Raises ConfigError when `use` of the settings fails: at the one without which it works, else at `path`."""
    try:
        use(settings)
    except Exception:
        culprits = [key for key in settings if _works(use, {k: v for k, v in settings.items() if k != key})]
        with located(spec, *path, *(culprits if len(culprits) == 1 else ())):
            raise


def _works(use: Use, settings: Mapping[str, Any]) -> bool:
    try:
        use(settings)
    except Exception:
        return False
    return True


def _like(optimizer: Optimizer) -> Optimizer:
    """What a scheduler sees of an optimizer: its groups, here on small weights, and its defaults."""
    groups = [{**group, "params": [nn.Parameter(torch.zeros(2, 2))]} for group in optimizer.param_groups]
    return Optimizer(groups, dict(optimizer.defaults))


def _judge_lengths(spec: Spec, interval: str, horizon: int) -> None:
    """Schedules that do not end with the run. Raises ConfigError for OneCycleLR, which cannot go on; else warns."""
    assert spec.scheduler is not None
    for path, choice, steps in _steps_taken(spec.scheduler, ("scheduler",), horizon):
        settings = choice.settings
        if choice.name == "OneCycleLR":
            total, epochs, per_epoch = (settings.get(k) for k in ("total_steps", "epochs", "steps_per_epoch"))
            key, length = ("total_steps", total) if total is not None else ("epochs", (epochs or 0) * (per_epoch or 0))
            if isinstance(length, int) and 0 < length < steps:
                message = f"OneCycleLR ends after {length} steps, and the run takes {steps}; leave it out to fit"
                raise ConfigError([spec.problem((*path, key), message)])
        t_max, milestones = settings.get("T_max"), settings.get("milestones")
        if choice.name == "CosineAnnealingLR" and isinstance(t_max, int) and t_max < steps:
            warnings.warn(
                f"CosineAnnealingLR rises again after T_max {t_max} and the run goes on to {steps}; "
                f"leave T_max out to fit the run",
                stacklevel=2,
            )
        if choice.name == "SequentialLR" and milestones and milestones[-1] >= steps:
            warnings.warn(
                f"the run ends after {steps} {interval}s, before SequentialLR comes to milestone {milestones[-1]}",
                stacklevel=2,
            )


def _steps_taken(choice: SchedulerChoice, path: KeyPath, steps: int) -> Iterator[tuple[KeyPath, SchedulerChoice, int]]:
    """The scheduler and those nested in it, with how often each steps when the outermost steps `steps` times.

    At a milestone SequentialLR starts the next member instead of stepping the one before once more.
    """
    yield path, choice, steps
    nested = choice.settings.get("schedulers") or ()
    edges = [0, *(milestone - 1 for milestone in choice.settings.get("milestones", ())), steps]
    for index, member in enumerate(nested):
        taken = steps
        if choice.name == "SequentialLR":
            start = edges[index] + (1 if index else 0)
            taken = min(edges[index + 1], steps) - start
        yield from _steps_taken(member, (*path, "schedulers", index), taken)
