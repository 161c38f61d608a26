"""Tests between two groups, for many pairs at a time.

Which test a pair gets is decided by its seeds, by whether a run diverged, and by whether there is any spread; never by
which test would say more.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass

import numpy as np
from scipy import special

from optrun.comparisons.statistics.samples import Array, Samples

__all__ = ["Method", "PairTests", "between", "separation_p"]

_AT_ONCE = 2_000_000
"""Numbers held at a time, so that memory stays small whatever the number of pairs."""


class Method(enum.IntEnum):
    """How a pair of groups was tested."""

    NONE = 0
    """A group has fewer than two runs."""
    PAIRED = 1
    """Student's t test of the differences, seed by seed: both groups have the same seeds."""
    WELCH = 2
    """Welch's t test: the seeds differ."""
    SIGNS = 3
    """The difference is the same at every seed, so there is no spread for a t test: the exact test of signs."""
    SEPARATION = 4
    """Neither group has any spread, or one always diverged and the other never: Barnard's exact test."""
    RANKS = 5
    """Runs diverged: Welch's t test of the ranks among all runs, in which diverged ones tie as the worst."""
    IDENTICAL = 6
    """All values are equal: run by run where the seeds are the same."""


@dataclass(frozen=True)
class PairTests:
    """One entry for each pair, in the scaled units of `Samples`; first minus second, less is better."""

    method: Array
    mean: Array
    """The difference of the means, of finite values; less than 0 where the first group is better."""
    error: Array
    """The standard error of the difference; NaN where no t test was made."""
    df: Array
    p: Array
    """Two-sided and not corrected; NaN where nothing could be tested."""


def between(samples: Samples, first: Array, second: Array) -> PairTests:
    """Test the pairs (first[i], second[i]) of groups."""
    size = len(first)
    tests = PairTests(
        method=np.zeros(size, dtype=np.int8),
        mean=samples.means[first] - samples.means[second],
        error=np.full(size, np.nan),
        df=np.full(size, np.nan),
        p=np.full(size, np.nan),
    )
    diverged = (samples.diverged[first] > 0) | (samples.diverged[second] > 0)
    same_seeds = samples.same_seeds[first] == samples.same_seeds[second]
    enough = (samples.n[first] > 1) & (samples.n[second] > 1)
    parts = {
        _paired: same_seeds & ~diverged & (samples.n[first] > 0),
        _welch: ~same_seeds & ~diverged & enough,
        _by_ranks: diverged & enough,
    }
    for test, chosen in parts.items():
        if chosen.any():
            test(samples, first, second, np.flatnonzero(chosen), tests)
    return tests


@functools.cache
def separation_p(first: int, second: int) -> float:
    """The two-sided p of groups of these sizes where all runs of one have one value, and all of the other another.

    Barnard's exact test of such a table: the largest probability of it, or of its mirror image, that any common chance
    of the one value gives; `2 / 4**n` for groups of n. Barnard (1947), "Significance tests for 2 × 2 tables";
    scipy.stats.barnard_exact.
    """
    chance = 0.5 if first == second else np.linspace(0, 1, 10_001)
    return float(np.max(chance**first * (1 - chance) ** second + (1 - chance) ** first * chance**second))


def _paired(samples: Samples, first: Array, second: Array, chosen: Array, tests: PairTests) -> None:
    sizes = samples.n[first[chosen]]
    for n in np.unique(samples.n[samples.n > 0]):
        columns = np.ascontiguousarray(samples.table[:, :n].T)
        of_this_size = chosen[sizes == n]
        for some in _in_parts(of_this_size, n):
            differences = columns[:, first[some]] - columns[:, second[some]]
            mean = differences.mean(axis=0)
            deviation = np.sqrt(((differences - mean) ** 2).sum(axis=0) / max(n - 1, 1))
            rounding = samples.rounding(first[some], second[some])
            spread = (deviation > rounding) & (n > 1)
            tests.mean[some] = mean
            _t_tests(tests, some[spread], Method.PAIRED, deviation[spread] / np.sqrt(n), np.full(spread.sum(), n - 1.0))
            same = ~spread & (np.abs(differences).max(axis=0) <= rounding)
            _settle(tests, some[same], Method.IDENTICAL, 1.0 if n > 1 else np.nan)
            constant = (samples.variances[first[some]] == 0) & (samples.variances[second[some]] == 0)
            if n > 1:
                _settle(tests, some[~spread & ~same & constant], Method.SEPARATION, separation_p(n, n))
                _settle(tests, some[~spread & ~same & ~constant], Method.SIGNS, 2.0 ** (1 - n))


def _welch(samples: Samples, first: Array, second: Array, chosen: Array, tests: PairTests) -> None:
    one, other = samples.n[first[chosen]], samples.n[second[chosen]]
    squared, squared_other = samples.variances[first[chosen]] / one, samples.variances[second[chosen]] / other
    spread = (squared > 0) | (squared_other > 0)
    total = np.where(spread, squared + squared_other, 1.0)
    df = 1 / ((squared / total) ** 2 / (one - 1) + (squared_other / total) ** 2 / (other - 1))[spread]
    _t_tests(tests, chosen[spread], Method.WELCH, np.sqrt(total[spread]), df)
    same = ~spread & (np.abs(tests.mean[chosen]) <= samples.rounding(first[chosen], second[chosen]))
    _settle(tests, chosen[same], Method.IDENTICAL, 1.0)
    for pair in chosen[~spread & ~same]:
        p = separation_p(int(samples.n[first[pair]]), int(samples.n[second[pair]]))
        _settle(tests, pair, Method.SEPARATION, p)


def _t_tests(tests: PairTests, chosen: Array, method: Method, error: Array, df: Array) -> None:
    tests.method[chosen] = method
    tests.error[chosen] = error
    tests.df[chosen] = df
    tests.p[chosen] = 2 * special.stdtr(df, -np.abs(tests.mean[chosen] / error))


def _settle(tests: PairTests, chosen: Array, method: Method, p: float) -> None:
    tests.method[chosen] = method
    tests.p[chosen] = p
    if method == Method.IDENTICAL:
        tests.mean[chosen] = 0.0


def _by_ranks(samples: Samples, first: Array, second: Array, chosen: Array, tests: PairTests) -> None:
    """Welch's statistic of the ranks, and the fewest degrees of freedom it can have.

    The ranks are those among all groups: how far two groups are apart shows in what lies between. Welch's t of ranks:
    Zimmerman and Zumbo (1993); with the smaller group's degrees of freedom it errs to the safe side: Mickey and Brown
    (1966).
    """
    one, other = first[chosen], second[chosen]
    n, n_other = samples.n[one], samples.n[other]
    distance = np.abs(samples.rank_means[one] - samples.rank_means[other])
    squared = samples.rank_variances[one] / n + samples.rank_variances[other] / n_other
    spread = squared > 0
    t = distance / np.sqrt(np.where(spread, squared, 1.0))
    tests.method[chosen] = Method.RANKS
    tests.p[chosen] = np.where(distance > 0, 2 * special.stdtr(np.minimum(n, n_other) - 1, -t), 1.0)
    for pair in chosen[~spread & (distance > 0)]:
        tests.p[pair] = separation_p(int(samples.n[first[pair]]), int(samples.n[second[pair]]))
    same = (samples.same_seeds[one] == samples.same_seeds[other]) & (samples.diverged[one] < n) & (distance == 0)
    same[same] = [np.array_equal(*samples.table[[i, j]], equal_nan=True) for i, j in zip(one[same], other[same])]
    _settle(tests, chosen[same], Method.IDENTICAL, 1.0)


def _in_parts(chosen: Array, each: int) -> list[Array]:
    """`chosen` in parts of which each holds about `_AT_ONCE` numbers, at `each` numbers a pair."""
    return np.array_split(chosen, 1 + len(chosen) * int(each) // _AT_ONCE) if len(chosen) else []
