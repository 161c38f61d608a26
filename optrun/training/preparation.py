"""From a spec to a state that can be trained, with what only the data and the model can tell judged on the way."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from optrun.components import losses, optimizers
from optrun.components.data import Data, Examples, prepare
from optrun.components.parts import fetch
from optrun.components.registry import datasets, metrics, models
from optrun.config.spec import Spec
from optrun.errors import ConfigError, UsageError
from optrun.training import feasibility
from optrun.training.batches import Batches
from optrun.training.numerics import numerics, resolve_device, threads_for
from optrun.training.precision import autocast, dtype_of, loss_scaler
from optrun.training.progress import Progress
from optrun.training.randomness import seed_everything
from optrun.training.recent import Recent
from optrun.training.schedule import Schedule
from optrun.training.state import State
from optrun.training.stepping import Stepper

__all__ = ["load_data", "located", "prepare_run"]


@contextlib.contextmanager
def located(spec: Spec, *path: str | int) -> Iterator[None]:
    """What a component refuses becomes a ConfigError that points at the component."""
    try:
        yield
    except ConfigError:
        raise
    except optimizers.NoParameters as refused:
        raise ConfigError([spec.problem((*path, *refused.path), str(refused))]) from refused
    except (UsageError, ValueError, TypeError, RuntimeError, ArithmeticError, AssertionError, LookupError) as refused:
        message = " ".join(str(refused).split()) or type(refused).__name__
        raise ConfigError([spec.problem(_blamed(spec, path, message), message)]) from refused


def _blamed(spec: Spec, path: tuple[str | int, ...], message: str) -> tuple[str | int, ...]:
    """The one setting whose value the message quotes, if there is one; else the component."""
    choice = getattr(spec, str(path[0]), None)
    settings = getattr(choice, "settings", {}) if len(path) == 1 else {}
    quoted = [key for key, value in settings.items() if message.endswith(f": {value}") or f"'{key}'" in message]
    return (*path, quoted[0]) if len(quoted) == 1 else path


def load_data(spec: Spec) -> Data:
    """The data set of `spec`, split and standardised. Raises ConfigError."""
    choice = spec.dataset
    with located(spec, "dataset"):
        made = datasets.find(choice.name).load()(**choice.settings)
        return prepare(
            made,
            name=choice.name,
            split_seed=choice.split_seed,
            val_fraction=choice.val_fraction,
            test_fraction=choice.test_fraction,
            transforms=choice.transforms,
        )


def prepare_run(spec: Spec, data: Data | None = None) -> tuple[Spec, State, Batches]:
    """Build everything `spec` asks for: (the spec with what was left open resolved, the state, the batches).

    The model is built right after the seeding, so that its weights are those of `torch.manual_seed(seed)` followed by
    the model's constructor. Raises ConfigError.
    """
    with numerics(threads=1, deterministic=spec.deterministic):
        with located(spec, "device"):
            device = resolve_device(spec.device)
        data = data or load_data(spec)
        feasibility.judge_data(spec, data)
        dtype = dtype_of(spec.precision)
        seed_everything(spec.seed)
        with located(spec, "model"):
            model = models.find(spec.model.name).load()(data, **spec.model.settings)
            feasibility.judge_model(spec, model)
        model = model.to(device=device, dtype=dtype)
        with located(spec, "loss"):
            criterion = losses.build(spec.loss.name, spec.loss.settings, data, device=device, dtype=dtype)
        ready = _placed(data, device, dtype)
        batches = _batches(spec, ready, criterion, device, dtype)
        if spec.threads == "auto":
            spec = spec.model_copy(update={"threads": _threads(spec, model, ready, device)})
        total = spec.steps or batches.steps_per_epoch * (spec.epochs or 0)
        stepper, schedule = _optimizer_and_schedule(spec, model, device, total, batches.steps_per_epoch)
        if spec.compile:
            model.compile()
        state = State(
            model=model,
            optimizer=stepper,
            schedule=schedule,
            progress=_progress(spec),
            recent=Recent(spec.clip_norm),
            criterion=criterion,
            metrics={m.name: functools.partial(metrics.find(m.name).load(), **m.settings) for m in spec.metrics},
            data=ready,
            loss_targets=functools.partial(_loss_targets, spec, data, dtype),
            device=device,
            autocast=autocast(spec.precision, device),
            steps_per_epoch=batches.steps_per_epoch,
            total_steps=total,
        )
    return spec, state, batches


def _optimizer_and_schedule(
    spec: Spec, model: torch.nn.Module, device: torch.device, total: int, steps_per_epoch: int
) -> tuple[Stepper, Schedule]:
    with located(spec, "optimizer"):
        built = optimizers.build(spec.optimizer, model)
        feasibility.judge_optimizer(spec)
    with located(spec, "scheduler"):
        schedule = Schedule(spec.scheduler, built, steps=total, steps_per_epoch=steps_per_epoch)
        feasibility.judge_schedule(spec, total, schedule.horizon)
    return Stepper(built, loss_scaler(spec.precision, device)), schedule


def _threads(spec: Spec, model: torch.nn.Module, data: Data, device: torch.device) -> int:
    if device.type != "cpu":
        return 1
    with located(spec, "model"):
        inputs, _ = fetch(data.val, torch.arange(1))
        return threads_for(model, inputs, spec.dataset.batch_size)


def _placed(data: Data, device: torch.device, dtype: torch.dtype) -> Data:
    """The data with its in-memory parts on the device, floating-point inputs in the run's type."""

    def place(part: Any) -> Any:
        if not isinstance(part, Examples):
            return part
        inputs = part.inputs.to(device, dtype) if part.inputs.is_floating_point() else part.inputs.to(device)
        targets = part.targets.to(device, dtype) if part.targets.is_floating_point() else part.targets.to(device)
        return Examples(inputs, targets)

    return replace(data, train=place(data.train), val=place(data.val), test=place(data.test))


def _loss_targets(spec: Spec, data: Data, dtype: torch.dtype, targets: torch.Tensor) -> torch.Tensor:
    """Targets in the form the run's loss takes."""
    return losses.targets_for(spec.loss.name, data.task, targets, data.num_classes, dtype=dtype)


def _batches(spec: Spec, data: Data, criterion: Any, device: torch.device, dtype: torch.dtype) -> Batches:
    with located(spec, "loss"):
        return Batches(
            data.train,
            data.augment,
            batch_size=spec.dataset.batch_size,
            accumulate=spec.accumulate,
            seed=spec.seed,
            device=device,
            to_loss=functools.partial(_loss_targets, spec, data, dtype),
            weighted=getattr(criterion, "reduction", "mean") != "sum",
            workers=spec.dataset.workers,
        )


def _progress(spec: Spec) -> Progress:
    metric, mode = spec.watched
    progress = Progress(metric, mode)
    if spec.early_stop:
        stop = spec.early_stop
        progress.stop_metric, progress.stop_mode = stop.metric, stop.mode or spec.mode_of(stop.metric)
        progress.patience, progress.min_delta = stop.patience, stop.min_delta
    if spec.target:
        progress.target_metric, progress.target_value = spec.target.metric, spec.target.value
        progress.target_mode = spec.mode_of(spec.target.metric)
    return progress
