"""From a spec to a state that can be trained, with what only the data and the model can tell judged on the way."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from optrun.components import losses, optimizers
from optrun.components.data import Data, prepare
from optrun.components.parts import fetch
from optrun.components.registry import datasets, metrics, models
from optrun.config.spec import Spec
from optrun.training import feasibility
from optrun.training.batches import Batches
from optrun.training.compiler import compile_model, without_compiler
from optrun.training.locating import located
from optrun.training.numerics import numerics, resolve_device, threads_for
from optrun.training.placing import placed, room
from optrun.training.precision import Placement, autocast, dtype_of, loss_scaler
from optrun.training.progress import Progress
from optrun.training.randomness import seed_everything
from optrun.training.ranks import Ranks, as_one
from optrun.training.recent import Recent
from optrun.training.schedule import Schedule
from optrun.training.sizing import is_weightless, sized, unfused
from optrun.training.state import State
from optrun.training.stepping import Stepper

if TYPE_CHECKING:
    from optrun.training.shares import Shares

__all__ = ["load_data", "prepare_run"]


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


def prepare_run(
    spec: Spec, data: Data | None = None, *, to_train: bool = True, apart: bool = False, ranks: Ranks | None = None
) -> tuple[Spec, State, Batches | Shares]:
    """Build everything `spec` asks for: (the spec with what was left open resolved, the state, the batches).

    The model is built right after the seeding, so that its weights are those of `torch.manual_seed(seed)` followed by
    the model's constructor. If not `to_train`, a large model has shapes only, on torch's meta device, so that judging
    it takes neither time nor memory. With `apart` the optimizers work on the parameters one by one, as somebody who
    stacks them needs, and what a sweep has judged before is not judged again. With `ranks` this is one of several
    processes that train the run together. Raises ConfigError.
    """
    if not spec.compile:
        without_compiler()
    if ranks is not None and spec.dataset.settings.get("download"):
        with as_one(ranks):
            if ranks.local == 0:  # the others of this machine find it there
                load_data(spec)
    with numerics(threads=1, deterministic=spec.deterministic):
        with as_one(ranks):  # before all build their common model, which waits for every process
            with located(spec, "device"):
                device = ranks.device(spec.device) if ranks else resolve_device(spec.device)
            data = data or load_data(spec)
            if not apart:
                feasibility.judge_data(spec, data)
            dtype = dtype_of(spec.precision)
            seed_everything(spec.seed)
            memory_format = getattr(torch, spec.memory_format)
            place = Placement(device, dtype, memory_format)
            model = _model(spec, data, place, to_train=to_train, judged=not apart)
            with located(spec, "loss"):
                criterion = losses.build(spec.loss.name, spec.loss.settings, data, device=device, dtype=dtype)
                if not apart:
                    feasibility.judge_loss(spec, data, criterion, device, dtype)
            ready = placed(data, place, room(device))
            batches: Batches | Shares = _batches(spec, ready, criterion, place)
            if spec.threads == "auto":
                rows = -(-spec.dataset.batch_size // (ranks.size if ranks else 1))
                spec = spec.model_copy(update={"threads": _threads(spec, model, ready, place, rows)})
        parallel = None
        if ranks is not None:
            from optrun.training.spreading import spread

            model, batches, parallel = spread(spec, model, criterion, data, batches, ranks)
        total = spec.steps or batches.steps_per_epoch * (spec.epochs or 0)
        stepper, schedule = _optimizer_and_schedule(
            spec, model, device, total, batches.steps_per_epoch, judged=not apart, apart=apart or parallel is not None
        )
        if spec.compile:
            compile_model(model, spec.compile)
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
            place=place,
            autocast=autocast(spec.precision, device),
            steps_per_epoch=batches.steps_per_epoch,
            total_steps=total,
            parallel=parallel,
        )
        if ranks is not None:
            from optrun.training.streams import RankGenerators

            state.generators = RankGenerators(spec.seed, ranks)
    return spec, state, batches


def _model(spec: Spec, data: Data, place: Placement, *, to_train: bool, judged: bool) -> torch.nn.Module:
    """The model where it is to be; one without weights stays on the meta device."""
    with located(spec, "model"):
        make = functools.partial(models.find(spec.model.name).load(), data, **spec.model.settings)
        model = sized(spec.model.name, make, data, to_train=to_train)
        if judged:
            feasibility.judge_model(spec, model, data)
    model = model.to(device=None if is_weightless(model) else place.device, dtype=place.dtype)
    if place.memory_format != torch.contiguous_format:
        model = model.to(memory_format=place.memory_format)  # type: ignore[call-overload]
    return model


def _optimizer_and_schedule(
    spec: Spec,
    model: torch.nn.Module,
    device: torch.device,
    total: int,
    steps_per_epoch: int,
    *,
    judged: bool,
    apart: bool,
) -> tuple[Stepper, Schedule]:
    if judged:
        feasibility.judge_optimizer(spec, model, device)
    choice = unfused(spec.optimizer) if is_weightless(model) else spec.optimizer
    with located(spec, "optimizer"):
        built = optimizers.build(choice, model)
    if judged:
        feasibility.judge_schedule(spec, built, total, steps_per_epoch)
    with located(spec, "scheduler"):
        schedule = Schedule(spec.scheduler, built, steps=total, steps_per_epoch=steps_per_epoch)
    parameters = [p for p in model.parameters() if p.requires_grad]
    return Stepper(built, parameters, loss_scaler(spec.precision, device), apart=apart), schedule


def _threads(spec: Spec, model: torch.nn.Module, data: Data, place: Placement, rows: int) -> int:
    """For steps of which this process computes so many rows at a time."""
    if place.device.type != "cpu":
        return 1
    with located(spec, "model"):
        inputs, _ = fetch(data.val, torch.arange(1))
        example = inputs.to("meta") if is_weightless(model) else place(inputs)
        return threads_for(model, example, rows)


def _loss_targets(spec: Spec, data: Data, dtype: torch.dtype, targets: torch.Tensor) -> torch.Tensor:
    """Targets in the form the run's loss takes."""
    return losses.targets_for(spec.loss.name, data.task, targets, data.num_classes, dtype=dtype)


def _batches(spec: Spec, data: Data, criterion: Any, place: Placement) -> Batches:
    with located(spec, "loss"):
        return Batches(
            data.train,
            data.augment,
            batch_size=spec.dataset.batch_size,
            accumulate=spec.accumulate,
            seed=spec.seed,
            place=place,
            to_loss=functools.partial(_loss_targets, spec, data, place.dtype),
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
