"""The training loop for a stack: the lines of `optrun.training.loop`, each for all members at once.

    for told in fit(stack):
        for row, event in told:
            ...                       # what a member says, as it would if it trained alone

When all that was told has been taken down every member's state is consistent, so saving any of them is right. To stop
a member, take it out of the stack: `stack.leave(row)`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from torch import Tensor

from optrun.config.spec import Steps
from optrun.errors import Diverged
from optrun.fused.agreement import signature
from optrun.fused.batches import MicroBatch, served
from optrun.fused.evaluation import evaluate
from optrun.fused.stack import Stack
from optrun.fused.tensor import Stacked, physical, stacked
from optrun.training.events import Evaluated, Stepped
from optrun.training.loop import evaluation_is_due

__all__ = ["Told", "fit", "train_step"]

Told = list[tuple[int, Stepped | Evaluated | Diverged | None]]
"""Events, with the rows of the members they are about. A member's last one is None, or `Diverged`: it has left then."""


def fit(stack: Stack) -> Iterator[Told]:
    """Train every member to its end; yields once or more after each step, also when there is nothing to tell.

    Told are the steps that are logged, and those after which a checkpoint or an evaluation may be due. Raises
    CannotFuse.
    """
    members, standing = stack.members, stack.standing
    upcoming = served([m.batches for m in members], [m.state.epoch for m in members], standing.batch)
    telling = _Telling(stack)
    yield from _after(stack, list(stack.present))
    while stack.present:
        started = standing.clock.start()
        told: Told = list(train_step(stack, next(upcoming)))
        due = telling.rows()
        if due:
            standing.gather()
        standing.took(started, len(stack.present) or 1)
        for row in standing.lost.keys() & stack.present.keys():
            standing.settle(row)
            stack.leave(row)
            told.append((row, standing.lost[row]))
        for row in filter(stack.present.__contains__, due):
            standing.settle(row)
            told.append((row, Stepped(members[row].state.step, telling.of(row))))
        yield told
        yield from _after(stack, due)


def train_step(stack: Stack, micro_batches: Sequence[MicroBatch]) -> list[tuple[int, Diverged]]:
    """One optimizer step of every member; returns those whose loss was not finite, who have left the stack."""
    losses, diverged = _forward_backward(stack, micro_batches)
    norms = stack.clip()
    stack.update()
    stack.standing.add(losses, norms, sum(inputs.shape[0] for inputs, _, _ in micro_batches))
    _schedule(stack)
    return diverged


def _forward_backward(stack: Stack, micro_batches: Sequence[MicroBatch]) -> tuple[Tensor, list[tuple[int, Diverged]]]:
    """Add up the gradients of the micro-batches; returns the losses, [K], and who has diverged."""
    total, diverged = None, []
    if not stack.model.training:
        stack.model.train()
    for number, (inputs, targets, share) in enumerate(micro_batches):
        losses = _replayed_or_computed(stack, inputs, targets, share, first=number == 0)
        if stack.checks_every_loss and not losses.isfinite().all():
            diverged += [(row, _left_for(stack, row, losses[row].item())) for row in _lost(stack, losses)]
        total = losses if total is None else total + losses
    assert total is not None
    return total, diverged


def _replayed_or_computed(stack: Stack, inputs: Stacked, targets: Stacked, share: float, *, first: bool) -> Tensor:
    """The losses of a micro-batch, [K], after a forward and a backward pass."""
    given, compute = (physical(inputs), physical(targets)), functools.partial(_losses, stack, share, first)
    kind = (*map(signature, given), share, first)
    results = stack.tapes.replayed(kind, compute, given, stack.standing.to_come)
    return (results or compute(*given))[0]


def _losses(stack: Stack, share: float, first: bool, inputs: Tensor, targets: Tensor) -> list[Tensor]:
    criterion = stack.members[0].state.criterion
    with stack.streams.drawn_from():
        losses = physical(criterion(stack.model(stacked(inputs)), stacked(targets)))
    if share != 1.0:
        losses = losses * share
    stack.backward(losses, first=first)
    return [losses.detach()]


def _lost(stack: Stack, losses: Tensor) -> list[int]:
    return [row for row in (~losses.isfinite()).nonzero().flatten().tolist() if row in stack.present]


def _left_for(stack: Stack, row: int, loss: float) -> Diverged:
    """The member leaves before the step that is under way; its gradients, whatever they are, stay in its row."""
    stack.standing.gather()
    stack.standing.settle(row)
    stack.leave(row)
    state = stack.members[row].state
    return Diverged(state.step + 1, loss, state.epoch, state.optimizer.learning_rates())


def _schedule(stack: Stack) -> None:
    """Schedules that step after every step, and after an epoch those that step then; they hear of nothing else."""
    at_epoch_end = stack.standing.batch == 0
    changed = False
    for row in list(stack.present) if at_epoch_end else stack.scheduled_by_step:
        schedule = stack.members[row].state.schedule
        if schedule.steps_after("step") or (at_epoch_end and schedule.steps_after("epoch")):
            stack.standing.note_rates(row)
            schedule.after_step()
            changed = True
        if at_epoch_end:
            stack.members[row].state.epoch += 1
            schedule.after_epoch()
    if changed:
        stack.refresh()


def _after(stack: Stack, rows: Sequence[int]) -> Iterator[Told]:
    """What follows a step of members: evaluations, and the end of those who have taken all their steps."""
    if due := [row for row in rows if row in stack.present and _is_due(stack, row)]:
        yield _evaluations(stack, due, scheduled=True)
    if ended := [row for row in rows if row in stack.present and _has_ended(stack, row)]:
        if due := [row for row in ended if stack.members[row].is_unevaluated]:
            yield _evaluations(stack, due, scheduled=False)
        ended = [row for row in ended if row in stack.present]
        for row in ended:
            stack.leave(row)
        yield [(row, None) for row in ended]


def _is_due(stack: Stack, row: int) -> bool:
    member = stack.members[row]
    return member.is_unevaluated and evaluation_is_due(member.state, member.spec)


def _has_ended(stack: Stack, row: int) -> bool:
    state = stack.members[row].state
    return state.step >= state.total_steps


def _evaluations(stack: Stack, rows: list[int], *, scheduled: bool) -> Told:
    """Evaluate the validation part; a scheduled evaluation is shown to the scheduler, one at a run's end is not."""
    told: Told = []
    for row, values in zip(rows, evaluate(stack, rows, stack.members[0].state.data.val, "val")):
        state = stack.members[row].state
        state.evaluated = state.step
        if scheduled and state.schedule.steps_after("evaluation"):
            stack.standing.note_rates(row)
            state.schedule.after_evaluation(values)
        told.append((row, Evaluated(state.step, state.epoch, state.time, values, scheduled)))
    if scheduled:
        stack.refresh()
    return told


class _Telling:
    """Which members have something to tell after a step. They have their intervals in common."""

    def __init__(self, stack: Stack) -> None:
        self.stack, spec = stack, stack.members[0].spec
        self.log_every = spec.log_every
        self.intervals = [each.steps for each in (spec.eval_every, spec.checkpoint_every) if isinstance(each, Steps)]
        self.phases: dict[tuple[int, int], list[int]] = {}
        for row, member in enumerate(stack.members):
            self.phases.setdefault((member.state.step, member.state.total_steps), []).append(row)

    def rows(self) -> list[int]:
        """Those of the members that are there."""
        standing, found = self.stack.standing, []
        for (before, total), rows in self.phases.items():
            step = before + standing.taken
            intervals = (self.log_every, *self.intervals)
            if standing.batch == 0 or step == total or any(step % every == 0 for every in intervals):
                found += [row for row in rows if row in self.stack.present]
        return found

    def of(self, row: int) -> dict[str, object] | None:
        """The training row of a member's latest step, if it is logged."""
        state = self.stack.members[row].state
        logged = state.step % self.log_every == 0 or state.step == state.total_steps
        return state.training_row() if logged else None
