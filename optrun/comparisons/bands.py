"""The curve of a group: the mean over its seeds, between the lowest and the highest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from optrun.comparisons.grouping import Group

__all__ = ["Band", "band", "bands_over"]


@dataclass(frozen=True)
class Band:
    """Values over x, of the runs that have one there."""

    xs: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    n: tuple[int, ...]
    """Of how many runs; fewer where some are shorter, or diverged."""


def band(group: Group, metric: str) -> Band:
    """Over the steps, of the group's runs that are a result; read from their rows, without those that are damaged."""
    histories = [outcome.history for outcome in group.outcomes if outcome.counts]
    curves = [(history.curve(metric), history.problem) for history in histories]
    return bands_over(curve for curve, problem in curves if problem is None)


def bands_over(curves: Iterable[tuple[Sequence[float], Sequence[float]]]) -> Band:
    """Of curves (xs, ys): each is taken where it has a value, nothing is interpolated, what is not finite is left out.

    Only where more than half of the curves have a value: a mean of the few that last longest would jump.
    """
    at: dict[float, list[float]] = {}
    count = 0
    for xs, ys in curves:
        count += 1
        for x, y in dict(zip(xs, ys)).items():  # of several values at one x the last
            if math.isfinite(y):
                at.setdefault(x, []).append(y)
    xs = tuple(sorted(x for x, values in at.items() if 2 * len(values) > count))
    return Band(
        xs=xs,
        mean=tuple(math.fsum(at[x]) / len(at[x]) for x in xs),
        low=tuple(min(at[x]) for x in xs),
        high=tuple(max(at[x]) for x in xs),
        n=tuple(len(at[x]) for x in xs),
    )
