"""How many runs would tell a difference: the power of t tests, by the noncentral t distribution."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import special

from optrun.comparisons.statistics.pairs import Method, PairTests, separation_p
from optrun.comparisons.statistics.samples import Array, Samples

__all__ = ["ALPHA", "MOST_SEEDS", "POWER", "detectable", "more_seeds", "power"]

ALPHA = 0.05
"""A difference is called one when its corrected p is below."""
POWER = 0.8
"""The chance to tell it that `more_seeds` aims at."""
MOST_SEEDS = 1000
"""More seeds than these are not proposed."""


def power(effect: Array | float, df: Array | float, level: Array | float) -> Array:
    """The chance that a two-sided t test at that level tells a difference of `effect` standard errors.

    J. Cohen (1988), "Statistical Power Analysis for the Behavioral Sciences", chapter 2.
    """
    critical = -special.stdtrit(df, np.asarray(level) / 2)
    effect = np.abs(effect)
    wrong_sign = special.nctdtr(df, effect, -critical)  # NaN where it is too small for its series
    return special.nctdtr(df, -effect, -critical) + np.nan_to_num(wrong_sign, nan=0.0)


def _powerful(effect: Array, df: Array, level: Array) -> Array:
    """Whether the power is large enough, by its larger part: the test that finds the wrong sign adds nothing there."""
    return special.nctdtr(df, -effect, special.stdtrit(df, level / 2)) >= POWER


def detectable(n: int, comparisons: int = 1, *, paired: bool = False) -> float:
    """The difference that two groups of n seeds tell with a chance of 80 %, at the level 0.05 / comparisons.

    In standard deviations: of the values, or of the differences where paired. Raises ValueError for n < 2.
    """
    if n < 2:
        raise ValueError(f"{n} seeds have no spread")
    df, root = (n - 1, math.sqrt(n)) if paired else (2 * n - 2, math.sqrt(n / 2))
    low, high = 0.0, 1.0
    while power(high * root, df, ALPHA / comparisons) < POWER:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle * root, df, ALPHA / comparisons) < POWER else (low, middle)
    return high


def more_seeds(
    samples: Samples, first: Array, second: Array, tests: PairTests, factor: Array, told: Array
) -> list[int | None]:
    """For each pair of groups, about how many more seeds for each would tell the difference seen, 4 times out of 5.

    It takes the difference and the spread for what they seem to be, and 0.05 / factor for the level. None where the
    difference is told, where no number is known, and for more than 1000.
    """
    effect, level = np.abs(tests.mean), ALPHA / factor
    n, other = samples.n[first], samples.n[second]
    variance, variance_other = samples.variances[first], samples.variances[second]

    def paired(chosen: Array, more: Array) -> Array:
        error = (tests.error * np.sqrt(n))[chosen] / np.sqrt(n[chosen] + more)
        return _powerful(effect[chosen] / error, n[chosen] + more - 1, level[chosen])

    def welch(chosen: Array, more: Array) -> Array:
        count, count_other = n[chosen] + more, other[chosen] + more
        squared, squared_other = variance[chosen] / count, variance_other[chosen] / count_other
        total = squared + squared_other
        df = 1 / ((squared / total) ** 2 / (count - 1) + (squared_other / total) ** 2 / (count_other - 1))
        return _powerful(effect[chosen] / np.sqrt(total), df, level[chosen])

    def signs(chosen: Array, more: Array) -> Array:
        return 2.0 ** (1 - n[chosen] - more) < level[chosen]

    def separation(chosen: Array, more: Array) -> Array:
        sizes = zip(n[chosen] + more, other[chosen] + more)
        return np.array([separation_p(int(size), int(size_other)) for size, size_other in sizes]) < level[chosen]

    found: list[int | None] = [None] * len(first)
    open_ = ~told & (effect > 0) & (samples.diverged[first] + samples.diverged[second] == 0)
    ways = {Method.PAIRED: paired, Method.WELCH: welch, Method.SIGNS: signs, Method.SEPARATION: separation}
    for method, enough in ways.items():
        chosen = np.flatnonzero(open_ & (tests.method == method))
        if len(chosen):
            for pair, seeds in zip(chosen, _fewest(enough, chosen)):
                found[pair] = int(seeds) if seeds <= MOST_SEEDS else None
    return found


def _fewest(enough: Callable[[Array, Array], Array], chosen: Array) -> Array:
    """For each of the chosen pairs the smallest number of seeds that is enough; more than MOST_SEEDS if none is."""
    low, high = np.zeros(len(chosen), dtype=int), np.full(len(chosen), MOST_SEEDS + 1)
    while np.any(high - low > 1):
        middle = np.maximum((low + high) // 2, 1)
        is_enough = enough(chosen, middle)
        low, high = np.where(is_enough, low, middle), np.where(is_enough, middle, high)
    return high
