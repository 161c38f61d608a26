"""Time to target: how many steps, and how many seconds of training, until a metric first is as good as wanted.

The measure of AlgoPerf (Dahl et al. 2023, "Benchmarking Neural Network Training Algorithms", arXiv:2306.07179). A run
that never gets there took infinitely long, so of several seeds the median is told, not the mean.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from optrun.comparisons.grouping import Group
from optrun.comparisons.outcomes import Outcome
from optrun.comparisons.statistics import Mode

__all__ = ["Reached", "Target", "common_target", "first_reached", "to_target"]


@dataclass(frozen=True)
class Target:
    """What a metric shall reach, or pass in its direction."""

    metric: str
    value: float
    mode: Mode


@dataclass(frozen=True)
class Reached:
    """How long the runs of a group took; one entry a seed, infinity for those that never got there."""

    steps: tuple[float, ...]
    times: tuple[float, ...]
    """Seconds of training, without evaluation, logging and checkpoints."""

    @property
    def reached(self) -> int:
        """How many runs got there."""
        return sum(map(math.isfinite, self.steps))

    @property
    def step(self) -> float:
        """The median; infinite if half of the runs or more did not get there, NaN without any run."""
        return _median(self.steps)

    @property
    def time(self) -> float:
        """The median in seconds."""
        return _median(self.times)


def _median(values: Sequence[float]) -> float:
    """The middle one; of two middle ones their mean, which is infinite if one is."""
    return statistics.median(values) if values else math.nan


def common_target(outcomes: Sequence[Outcome], mode: Mode | None = None) -> Target | None:
    """The target in the configs of all runs, if they have the same; `mode` is its direction, by default its own."""
    found = {(o.settings.get("target.metric"), o.settings.get("target.value")) for o in outcomes}
    if len(found) != 1:
        return None
    metric, value = found.pop()
    if not isinstance(metric, str) or not isinstance(value, int | float):
        return None
    from optrun.comparisons.choosing import direction

    return Target(metric, float(value), mode or direction(metric, None, outcomes))


def to_target(group: Group, target: Target) -> Reached:
    """How long each run of the group that is a result took."""
    found = [first_reached(outcome, target) for outcome in group.outcomes if outcome.counts]
    return Reached(tuple(step for step, _ in found), tuple(time for _, time in found))


def first_reached(outcome: Outcome, target: Target) -> tuple[float, float]:
    """The step and the time at which the run first had the target; infinite if never.

    From the summary if the run itself watched for that target, else from its rows.
    """
    summary = outcome.summary.get("target")
    own = (outcome.settings.get("target.metric"), outcome.settings.get("target.value"))
    if isinstance(summary, dict) and own == (target.metric, target.value):
        step, time = summary.get("step"), summary.get("time")
        if summary.get("reached") is False:
            return math.inf, math.inf
        if isinstance(step, int) and isinstance(time, int | float):
            return step, time
    for row in outcome.history.rows_with(target.metric):
        value = row[target.metric]
        if value >= target.value if target.mode == "max" else value <= target.value:
            time = row.get("time")
            return row["step"], time if isinstance(time, int | float) else math.nan
    return math.inf, math.inf
