"""How far a sweep is, and how long it will take, from what is heard of its trials."""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING, Protocol

from optrun.config.sweep import Objective
from optrun.sweeps.ledger import Trial
from optrun.sweeps.ranking import Ranked, best_value
from optrun.sweeps.standing import Standing
from optrun.sweeps.tasks import Ended, Progressed, Report

if TYPE_CHECKING:
    from optrun.sweeps.watching import Watched

__all__ = ["Followed", "Pace", "PaceOfRecords"]


class Followed(Protocol):
    """A sweep as whoever shows it needs it: one that this process drives, or one that it watches."""

    standing: Standing

    @property
    def objective(self) -> Objective: ...

    @property
    def trials(self) -> list[Trial]: ...

    @property
    def planned(self) -> int: ...

    @property
    def counts(self) -> dict[str, int]: ...

    @property
    def ranking(self) -> list[Ranked]: ...


class Pace:
    """Told of every report; counts in trials, parts of them included."""

    def __init__(self, sweep: Followed) -> None:
        self.sweep = sweep
        self._started: float | None = None
        self._parts: dict[Trial, float] = {}
        """How much of each trial that is not done has been heard of."""
        self._in_parts = 0.0
        self._trained = 0.0
        self._best: tuple[float, Trial] | None = None
        self._completed: list[Trial] = []
        self._looked_at = 0

    def heard(self, trial: Trial, report: Report) -> None:
        """Take a report into account."""
        before = self._parts.get(trial)
        if isinstance(report, Progressed):
            self._started = self._started or time.monotonic()
            self._parts[trial] = now = report.step / report.total_steps
            self._in_parts += now - (before or 0.0)
            self._trained += 0.0 if before is None else now - before  # what there was before this call, it has not done
        elif isinstance(report, Ended) and report.status != "paused":
            self._parts.pop(trial, None)
            self._in_parts -= before or 0.0
            self._trained += 1.0 - (before or 0.0)
            if report.status == "completed":
                self._completed.append(trial)

    @property
    def done(self) -> int:
        """Trials that need not be run any further, whether they have ended in this call or before."""
        return self.sweep.standing.done

    @property
    def share(self) -> float:
        """The part of the sweep that is done, from 0 to 1."""
        return min((self.done + self._in_parts) / self.sweep.planned, 1.0) if self.sweep.planned else 1.0

    @property
    def left(self) -> float | None:
        """Seconds until the end, at the pace so far; None before there is one."""
        if self._started is None or self._trained <= 0:
            return None
        return (time.monotonic() - self._started) * self.sweep.planned * (1 - self.share) / self._trained

    @property
    def best(self) -> tuple[float, Trial] | None:
        """The best value of a single completed trial, with the trial."""
        known = self.sweep.trials[self._looked_at :]
        self._looked_at += len(known)
        for trial in [trial for trial in known if trial.status == "completed"] + self._completed:
            self._take(trial)
        self._completed.clear()
        return self._best

    def _take(self, trial: Trial) -> None:
        objective = self.sweep.objective
        value = best_value(trial.run, objective)
        if value is None or math.isnan(value):
            return
        sign = 1 if objective.mode == "max" else -1
        if self._best is None or sign * value > sign * self._best[0]:
            self._best = (value, trial)


class PaceOfRecords(Pace):
    """A pace that is known before anything has been heard: by how long the trials took that are done."""

    def __init__(self, sweep: Watched) -> None:
        super().__init__(sweep)
        self.watched = sweep
        self._took: dict[Trial, float | None] = {}

    @property
    def left(self) -> float | None:
        """Seconds until the end, if as many go on running as now; None while none runs that has a pace."""
        for trial in self.sweep.trials:
            if trial.status == "completed" and trial not in self._took:
                self._took[trial] = trial.run.summary.get("wall_time")
        known = [seconds for seconds in self._took.values() if seconds is not None] or self._expected()
        running = self.sweep.counts.get("running", 0)
        if not known or not running:
            return None
        return statistics.fmean(known) * self.sweep.planned * (1 - self.share) / running

    def _expected(self) -> list[float]:
        """How long those will take that run, by their pace."""
        rates = [(trial.progress, self.watched.rates.get(trial)) for trial in self.watched.standing.running]
        return [told.total_steps / rate for told, rate in rates if told is not None and told.step and rate]
