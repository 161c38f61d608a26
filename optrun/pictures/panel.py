"""What a picture shows, before anybody decides whether to draw it in a terminal or in a file."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Curve", "Panel", "Point", "log_helps", "means"]

Point = tuple[float, float]

LARGEST = 1e300
"""Larger values are taken for infinite: sums of them would be."""


@dataclass(frozen=True)
class Curve:
    """Values over x. Those that are not finite are left out of the picture."""

    label: str
    xs: Sequence[float]
    ys: Sequence[Any]
    noisy: bool = False
    """Where there is no room for every value, draw means; otherwise the lowest and the highest are drawn."""
    pointed: bool = False
    """Show where the values are: there are few, such as evaluations."""

    def points(self, *, log_x: bool = False, log_y: bool = False) -> list[Point]:
        """What can be drawn: finite, and positive on a logarithmic axis."""
        return [
            (x, y)
            for x, y in zip(self.xs, self.ys)
            if isinstance(y, int | float) and abs(x) < LARGEST and abs(y) < LARGEST
            if (x > 0 or not log_x) and (y > 0 or not log_y)
        ]


@dataclass(frozen=True)
class Panel:
    """One pair of axes with its curves."""

    title: str
    curves: Sequence[Curve]
    x_name: str = "step"
    log_x: bool = False
    log_y: bool = False
    epochs: Mapping[int, float] = field(default_factory=dict)
    """At which x each epoch ended."""

    @property
    def empty(self) -> bool:
        return not any(curve.points(log_x=self.log_x, log_y=self.log_y) for curve in self.curves)


def log_helps(curves: Sequence[Curve]) -> bool:
    """Whether a linear axis would waste itself on a few large values: more than half lie in its lowest tenth."""
    values = [y for curve in curves for _, y in curve.points()]
    if not values or min(values) <= 0:
        return False
    low, high = min(values), max(values)
    return high > 30 * low and statistics.median(values) < low + (high - low) / 10


def means(points: Sequence[Point], bins: int) -> tuple[list[Point], float]:
    """At most `bins` points, each the mean of those in its share of x; and how many one stands for, on average."""
    if len(points) <= bins:
        return list(points), 1
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    shares: dict[int, list[Point]] = {}
    for x, y in points:
        shares.setdefault(int((x - low) / (high - low or 1) * (bins - 1) + 0.5), []).append((x, y))
    joined = [
        (statistics.fmean(x for x, _ in share), statistics.fmean(y for _, y in share)) for share in shares.values()
    ]
    return joined, len(points) / len(joined)
