"""How the trials of one call stand: which are due, running and done. Asking costs the same however many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from optrun.config.sweep import Objective
from optrun.sweeps.ledger import Trial
from optrun.sweeps.ranking import value_at
from optrun.sweeps.tasks import Ended, Progressed, Report

__all__ = ["Standing"]

_STATUSES = ("completed", "failed", "diverged", "pruned", "running", "interrupted", "planned")


class Standing:
    """The trials that are known so far, in the order of the plan.

    `retry_failed` makes those due that have failed before this call.
    """

    def __init__(self, objective: Objective, *, retry_failed: bool = False) -> None:
        self.objective, self.retry_failed = objective, retry_failed
        self.trials: list[Trial] = []
        self.running: dict[Trial, None] = {}
        """In the order in which they were heard of."""
        self.done = 0
        """How many need not be run any further."""
        self._known: set[Trial] = set()
        self._counts: Counter[str] = Counter()
        self._ended: set[Trial] = set()

    @property
    def counts(self) -> dict[str, int]:
        """How many trials have which status."""
        return {status: self._counts[status] for status in _STATUSES if self._counts[status]}

    def add(self, trials: Iterable[Trial]) -> None:
        """These follow in the plan."""
        for trial in trials:
            self.trials.append(trial)
            self._known.add(trial)
            self._count(trial, 1)

    def __contains__(self, trial: Trial) -> bool:
        return trial in self._known

    def heard(self, trial: Trial, report: Report) -> None:
        """Take into account what a trial reports."""
        if isinstance(report, Progressed):
            with self._changing(trial):
                trial.progress, trial.status = report, "running"
        elif isinstance(report, Ended):
            with self._changing(trial):
                # Not what the disk says: on a full one it may still be `running`.
                trial.status = "interrupted" if report.status == "paused" else report.status
                trial.error = report.error
                self._ended.add(trial)

    def lost(self, trial: Trial) -> None:
        """Its process has died, and it is run again."""
        with self._changing(trial):
            trial.status = "interrupted"

    def give_up(self, trial: Trial) -> None:
        """Its point has lost at a rung."""
        with self._changing(trial):
            trial.given_up = True

    def is_due(self, trial: Trial, until: int | None = None) -> bool:
        """Whether the trial must be run, to the end or to the evaluation of epoch `until`. One that has failed is
        tried again once in a call."""
        if trial.given_up or trial.status in ("completed", "diverged"):
            return False
        if trial.status == "failed" and (not self.retry_failed or trial in self._ended):
            return False
        return until is None or self.value_at(trial, until) is None

    def value_at(self, trial: Trial, epoch: int) -> float | None:
        """The objective at the trial's evaluation of that epoch, as `ranking.value_at` has it. Once there, it stays."""
        if epoch not in trial.at and (value := value_at(trial, self.objective.metric, epoch)) is not None:
            trial.at[epoch] = value
        return trial.at.get(epoch)

    @contextmanager
    def _changing(self, trial: Trial) -> Iterator[None]:
        self._count(trial, -1)
        yield
        self._count(trial, 1)
        if trial.status == "running":
            self.running.setdefault(trial)
        else:
            self.running.pop(trial, None)

    def _count(self, trial: Trial, one: int) -> None:
        self._counts[trial.status] += one
        self.done += 0 if self.is_due(trial) else one
