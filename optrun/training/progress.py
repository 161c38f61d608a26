"""What the evaluations so far amount to: the best one, patience used up, the target reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from optrun.training.events import Evaluated

__all__ = ["Progress"]

Mode = Literal["min", "max"]


@dataclass
class Progress:
    """Counters over evaluations. Part of the state: a resumed run goes on with the same patience."""

    metric: str
    """The metric that says which evaluation is best, a key of the evaluation rows."""
    mode: Mode
    best: dict[str, Any] | None = None
    """`value`, `step` and `epoch` of the best evaluation."""
    stop_metric: str | None = None
    stop_mode: Mode = "min"
    patience: int = 0
    min_delta: float = 0.0
    stop_best: float | None = None
    waited: int = 0
    """Evaluations since `stop_best` improved."""
    target_metric: str | None = None
    target_mode: Mode = "min"
    target_value: float = 0.0
    reached: dict[str, Any] | None = None
    """`step` and `time` at which the target was first reached."""

    def saw(self, evaluation: Evaluated) -> bool:
        """Take an evaluation into account; returns whether it is the best so far. What is no finite number
        is never an improvement."""
        values = evaluation.values
        improved = self.best is None or _better(values[self.metric], self.best["value"], self.mode)
        improved = improved and math.isfinite(values[self.metric])
        if improved:
            self.best = {"value": values[self.metric], "step": evaluation.step, "epoch": evaluation.epoch}
        if self.stop_metric and evaluation.scheduled:
            value = values[self.stop_metric]
            better = self.stop_best is None or _better(value, self.stop_best, self.stop_mode, self.min_delta)
            better = better and math.isfinite(value)
            self.stop_best, self.waited = (value, 0) if better else (self.stop_best, self.waited + 1)
        if self.target_metric and self.reached is None:
            value = values[self.target_metric]
            if value == self.target_value or _better(value, self.target_value, self.target_mode):
                self.reached = {"step": evaluation.step, "time": evaluation.time}
        return improved

    @property
    def should_stop(self) -> bool:
        """Whether early stopping has run out of patience."""
        return self.stop_metric is not None and self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        state = asdict(self)
        return {key: state[key] for key in ("best", "stop_best", "waited", "reached")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for key, value in state.items():
            setattr(self, key, value)


def _better(value: float, than: float, mode: Mode, by: float = 0.0) -> bool:
    """Whether `value` beats `than` by more than `by`; what is no finite number beats nothing."""
    return math.isfinite(value) and (value < than - by if mode == "min" else value > than + by)
