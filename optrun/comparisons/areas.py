"""The area under a curve of training: a figure that a fast start improves as well as a good end."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optrun.comparisons.grouping import Group

__all__ = ["area", "areas"]


def area(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The area under the points by the trapezoidal rule, divided by the length: the mean height, in the unit of y.

    NaN for fewer than two points, where x stands still, and where a value is not finite.
    """
    length = xs[-1] - xs[0] if len(xs) > 1 else 0
    if length <= 0 or not all(map(math.isfinite, ys)):
        return math.nan
    parts = ((b - a) * (low / 2 + high / 2) for a, b, low, high in zip(xs, xs[1:], ys, ys[1:]))
    return math.fsum(parts) / length


def areas(group: Group, metric: str) -> dict[int, float]:
    """Of each completed run by its seed, over steps. Runs of one length can be compared."""
    completed = [outcome for outcome in group.outcomes if outcome.status == "completed"]
    return {outcome.seed: area(*outcome.history.curve(metric)) for outcome in completed}
