"""Best of k: how good a result a tuning budget of k settings can be expected to find.

Of n settings that were tried, the expected best of k drawn at random is exact, by order statistics:

    E[best of k] = sum over i of v(i) * C(i - 1, k - 1) / C(n, k),   v(1) … v(n) from worst to best,

drawn without replacement: unbiased, and at k = n what was found (Tang et al. 2020, "Showing Your Work Doesn't Always
Work", ACL; arXiv:2004.13705). With replacement it is the estimator of Dodge et al. 2019, "Show Your Work: Improved
Reporting of Experimental Results", EMNLP; arXiv:1909.03004: sum over i of v(i) * ((i / n)^k - ((i - 1) / n)^k).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optrun.comparisons.grouping import Group
from optrun.comparisons.statistics import Mode, summary

__all__ = ["Budget", "best_of", "budgets"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Budget:
    """The best of k settings."""

    k: int
    mean: float | None
    """Expected; None while all k may be settings without a finite value, whose mean is none."""
    low: float | None
    """The lower quartile: with a chance of 3 in 4 the best of k is at least as good. None: without a finite value."""
    high: float | None
    """The upper quartile: with a chance of 1 in 4 it is at least as good."""


def best_of(values: Sequence[float | None], mode: Mode, *, replacement: bool = False) -> list[Budget]:
    """The best of k of these results, for k = 1 … n. None, a setting that diverged or was pruned, is the worst."""
    finite = np.sort(np.array([value for value in values if value is not None], dtype=float))
    ordered = finite if mode == "max" else finite[::-1]
    n, lost = len(values), len(values) - len(finite)
    found = []
    for k in range(1, n + 1):
        reached = _chances(n, k, replacement)  # that the best of k is at most the i-th from the worst
        weights = np.diff(reached)[lost:]
        mean = float(weights @ ordered) if reached[lost] == 0 else None
        low, high = (_quantile(ordered, reached, lost, share) for share in (0.25, 0.75))
        found.append(Budget(k, mean, low, high))
    return found


def _chances(n: int, k: int, replacement: bool) -> Array:
    """For i = 0 … n the chance that all k draws are among the i worst: (i / n)^k, or C(i, k) / C(n, k)."""
    if replacement:
        return (np.arange(n + 1) / n) ** k
    chances = np.zeros(n + 1)
    larger = np.arange(n, k, -1.0)
    chances[n] = 1.0
    chances[k:n] = np.cumprod((larger - k) / larger)[::-1]
    return chances


def _quantile(ordered: Array, reached: Array, lost: int, share: float) -> float | None:
    """The worst value that the best of k is at most with at least that chance."""
    place = int(np.searchsorted(reached, share - 1e-12)) - lost - 1
    return float(ordered[place]) if place >= 0 else None


def budgets(points: Sequence[Group], mode: Mode, by: str = "optimizer.name") -> dict[str, list[Budget]]:
    """For each optimizer (or other value of `by`) the best of k of its settings, each judged by its mean over seeds.

    A setting with a diverged run has no mean, and one that was pruned was worse than those that were not: both are the
    worst there is. One without any result is left out otherwise.
    """
    values: dict[str, list[float | None]] = {}
    for point in points:
        figures = summary(point.values, mode)
        if figures.n + figures.diverged or point.count("pruned"):
            series = str(point.outcomes[0].settings.get(by))
            values.setdefault(series, []).append(None if figures.diverged else figures.mean)
    return {series: best_of(found, mode) for series, found in values.items()}
