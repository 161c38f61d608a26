"""The textbook's training loop, written by hand in plain PyTorch: what `optrun train` has to equal to the bit.

It shares no code with optrun. What it takes from there are the tensors of a data set and a function that makes a model;
the seeding, the order of the examples, the lines of a step, the times at which schedulers step and the evaluation are
written out once more, with torch's own classes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import LBFGS, Optimizer

Rates = float | list[float]


@dataclass
class Timed:
    """A scheduler, what it steps after, and the optimizer steps between which it does."""

    scheduler: Any
    after: Literal["step", "epoch", "evaluation"] = "epoch"
    first: float = 0
    last: float = math.inf


@dataclass
class Log:
    """What a training run told: one entry a step, and (step, loss) of each evaluation."""

    losses: list[float] = field(default_factory=list)
    rates: list[Rates] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    """Steps that loss scaling did not take."""
    weights: dict[str, Tensor] = field(default_factory=dict)
    """The state dict at the end."""
    outputs: Tensor | None = None
    """What the model gives for the whole validation part at the end."""


def no_schedule(optimizer: Optimizer) -> list[Timed]:
    return []


@dataclass
class Textbook:
    """One training run. `optimizers(model)` and `schedulers(optimizer)` make what the run needs, after the model."""

    model: Callable[[], nn.Module]
    train: tuple[Tensor, Tensor]
    val: tuple[Tensor, Tensor]
    optimizers: Callable[[nn.Module], Sequence[Any]]
    schedulers: Callable[[Optimizer], Sequence[Timed]] = no_schedule
    criterion: Any = field(default_factory=nn.CrossEntropyLoss)
    steps: int = 1
    batch_size: int = 64
    accumulate: int = 1
    seed: int = 0
    clip_norm: float | None = None
    clip_value: float | None = None
    eval_steps: int | None = None
    """Optimizer steps between two evaluations; None evaluates after every epoch."""
    dtype: torch.dtype = torch.float32
    autocast: torch.dtype | None = None
    scaler: torch.amp.GradScaler | None = None
    memory_format: torch.memory_format = torch.contiguous_format

    def run(self) -> Log:
        torch.manual_seed(self.seed)
        model = self.model().to(self.dtype)
        if self.memory_format != torch.contiguous_format:
            model = model.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        optimizers = list(self.optimizers(model))
        timed = [each for optimizer in optimizers for each in self.schedulers(optimizer)]
        log, step, epoch = Log(), 0, 0
        while step < self.steps:
            for inputs, targets in self.batches(epoch):
                if step == self.steps:
                    break
                step += 1
                log.rates.append(learning_rates(optimizers))
                set_mode(model, optimizers, "train")
                loss, norm, taken = self.take_step(model, optimizers, inputs, targets)
                log.losses.append(loss)
                if norm is not None:
                    log.norms.append(norm)
                if taken:
                    step_schedulers(timed, "step", step)
                else:
                    log.skipped.append(step)
                if self.eval_steps and step % self.eval_steps == 0:
                    self.evaluate(model, optimizers, timed, log, step)
            else:  # the epoch was not broken off
                epoch += 1
                step_schedulers(timed, "epoch", step)
                if not self.eval_steps:
                    self.evaluate(model, optimizers, timed, log, step)
        if not log.evaluations or log.evaluations[-1][0] < step:  # no scheduler hears of one that only the end asks for
            self.evaluate(model, optimizers, [], log, step)
        log.weights = {key: value.clone() for key, value in model.state_dict().items()}
        return log

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The examples of each optimizer step of an epoch; its last step takes what is left."""
        inputs, targets = self.train
        entropy = numpy.random.SeedSequence([self.seed, epoch]).generate_state(1, numpy.uint64)[0]
        generator = torch.Generator().manual_seed(int(entropy))
        for rows in torch.randperm(len(inputs), generator=generator).split(self.batch_size * self.accumulate):
            yield self.cast(inputs[rows]), self.cast(targets[rows])

    def take_step(
        self, model: nn.Module, optimizers: Sequence[Any], inputs: Tensor, targets: Tensor
    ) -> tuple[float, float | None, bool]:
        """The loss, the gradient norm before clipping, and whether the weights were changed."""
        if isinstance(optimizers[0], LBFGS):
            first: list[tuple[float, float | None]] = []

            def closure() -> Tensor:
                optimizers[0].zero_grad()
                loss = self.forward_backward(model, inputs, targets)
                norm = self.clip(model)
                first.append((loss.item(), norm))
                return loss

            optimizers[0].step(closure)
            return *first[0], True

        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = self.forward_backward(model, inputs, targets)
        if self.scaler is not None:
            return loss.item(), *self.scaled_step(self.scaler, model, optimizers)
        norm = self.clip(model)
        for optimizer in optimizers:
            optimizer.step()
        return loss.item(), norm, True

    def forward_backward(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Gradients of the mean loss over the step's examples, in micro-batches; each counts by its examples."""
        total = torch.zeros((), dtype=self.dtype)
        for x, y in zip(inputs.split(self.batch_size), targets.split(self.batch_size)):
            x = x.clone()  # a tensor of its own, as a DataLoader would make it
            with self.precision():
                outputs = model(x)
                loss = self.criterion(outputs, y)
            if self.accumulate > 1:
                loss = loss * (len(x) / len(inputs))
            (loss if self.scaler is None else self.scaler.scale(loss)).backward()
            total = total + loss.detach()
        return total

    def scaled_step(
        self, scaler: torch.amp.GradScaler, model: nn.Module, optimizers: Sequence[Any]
    ) -> tuple[float | None, bool]:
        """As the examples of torch.amp have it; a scale that went down is the sign of a step not taken."""
        for optimizer in optimizers:
            scaler.unscale_(optimizer)
        norm = self.clip(model)
        for optimizer in optimizers:
            scaler.step(optimizer)
        before = scaler.get_scale()
        scaler.update()
        return norm, scaler.get_scale() >= before

    def clip(self, model: nn.Module) -> float | None:
        norm = None
        if self.clip_norm is not None:
            norm = clip_grad_norm_(model.parameters(), self.clip_norm).item()
        if self.clip_value is not None:
            clip_grad_value_(model.parameters(), self.clip_value)
        return norm

    @torch.no_grad()
    def evaluate(
        self, model: nn.Module, optimizers: Sequence[Any], timed: Sequence[Timed], log: Log, step: int
    ) -> None:
        """The loss over the whole validation part, in slices of 1,024 rows."""
        set_mode(model, optimizers, "eval")
        total, elements, outputs = 0.0, 0, []
        criterion = type(self.criterion)(**vars_of(self.criterion), reduction="sum")
        for x, y in zip(*(part.split(1024) for part in self.val)):
            with self.precision():
                outputs.append(model(self.cast(x)))
                total += criterion(outputs[-1], self.cast(y)).item()
            elements += y.numel()
        log.outputs = torch.cat(outputs)
        loss = total if self.criterion.reduction == "sum" else total / elements
        log.evaluations.append((step, loss))
        step_schedulers(timed, "evaluation", step, loss)

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast("cpu", dtype=self.autocast) if self.autocast else contextlib.nullcontext()

    def cast(self, tensor: Tensor) -> Tensor:
        cast = tensor.to(self.dtype) if tensor.is_floating_point() else tensor
        return cast.contiguous(memory_format=self.memory_format) if cast.dim() == 4 else cast


def step_schedulers(timed: Sequence[Timed], after: str, step: int, *metric: float) -> None:
    for each in timed:
        if each.after == after and each.first <= step <= each.last:
            each.scheduler.step(*metric)


def learning_rates(optimizers: Sequence[Any]) -> Rates:
    """One number where all groups agree."""
    rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    return rates[0] if len(set(rates)) == 1 else rates


def set_mode(model: nn.Module, optimizers: Sequence[Any], mode: Literal["train", "eval"]) -> None:
    """Schedule-free optimizers have the two modes too: they evaluate at other weights than they train at."""
    for each in (model, *optimizers):
        if hasattr(each, mode):
            getattr(each, mode)()


def vars_of(criterion: nn.Module) -> dict[str, Any]:
    """The settings of a criterion that change its value, to make another one like it."""
    return {key: value for key, value in vars(criterion).items() if key in ("label_smoothing", "delta", "beta")}
