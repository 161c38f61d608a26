"""How far a sweep is, and how long it will take, from what is heard of its trials."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from optrun.sweeps.ledger import Trial
from optrun.sweeps.ranking import best_value
from optrun.sweeps.tasks import Ended, Progressed, Report

if TYPE_CHECKING:
    from optrun.sweeps.driver import Sweep

__all__ = ["Pace"]

_DONE = ("completed", "failed", "diverged", "pruned")


class Pace:
    """Told of every report; counts in trials, parts of them included."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.best: tuple[float, Trial] | None = None
        """The best value of a single trial that completed in this call."""
        self._started: float | None = None
        self._first: dict[Trial, float] = {}
        self._now: dict[Trial, float] = {}

    def heard(self, trial: Trial, report: Report) -> None:
        """Take a report into account."""
        if isinstance(report, Progressed):
            self._started = self._started or time.monotonic()
            self._now[trial] = report.step / report.total_steps
            self._first.setdefault(trial, self._now[trial])
        elif isinstance(report, Ended) and report.status != "paused":
            self._now[trial] = 1.0
            if report.status == "completed":
                self._take(trial)

    @property
    def done(self) -> int:
        """Trials that have ended, in this call or before."""
        return sum(trial.status in _DONE for trial in self.sweep.trials)

    @property
    def share(self) -> float:
        """The part of the sweep that is done, from 0 to 1."""
        parts = sum(1.0 if t.status in _DONE else self._now.get(t, 0.0) for t in self.sweep.trials)
        return min(parts / self.sweep.planned, 1.0) if self.sweep.planned else 1.0

    @property
    def left(self) -> float | None:
        """Seconds until the end, at the pace so far; None before there is one."""
        trained = sum(now - self._first.get(trial, 0.0) for trial, now in self._now.items())
        if self._started is None or trained <= 0:
            return None
        return (time.monotonic() - self._started) * self.sweep.planned * (1 - self.share) / trained

    def _take(self, trial: Trial) -> None:
        objective = self.sweep.spec.objective
        value = best_value(trial.run, objective)
        if value is None or math.isnan(value):
            return
        sign = 1 if objective.mode == "max" else -1
        if self.best is None or sign * value > sign * self.best[0]:
            self.best = (value, trial)
