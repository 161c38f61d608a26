"""Successive halving: all points train to a rung, the best 1/eta of them go on to the next. Pure functions.

Karnin, Koren and Somekh (2013), "Almost Optimal Exploration in Multi-Armed Bandits"; Jamieson and Talwalkar (2016),
"Non-stochastic Best Arm Identification and Hyperparameter Optimization", from whom the geometric rungs are. A rung is
judged when every point has reached it, so what is kept depends on the values alone and never on who came first.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar

from optrun.config.sweep import Prune

__all__ = ["point_value", "rungs", "survivors"]

K = TypeVar("K")


def rungs(prune: Prune, epochs: int) -> list[int]:
    """The epochs after which points are judged: min_epochs, min_epochs·eta, min_epochs·eta², … below `epochs`."""
    found = []
    rung = prune.min_epochs
    while rung < epochs:
        found.append(rung)
        rung *= prune.eta
    return found


def point_value(seeds: Iterable[float | None]) -> float | None:
    """What a point is judged on at a rung: the mean, over its seeds, of the objective at the evaluation of that epoch.

    A seed that failed is None and left out: it says nothing about the point. One that diverged is NaN (or infinite) and
    makes the point NaN, for settings that diverge now and then are not good ones. With no seed left the point is None:
    it is out of the race.
    """
    measured = [value for value in seeds if value is not None]
    if not measured:
        return None
    if not all(map(math.isfinite, measured)):
        return math.nan
    return statistics.mean(measured)  # exact, so that the order of the seeds cannot matter


def survivors(values: Mapping[K, float | None], eta: int, mode: Literal["min", "max"]) -> list[K]:
    """The points that go on, best first: the best ceil(n/eta) of the n points with a value, so at least one.

    - Equal values stand in the order of `values`, which is the order of the plan.
    - A diverged point (NaN, infinite) is one of the n, and comes after every finite one; but it is never kept: its runs
      are over, and no further epoch can make its mean finite. When all have diverged, nobody goes on.
    - A point without a value (None) is out of the race, and changes nothing for the others.
    """
    judged = {point: value for point, value in values.items() if value is not None}
    finite = {point: value for point, value in judged.items() if math.isfinite(value)}
    kept = -(-len(judged) // eta)
    best_first = sorted(finite, key=lambda point: finite[point] if mode == "min" else -finite[point])
    return best_first[:kept]
