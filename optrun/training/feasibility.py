"""What only torch, the data or the model can tell about a spec: judged before the first step, with its place."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import nn

from optrun.components import optimizers as optimizing
from optrun.components.choice import OptimizerChoice
from optrun.components.data import Data
from optrun.components.registry import metrics, optimizers
from optrun.components.schedulers import members
from optrun.config.spec import Spec
from optrun.errors import ConfigError, Problem

__all__ = ["judge_data", "judge_model", "judge_optimizer", "judge_schedule"]


def judge_data(spec: Spec, data: Data) -> None:
    """The data against the batch size, the metrics and the watched values. Raises ConfigError with every problem."""
    problems = list(_data_problems(spec, data))
    if problems:
        raise ConfigError(problems)


def _data_problems(spec: Spec, data: Data) -> Iterator[Problem]:
    examples = len(data.train)
    if spec.dataset.batch_size > examples:
        message = f"is larger than the training part, which has {examples} examples"
        yield spec.problem(("dataset", "batch_size"), message)
    for index, metric in enumerate(spec.metrics):
        tasks = getattr(metrics.find(metric.name).load(), "tasks", (data.task,))
        if data.task not in tasks:
            wanted = " or ".join(task.replace("_", " ") for task in tasks)
            message = f"{metric.name} judges {wanted}, and {data.name} is {data.task.replace('_', ' ')}"
            yield spec.problem(("metrics", index), message)


def judge_model(spec: Spec, model: object) -> None:
    """What a model function returned. Raises TypeError or ValueError."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"{spec.model.name} must return a torch.nn.Module, not {type(model).__name__}")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"{spec.model.name} has no parameters to train")


def judge_optimizer(spec: Spec) -> None:
    """Take one step of the same optimizer on two small weights: some settings (differentiable, capturable, fused) are
    accepted and fail only in `step`. Raises what torch raises."""
    choices = [spec.optimizer, *([spec.optimizer.fallback] if spec.optimizer.fallback else [])]
    for choice in choices:
        _trial_step(choice)


def _trial_step(choice: OptimizerChoice) -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.zeros(2, 2).to_sparse(1) if choice.name == "SparseAdam" else torch.zeros(2, 2)
    optimizer = optimizers.find(choice.name).load()([weight], **choice.settings)
    if choice.name not in optimizing.NEEDS_CLOSURE and choice.name.partition(".")[0] not in optimizers.prefixes:
        optimizer.step()


def judge_schedule(spec: Spec, steps: int, horizon: int) -> None:
    """The schedule against the run's length. Raises ConfigError; warns of what works and may not be meant."""
    if spec.scheduler is None:
        return
    for choice in members(spec.scheduler):
        length = choice.settings.get("total_steps")
        if {"epochs", "steps_per_epoch"} <= choice.settings.keys() and length is None:
            length = choice.settings["epochs"] * choice.settings["steps_per_epoch"]
        if choice.name == "OneCycleLR" and isinstance(length, int) and length < horizon and choice is spec.scheduler:
            message = f"OneCycleLR ends after {length} steps and the run takes {horizon}; leave total_steps out to fit it"
            key = "total_steps" if "total_steps" in choice.settings else "epochs"
            raise ConfigError([spec.problem(("scheduler", key), message)])
        if (
            choice.name == "CosineAnnealingLR"
            and isinstance(t_max := choice.settings.get("T_max"), int)
            and t_max < horizon
        ):
            warnings.warn(
                f"CosineAnnealingLR rises again after T_max {t_max} and the run goes on to {horizon}; "
                f"leave T_max out to fit the run",
                stacklevel=2,
            )
