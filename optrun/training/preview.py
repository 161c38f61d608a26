"""What the optimizers will be told in every step of a run, found by stepping the real schedulers without training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from optrun.config.spec import Spec
from optrun.training.loop import evaluation_is_due
from optrun.training.state import State

__all__ = ["Told", "preview"]


@dataclass(slots=True)
class Told:
    """What step `step` (counted from 1) uses: one value for each parameter group of each optimizer."""

    step: int
    lr: list[float]
    momentum: list[float | None]
    """`momentum`, or the first of `betas`; None where a group has neither."""


def preview(state: State, spec: Spec, *, stagnant: bool = False) -> Iterator[Told]:
    """Go through the run of a fresh `state` in the order of `fit`, without data, gradients or evaluations.

    The `lr` of a step is exactly what `fit` would log for it. Only ReduceLROnPlateau depends on more: it is not shown
    any evaluation, so it reduces nothing; if `stagnant` it is shown one that never improves after the first.
    """
    state.optimizer.count_as_stepped()
    while state.step < state.total_steps:
        if stagnant and state.evaluated != state.step and evaluation_is_due(state, spec):
            state.evaluated = state.step
            state.schedule.after_evaluation({state.schedule.metric: 1.0})
        groups = [group for optimizer in state.optimizer.optimizers for group in optimizer.param_groups]
        yield Told(state.step + 1, [float(group["lr"]) for group in groups], [_momentum(group) for group in groups])
        state.schedule.after_step()
        state.advance(0)


def _momentum(group: dict[str, Any]) -> float | None:
    value = group["betas"][0] if "betas" in group else group.get("momentum")
    return None if value is None else float(value)
