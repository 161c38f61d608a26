"""Every group against the leader, or against a baseline: differences, corrected tests, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from optrun.comparisons.statistics.correction import holm
from optrun.comparisons.statistics.family import MOST_PAIRS, Family
from optrun.comparisons.statistics.pairs import Method, PairTests, between, separation_p
from optrun.comparisons.statistics.sample_size import ALPHA, more_seeds
from optrun.comparisons.statistics.samples import Array, Mode, Samples, Values

__all__ = ["Difference", "Standing", "Standings", "Verdict", "difference", "standings"]

Verdict = Literal["leader", "baseline", "better", "worse", "not distinguishable", "not tested", "no result"]
"""`not tested`: of it or of the other group there is one run only."""


@dataclass(frozen=True)
class Difference:
    """One group's mean minus another's, and what can be said of it."""

    mean: float | None
    """None where a run diverged: a mean that leaves the worst runs out would flatter."""
    ci95: tuple[float, float] | None
    """Widened as p is corrected, at the level 1 - 0.05 / factor: it leaves out 0 exactly where p < 0.05. None where no
    t test was made; (0, 0) for identical groups."""
    p: float | None
    """Corrected for the number of comparisons; None where a group has fewer than two runs."""
    uncorrected_p: float | None
    factor: float | None
    """What p was multiplied with."""
    method: Method
    n: tuple[int, int]
    """Runs with a result, diverged ones with them."""

    @property
    def paired(self) -> bool:
        """Whether runs of the same seed were compared with each other."""
        return self.method in (Method.PAIRED, Method.SIGNS)

    @property
    def identical(self) -> bool:
        """Whether all values are equal, but for rounding."""
        return self.method == Method.IDENTICAL

    @property
    def told(self) -> bool:
        """Whether it is distinguishable from no difference."""
        return self.p is not None and self.p < ALPHA


@dataclass(frozen=True)
class Standing:
    """Where one group stands."""

    difference: Difference | None
    """To the leader or the baseline; None for that one itself, and where nothing can be compared."""
    verdict: Verdict
    more_seeds: int | None
    """About how many more seeds for each group would tell the difference; None where it is told or nobody knows."""


@dataclass(frozen=True)
class Standings:
    """All groups, in the order they were given."""

    order: tuple[int, ...]
    """Their indices, best first."""
    reference: int | None
    """The index of the leader or the baseline; None if no group has a finite result."""
    comparisons: int
    """The number of tests that p is corrected for."""
    groups: tuple[Standing, ...]


def difference(a: Values, b: Values, mode: Mode = "max") -> Difference:
    """The difference a - b of two groups by themselves: one comparison, p not corrected."""
    samples = Samples([a, b], mode)
    one, other = np.array([0]), np.array([1])
    tests = between(samples, one, other)
    return _differences(samples, one, other, tests, tests.p, np.ones(1))[0]


def standings(
    groups: Sequence[Values],
    mode: Mode,
    *,
    baseline: int | None = None,
    unchosen: Sequence[Sequence[Values]] = (),
) -> Standings:
    """Test every group against the leader, or against the one with the index `baseline`.

    The leader, the best of the groups that can be tested, is chosen by the same data, so all k (k - 1) / 2 pairs count
    as tested: among equal groups the first is far from the last, and a test that knew nothing of the choice would call
    that a difference. A baseline is chosen before, and k - 1 tests count. Where a group is the best of several
    settings, `unchosen` are its others, and these count as compared with every other group too.
    """
    rest = [values for its in unchosen for values in its]
    samples = Samples([*groups, *rest], mode)
    of = np.array([*range(len(groups)), *(group for group, its in enumerate(unchosen) for _ in its)], dtype=int)
    order = tuple(index for index in samples.order() if index < len(groups))
    standing = [Standing(None, "not tested" if samples.n[index] else "no result", None) for index in range(len(groups))]
    reference = _leader(samples, order) if baseline is None else baseline
    if reference is None:
        return Standings(order, None, 0, tuple(standing))
    others = np.array([index for index in range(len(groups)) if index != reference and samples.n[index]], dtype=int)
    references = np.full(len(others), reference)
    tests = between(samples, others, references)
    family = Family(of, samples.n > 1, len(groups), baseline)
    corrected, factor, comparisons = _corrected(samples, family, others, reference, tests)
    corrected, factor = _judged_by_divergence(samples, others, reference, tests, corrected, factor)
    standing[reference] = Standing(None, "leader" if baseline is None else "baseline", None)
    found = _differences(samples, others, references, tests, corrected, factor)
    seeds = more_seeds(samples, others, references, tests, factor, corrected < ALPHA)
    for index, its, more in zip(others, found, seeds):
        standing[index] = Standing(its, _verdict(samples, int(index), reference, its), more)
    return Standings(order, reference, comparisons, tuple(standing))


def _leader(samples: Samples, order: Sequence[int]) -> int | None:
    """The best of the groups that can be tested, or if none can the best; one run alone would settle nothing."""
    with_value = [index for index in order if samples.n[index] > samples.diverged[index]]
    return next((index for index in with_value if samples.n[index] > 1), with_value[0] if with_value else None)


def _corrected(
    samples: Samples, family: Family, others: Array, reference: int, tests: PairTests
) -> tuple[Array, Array, int]:
    """Corrected p values of the tests against the reference, their factors, and how many tests they stand for."""
    if family.size > MOST_PAIRS:
        return np.minimum(tests.p * family.size, 1.0), np.full(len(others), float(family.size)), family.size
    first, second = family.pairs()
    shown = ((first == reference) & np.isin(second, others)) | ((second == reference) & np.isin(first, others))
    p_of_rest = between(samples, first[~shown], second[~shown]).p
    return *holm(tests.p, p_of_rest), int(np.sum(~np.isnan(tests.p)) + np.sum(~np.isnan(p_of_rest)))


def _judged_by_divergence(
    samples: Samples, others: Array, reference: int, tests: PairTests, corrected: Array, factor: Array
) -> tuple[Array, Array]:
    """A group that diverged at every seed against one that never did: by that alone, where the ranks say less.

    Two equal groups come out so with a chance of at most 2 / 4^n, and only where a run diverges about every other time;
    then other groups like them diverge at some of their seeds. So p is corrected for the pairs that could be made of
    such groups and these two: not for the others, which always diverge or never.
    """
    some = int(np.sum((samples.diverged > 0) & (samples.diverged < samples.n)))
    shares = samples.diverged / np.maximum(samples.n, 1)
    decided = (np.abs(shares[others] - shares[reference]) == 1) & (tests.method == Method.RANKS)
    pairs = (some + 2) * (some + 1) / 2
    for place in np.flatnonzero(decided):
        p = separation_p(int(samples.n[others[place]]), int(samples.n[reference]))
        if pairs * p < corrected[place]:
            tests.method[place], tests.p[place] = Method.SEPARATION, p
            corrected[place], factor[place] = pairs * p, pairs
    return corrected, factor


def _differences(
    samples: Samples, first: Array, second: Array, tests: PairTests, corrected: Array, factor: Array
) -> list[Difference]:
    half = -special.stdtrit(tests.df, ALPHA / factor / 2) * tests.error
    mean, half = samples.restored(tests.mean), np.abs(samples.restored(half))
    low, high = mean - half, mean + half
    whole = (samples.n > 0) & (samples.diverged == 0)
    has_mean = (whole[first] & whole[second]) | (tests.method == Method.IDENTICAL)
    found = []
    for place, (one, other) in enumerate(zip(first, second)):
        method = Method(int(tests.method[place]))
        tested = not np.isnan(tests.p[place])
        ci95 = None
        if tested and method == Method.IDENTICAL:
            ci95 = (0.0, 0.0)
        elif tested and not np.isnan(half[place]):
            ci95 = (float(low[place]), float(high[place]))
        found.append(
            Difference(
                mean=float(mean[place]) if has_mean[place] else None,
                ci95=ci95,
                p=float(corrected[place]) if tested else None,
                uncorrected_p=float(tests.p[place]) if tested else None,
                factor=float(factor[place]) if tested else None,
                method=method,
                n=(int(samples.n[one]), int(samples.n[other])),
            )
        )
    return found


def _verdict(samples: Samples, index: int, reference: int, its: Difference) -> Verdict:
    """Where runs diverged by the ranks, in which they are the last: they have no part in the means."""
    if its.p is None:
        return "not tested"
    if not its.told:
        return "not distinguishable"
    figures = samples.rank_means if samples.diverged[[index, reference]].any() else samples.means
    return "better" if figures[index] < figures[reference] else "worse"
