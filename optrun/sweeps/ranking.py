"""What the trials of a sweep came to: each point's mean and spread over its seeds, best first."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optrun.config.sweep import Objective
from optrun.errors import NotARun
from optrun.runs.reader import Run
from optrun.sweeps.ledger import Trial, by_point

__all__ = ["Ranked", "best_value", "rank", "value_at"]


@dataclass(frozen=True)
class Ranked:
    """A point with what its trials came to."""

    settings: Mapping[str, Any]
    values: tuple[float, ...]
    """The objective's best evaluation in each completed trial, in the order of the seeds."""
    trials: int
    failed: int
    diverged: int
    pruned: int
    unfinished: int
    runs: tuple[Path, ...]
    """The directories of all its trials, in the order of the seeds."""

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """The standard deviation over the seeds (with n − 1); None for fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def is_whole(self) -> bool:
        """Whether every seed counts in the mean."""
        return len(self.values) == self.trials

    def as_json(self) -> dict[str, Any]:
        """The point as `optrun sweep --json` prints it."""
        return {
            "settings": dict(self.settings),
            "n": len(self.values),
            "failed": self.failed,
            "diverged": self.diverged,
            "pruned": self.pruned,
            "unfinished": self.unfinished,
            "mean": self.mean,
            "std": self.std,
            "values": list(self.values),
            "runs": [str(run) for run in self.runs],
        }


def rank(trials: Iterable[Trial], objective: Objective) -> list[Ranked]:
    """Every point of the trials, best first; points with trials missing come after those without, pruned ones last.

    A seed that diverged or failed is missing from the mean, which is then too good: hence that order.
    """
    ranked = [_ranked(point, objective) for point in by_point(trials)]
    sign = -1 if objective.mode == "max" else 1
    return sorted(
        ranked,
        key=lambda point: (point.pruned > 0, not point.is_whole, math.inf if point.mean is None else sign * point.mean),
    )


def _ranked(trials: list[Trial], objective: Objective) -> Ranked:
    statuses = [trial.status for trial in trials]
    values = [best_value(trial.run, objective) for trial in trials if trial.status == "completed"]
    counts = {status: statuses.count(status) for status in ("failed", "diverged", "pruned", "completed")}
    return Ranked(
        settings=trials[0].point.settings,
        values=tuple(value for value in values if value is not None) if not counts["pruned"] else (),
        trials=len(trials),
        failed=counts["failed"],
        diverged=counts["diverged"],
        pruned=counts["pruned"],
        unfinished=len(trials) - sum(counts.values()),
        runs=tuple(trial.directory for trial in trials),
    )


def best_value(run: Run, objective: Objective) -> float | None:
    """The best evaluation of the objective in a run; None if there is none (or it was NaN every time)."""
    best = run.summary.get("best") or {}
    if (best.get("metric"), best.get("mode")) == (objective.metric, objective.mode):
        value = best.get("value")
        return value if isinstance(value, int | float) else None
    values = [row[objective.metric] for row in run.rows() if isinstance(row.get(objective.metric), int | float)]
    finite = [value for value in values if not math.isnan(value)]
    return (min if objective.mode == "min" else max)(finite, default=None)


def value_at(trial: Trial, metric: str, epoch: int) -> float | None:
    """The metric at the trial's evaluation of that epoch: NaN if it diverged before, None if it has not got so far.

    One that was stopped early, before that epoch, has the value it stopped with.
    """
    try:
        rows = [row for row in trial.run.rows() if metric in row and row["epoch"] <= epoch]
    except NotARun:
        return None
    at_epoch = bool(rows) and (rows[-1]["epoch"] == epoch or trial.status == "completed")
    if at_epoch:
        return rows[-1][metric]
    return math.nan if trial.status == "diverged" else None
