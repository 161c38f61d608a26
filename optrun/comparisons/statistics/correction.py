"""Holm's correction for many tests."""

from __future__ import annotations

import numpy as np

from optrun.comparisons.statistics.samples import Array

__all__ = ["holm"]


def holm(p: Array, rest: Array | None = None) -> tuple[Array, Array]:
    """The corrected p values, and by how much each was multiplied: between 1 and the number of tests.

    `rest` are the tests of the same family whose own correction is not asked for. NaN marks what was not tested: it
    counts for nothing and stays NaN. S. Holm (1979), "A simple sequentially rejective multiple test procedure": however
    the tests depend on each other, the chance that any true hypothesis gets a corrected p of at most alpha is at most
    alpha.
    """
    p = np.asarray(p, dtype=float)
    family = p if rest is None else np.concatenate([p, rest])
    ordered = np.sort(family[~np.isnan(family)])
    steps = np.arange(len(ordered), 0, -1.0)
    largest = np.maximum.accumulate(steps * ordered)
    place = np.minimum(np.searchsorted(ordered, p), max(len(ordered) - 1, 0))
    tested = ~np.isnan(p)
    corrected, factor = np.full(len(p), np.nan), np.full(len(p), np.nan)
    corrected[tested] = np.minimum(largest[place[tested]], 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor[tested] = np.where(p > 0, largest[place] / p, steps[place])[tested] if len(ordered) else np.nan
    return corrected, factor
