"""The training loop: the textbook's lines in the textbook's order, as a generator of events.

    for event in fit(state, data, spec):
        ...                                # log, show, save, stop: whatever the reader of the events wants

Between two events the state is consistent, so saving it there is always right; to stop training, stop reading.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from optrun.components.optimizers import NEEDS_CLOSURE
from optrun.config.spec import Spec, Steps
from optrun.errors import Diverged
from optrun.training.batches import Batches, MicroBatch
from optrun.training.clipping import clip_gradients
from optrun.training.evaluation import evaluate
from optrun.training.events import Evaluated, Event, Stepped
from optrun.training.state import State

if TYPE_CHECKING:
    from optrun.training.shares import Shares

__all__ = ["evaluation_is_due", "fit", "train_step"]


def fit(state: State, batches: Batches | Shares, spec: Spec) -> Iterator[Event]:
    """Train from where `state` stands to the end of the run, yielding an event after every step and evaluation.

    Raises Diverged when the loss is no longer finite: on a CPU before that step changes any weight, elsewhere when the
    values of the last steps are gathered.
    """
    take_step = closure_step if spec.optimizer.name in NEEDS_CLOSURE else train_step
    upcoming = batches.after(state.epoch, state.batch)
    state.train()
    while True:
        if state.evaluated != state.step and evaluation_is_due(state, spec):
            yield evaluation(state, spec, scheduled=True)
            state.train()
        if state.step >= state.total_steps:
            break
        started = state.clock.start()
        epoch, lr = state.epoch, state.optimizer.learning_rates()
        micro_batches = next(upcoming)
        loss, grad_norm = take_step(state, micro_batches, spec)
        state.recent.add(loss, grad_norm, epoch=epoch, lr=lr)
        state.advance(batches.examples(state.batch))
        logged = state.step % spec.log_every == 0 or state.step == state.total_steps
        if logged:
            state.recent.gather(state.step)
        state.clock.stop(started)
        if logged or state.device.type == "cpu":
            state.time += state.clock.seconds()
        yield Stepped(state.step, state.training_row() if logged else None)
    if state.evaluated != state.step:
        yield evaluation(state, spec, scheduled=False)


def train_step(state: State, micro_batches: list[MicroBatch], spec: Spec) -> tuple[Tensor, Tensor | None]:
    """One optimizer step; returns its loss and its gradient norm before clipping (scalars, left on the device)."""
    optimizer = state.optimizer
    optimizer.zero_grad()
    loss = forward_backward(state, micro_batches)
    grad_norm = clip_gradients(optimizer.gradients(), spec.clip_norm, spec.clip_value)
    stepped = optimizer.step()
    if stepped:
        state.schedule.after_step()
    return loss, grad_norm


def closure_step(state: State, micro_batches: list[MicroBatch], spec: Spec) -> tuple[Tensor, Tensor | None]:
    """One step of an optimizer that evaluates the loss itself (LBFGS); returns the first evaluation's values."""
    evaluations = []

    def closure() -> Tensor:
        state.optimizer.zero_grad()
        loss = forward_backward(state, micro_batches)
        gradients = state.optimizer.gradients()
        evaluations.append((loss, clip_gradients(gradients, spec.clip_norm, spec.clip_value)))
        return loss

    state.optimizer.step(closure)
    state.schedule.after_step()
    return evaluations[0]


def forward_backward(state: State, micro_batches: list[MicroBatch]) -> Tensor:
    """Add up the gradients of the micro-batches; returns the loss of all of them together, detached."""
    if state.parallel is not None:
        return state.parallel.forward_backward(state, micro_batches, _check)
    total: Tensor | None = None
    for number, (inputs, targets, share) in enumerate(micro_batches):
        loss = state.passes.replayed(inputs, targets, share, first=number == 0)
        if loss is not None:
            _check(state, loss)
        else:
            with state.autocast():
                outputs = state.model(inputs)
                loss = state.criterion(outputs, targets)
            if share != 1.0:
                loss = loss * share
            _check(state, loss)
            state.optimizer.scale(loss).backward()
            loss = loss.detach()
            if state.is_compiled and number + 1 < len(micro_batches):
                state.optimizer.keep_gradients()
        total = loss if total is None else total + loss
    assert total is not None
    return total


def _check(state: State, loss: Tensor) -> None:
    if state.checks_every_loss and not math.isfinite(value := loss.item()):
        raise Diverged(state.step + 1, value, state.epoch, state.optimizer.learning_rates())


def evaluation_is_due(state: State, spec: Spec) -> bool:
    """Whether the run's own schedule asks for an evaluation where `state` stands."""
    if isinstance(spec.eval_every, Steps):
        return state.step > 0 and state.step % spec.eval_every.steps == 0
    return state.batch == 0 and state.epoch > 0 and state.epoch % spec.eval_every == 0


def evaluation(state: State, spec: Spec, *, scheduled: bool) -> Evaluated:
    """Evaluate the validation part; a scheduled evaluation is shown to the scheduler, one at the run's end is not."""
    values = evaluate(state, state.data.val, "val")
    state.evaluated = state.step
    state.time += state.clock.seconds()
    if scheduled:
        state.schedule.after_evaluation(values)
    return Evaluated(state.step, state.epoch, state.time, values, scheduled)
