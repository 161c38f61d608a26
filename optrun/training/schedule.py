"""When the scheduler steps: its natural time, or the interval it was given."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from optrun.components.choice import SchedulerChoice
from optrun.components.schedulers import WarmupThenPlateau, build, interval_of, members

__all__ = ["Schedule"]


class Schedule:
    """The schedulers of a run (one per optimizer, stepping together) and the moments at which they step.

    The loop reports what happened; the schedule decides who steps. Without a scheduler nothing ever does.
    `horizon` is the run's length in the scheduler's interval: optimizer steps, or epochs begun.
    """

    def __init__(
        self, choice: SchedulerChoice | None, optimizers: Sequence[Optimizer], *, steps: int, steps_per_epoch: int
    ) -> None:
        self.interval = interval_of(choice) if choice else None
        self.horizon = steps if self.interval == "step" else math.ceil(steps / steps_per_epoch)
        self.schedulers = [build(choice, optimizer, self.horizon) for optimizer in optimizers] if choice else []
        self.metric = _watched(choice)
        self._steps = [s for s in self.schedulers if not isinstance(s, ReduceLROnPlateau)]
        self._every_step = self._steps if self.interval == "step" else []

    def steps_after(self, moment: Literal["step", "epoch", "evaluation"]) -> bool:
        """Whether a scheduler may change something then."""
        if moment == "evaluation":
            return any(isinstance(s, ReduceLROnPlateau | WarmupThenPlateau) for s in self.schedulers)
        return self.interval == moment and bool(self._steps)

    def after_step(self) -> None:
        """An optimizer step was taken."""
        for scheduler in self._every_step:
            scheduler.step()

    def after_epoch(self) -> None:
        """A whole epoch was finished."""
        if self.interval == "epoch":
            for scheduler in self._steps:
                scheduler.step()

    def after_evaluation(self, values: Mapping[str, float]) -> None:
        """The validation part was evaluated, on the run's own schedule."""
        for scheduler in self.schedulers:
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(values[self.metric])
            elif isinstance(scheduler, WarmupThenPlateau):
                scheduler.evaluated(values[self.metric])

    def state_dict(self) -> list[dict[str, Any]]:
        return [copy.deepcopy(scheduler.state_dict()) for scheduler in self.schedulers]

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        """Load what `state_dict` gave; copied first, since CyclicLR takes keys out of the dict it is handed."""
        for scheduler, state in zip(self.schedulers, states):
            scheduler.load_state_dict(copy.deepcopy(state))


def _watched(choice: SchedulerChoice | None) -> str:
    """The metric that the schedule's plateau watches."""
    found = [m.metric for m in members(choice) if m.metric] if choice else []
    return found[0] if found else "val/loss"
