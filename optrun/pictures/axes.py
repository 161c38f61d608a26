"""Axes with round numbers: which values are written beside a picture, and where on it they stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optrun.config.labels import brief

__all__ = ["Axis", "between", "rounded", "rounded_log"]

TINY = 1e-300
"""What is smaller is taken for as small: the arithmetic here would underflow."""


@dataclass(frozen=True)
class Axis:
    """A range of values with its ticks, and where on it a value stands: 0 is the lower end, 1 the upper."""

    low: float
    high: float
    ticks: Sequence[float]
    log: bool = False

    def place(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)

    def labels(self) -> list[str]:
        """The ticks as text, alike on a linear axis: the same decimals for all, or the same exponent."""
        steps = [b - a for a, b in zip(self.ticks, self.ticks[1:])]
        if self.log or not steps:
            return [brief(tick) for tick in self.ticks]
        largest, step = max(map(abs, self.ticks)), min(steps)
        if largest >= 1e7 or largest < 1e-3:
            exponent = math.floor(math.log10(largest))
            decimals = max(0, exponent - math.floor(math.log10(step) + 1e-9))
            return [f"{tick / 10**exponent:.{decimals}f}e{exponent}" if tick else "0" for tick in self.ticks]
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        decimals += not math.isclose(round(step, decimals), step)  # a step of 0.25 or 2.5
        return [f"{tick:.{decimals}f}" for tick in self.ticks]


def rounded(low: float, high: float, most: int, leading: Sequence[float] = (1, 2, 2.5, 5, 10, 20)) -> Axis:
    """A linear axis around `low` and `high` that begins and ends with a tick; at most `most` intervals, each `leading`
    times a power of ten."""
    if high - low <= max(abs(low), abs(high), TINY) * 1e-9:
        low, high = (min(0, 2 * low), max(0, 2 * high)) if abs(high) > TINY else (-1.0, 1.0)
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(step * times for times in leading if _above(high, step * times) - _below(low, step * times) <= most)
    first, last = _below(low, step), _above(high, step)
    return Axis(first * step, last * step, [n * step for n in range(first, last + 1)])


def rounded_log(low: float, high: float, most: int) -> Axis:
    """A logarithmic axis around `low` and `high` that begins and ends with a tick, powers of ten if there is room."""
    low, high = max(low, TINY), max(high, TINY)
    if high <= low * 1.00001:
        low, high = low / 2, high * 2
    decades = range(math.floor(math.log10(low)) - 6, math.ceil(math.log10(high)) + 7)
    for leading, every in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3), ((1,), 5), ((1,), 6)):
        ticks = [digit * 10.0**decade for decade in decades if decade % every == 0 for digit in leading]
        first = max(i for i, tick in enumerate(ticks) if tick <= low * 1.000001)
        last = min(i for i, tick in enumerate(ticks) if tick >= high / 1.000001)
        if last - first <= most:
            return Axis(ticks[first], ticks[last], ticks[first : last + 1], log=True)
    return Axis(low, high, [low, high], log=True)


def between(low: float, high: float, most: int, log: bool) -> Axis:
    """An axis from `low` to `high` exactly, with the ticks that lie on it; whole numbers, unless it is logarithmic."""
    if log:
        low, high = (low / 2, high * 2) if high <= low * 1.00001 else (low, high)
        wide = rounded_log(low, high, most)
    else:
        low, high = (low, low + 1) if low == high else (low, high)
        wide = rounded(low, high, max(1, min(most, int(high - low))), (1, 2, 5, 10, 20))
    slack = (high - low) * 1e-9
    return Axis(low, high, [tick for tick in wide.ticks if low - slack <= tick <= high + slack], log)


def _above(value: float, step: float) -> int:
    return math.ceil(value / step - 1e-9)


def _below(value: float, step: float) -> int:
    return math.floor(value / step + 1e-9)
