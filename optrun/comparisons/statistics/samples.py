"""The values of one group, and of many: what is asked of them before any test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy import special

__all__ = ["Array", "Mode", "Samples", "Summary", "Values", "interval", "ranking", "summary"]

Mode = Literal["min", "max"]

Values = Mapping[int, float | None]
"""A group's results by seed. A diverged run is None, and any value that is not finite counts as one: no test can use
its size, only that it is the worst. A failed run has no result and is left out by whoever counts it as failed."""

Array = np.ndarray[Any, np.dtype[Any]]

_ROUNDING = 8 * np.finfo(float).eps
"""Two values that differ by this share of the larger one are equal but for rounding: 0.8 - 0.7 and 0.9 - 0.8 do."""

_ROOM = 500
"""The largest magnitude is brought to 2**500: its square is finite, and that of one 300 digits smaller is not zero."""


@dataclass(frozen=True)
class Summary:
    """A group's results in figures. Mean, deviation and interval are of the runs that did not diverge.

    Best, median and worst are of all runs, diverged ones counting as the worst: None where that is a diverged run.
    """

    n: int
    """Runs with a finite value."""
    diverged: int
    mean: float | None
    std: float | None
    """The standard deviation over the seeds, with n - 1; None for n < 2."""
    ci95: tuple[float, float] | None
    best: float | None
    median: float | None
    worst: float | None


def summary(values: Values, mode: Mode) -> Summary:
    """The figures of one group."""
    finite, diverged = _split(values.values())
    mean, deviation = _mean_and_deviation(finite) if finite else (None, None)
    ordered: list[float | None] = [*sorted(finite, reverse=mode == "max"), *[None] * diverged]
    middle = ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1]
    return Summary(
        n=len(finite),
        diverged=diverged,
        mean=mean,
        std=deviation if len(finite) > 1 else None,
        ci95=interval(finite),
        best=ordered[0] if ordered else None,
        median=_between(middle[0], middle[-1]) if middle else None,
        worst=ordered[-1] if ordered else None,
    )


def _between(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one / 2 + other / 2 if one != other else one


def interval(values: Iterable[float], level: float = 0.95) -> tuple[float, float] | None:
    """Student's interval for the mean of finite values; None for fewer than two."""
    listed = list(values)
    if len(listed) < 2:
        return None
    mean, deviation = _mean_and_deviation(listed)
    half = float(special.stdtrit(len(listed) - 1, (1 + level) / 2)) * deviation / math.sqrt(len(listed))
    return mean - half, mean + half


def ranking(groups: Sequence[Values], mode: Mode) -> tuple[int, ...]:
    """The groups' indices, best first: the smaller share of diverged runs, then the better mean; without results last.

    A diverged run is the worst value there is, so a mean that leaves it out may not pass one that leaves nothing out.
    """
    return Samples(groups, mode).order()


def _split(values: Iterable[float | None]) -> tuple[list[float], int]:
    """The finite values, and how many are not."""
    listed = [_number(value) for value in values]
    finite = [value for value in listed if math.isfinite(value)]
    return finite, len(listed) - len(finite)


def _number(value: float | None) -> float:
    try:
        return math.nan if value is None else float(value)
    except OverflowError:  # an integer of 400 digits
        return math.nan


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Of finite values, also where their squares would overflow or vanish; the deviation of one value is 0."""
    exponent = math.frexp(max(map(abs, values)))[1]
    scaled = [math.ldexp(value, -exponent) for value in values]
    mean = math.fsum(scaled) / len(scaled)
    variance = math.fsum((value - mean) ** 2 for value in scaled) / max(len(scaled) - 1, 1)
    return _enlarged(mean, exponent), _enlarged(math.sqrt(variance) if min(values) < max(values) else 0.0, exponent)


def _enlarged(value: float, exponent: int) -> float:
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)


class Samples:
    """Groups as arrays, for tests between any two of them.

    Values are divided by a common power of two, which changes no digit, and for `max` negated: less is better. A
    diverged run is +inf.
    """

    def __init__(self, groups: Sequence[Values], mode: Mode) -> None:
        self.seeds = [tuple(sorted(group)) for group in groups]
        self.n = np.array([len(seeds) for seeds in self.seeds], dtype=int)
        """Runs of each group, diverged ones with them."""
        self.table = np.full((len(groups), max(self.n, default=0)), np.nan)
        """A row a group, its values in the order of their seeds, then NaN."""
        for row, group, seeds in zip(self.table, groups, self.seeds):
            row[: len(seeds)] = [_number(group[seed]) for seed in seeds]
        finite = np.isfinite(self.table)
        self.sign = -1.0 if mode == "max" else 1.0
        self.exponent = int(np.frexp(np.max(np.abs(self.table[finite]), initial=0.0))[1]) - _ROOM
        self.table[finite] = self.sign * np.ldexp(self.table[finite], -self.exponent)
        runs = np.arange(self.table.shape[1]) < self.n[:, None]
        self.table[runs & ~finite] = np.inf
        self.diverged = np.sum(runs & ~finite, axis=1)

    def order(self) -> tuple[int, ...]:
        """The groups' indices, best first, as `ranking` says."""
        share = np.where(self.n > 0, self.diverged / np.maximum(self.n, 1), np.inf)
        return tuple(int(index) for index in np.lexsort((self.means, share)))

    @cached_property
    def same_seeds(self) -> Array:
        """A number for each group, equal where the seeds are."""
        numbers: dict[tuple[int, ...], int] = {}
        return np.array([numbers.setdefault(seeds, len(numbers)) for seeds in self.seeds], dtype=int)

    @cached_property
    def means(self) -> Array:
        """Of the groups' finite values; 0 where there are none."""
        return self._finite.sum(axis=1) / np.maximum(self.n - self.diverged, 1)

    @cached_property
    def variances(self) -> Array:
        """Of the groups' finite values; 0 where there are fewer than two, and where they differ by rounding alone."""
        count = self.n - self.diverged
        finite = np.isfinite(self.table)
        squares = np.where(finite, self.table - self.means[:, None], 0.0) ** 2 if finite.size else self._finite
        variances = squares.sum(axis=1) / np.maximum(count - 1, 1)
        return np.where(np.sqrt(variances) <= _ROUNDING * self.largest, 0.0, variances)

    @cached_property
    def largest(self) -> Array:
        """The largest magnitude in each group."""
        return np.abs(self._finite).max(axis=1, initial=0.0)

    @cached_property
    def _finite(self) -> Array:
        return np.where(np.isfinite(self.table), self.table, 0.0)

    @cached_property
    def rank_means(self) -> Array:
        """The mean rank of each group's runs among those of all groups: 1 is the best run, diverged ones tie last."""
        return np.nansum(self._ranks, axis=1) / np.maximum(self.n, 1)

    @cached_property
    def rank_variances(self) -> Array:
        """The variance of each group's ranks."""
        return np.nansum((self._ranks - self.rank_means[:, None]) ** 2, axis=1) / np.maximum(self.n - 1, 1)

    @cached_property
    def _ranks(self) -> Array:
        """Like `table`; equal values share the mean of their ranks."""
        runs = ~np.isnan(self.table)
        _, which, counts = np.unique(self.table[runs], return_inverse=True, return_counts=True)
        ranks = np.full_like(self.table, np.nan)
        ranks[runs] = (np.cumsum(counts) - (counts - 1) / 2)[which]
        return ranks

    def rounding(self, first: Array, second: Array) -> Array:
        """For pairs of groups, below which a difference of values is none."""
        return _ROUNDING * np.maximum(self.largest[first], self.largest[second])

    def restored(self, values: Array) -> Array:
        """Differences of scaled values as differences of the values that were given."""
        with np.errstate(over="ignore"):
            return self.sign * np.ldexp(values, self.exponent) + 0.0  # 0.0 makes -0.0 positive
