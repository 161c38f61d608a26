"""Which tests a table stands for: all that could have been shown, had the data come out otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from optrun.comparisons.statistics.samples import Array

__all__ = ["MOST_PAIRS", "Family"]

MOST_PAIRS = 1_000_000
"""Pairs up to which all are tested, for Holm's correction: 1,414 groups. Beyond, only those that are shown are, and
each p is multiplied by the number of all pairs (Bonferroni), which is never less."""


@dataclass(frozen=True)
class Family:
    """Every two groups, or with a baseline every group and that one.

    Where groups are the best of several settings, also each of the other settings and the best of every other group,
    since another setting might have come out best: the correction has to hold whatever is chosen (R. Berk, L. Brown, A.
    Buja, K. Zhang, L. Zhao 2013, "Valid post-selection inference", Annals of Statistics 41). That the other group is
    represented by its best setting brings the two nearer to each other, so it claims nothing more.
    """

    of: Array
    """The group of each setting, by its index; the settings that represent their groups come first."""
    testable: Array
    """Whether the setting has two runs or more."""
    groups: int
    baseline: int | None = None
    """A group that was chosen before the data were seen."""

    @property
    def size(self) -> int:
        """The number of pairs."""
        return sum(len(others) for _, others in self._by_best())

    def pairs(self) -> tuple[Array, Array]:
        """The indices of the first and of the second setting of each pair."""
        found = list(self._by_best())
        first = np.repeat([best for best, _ in found], [len(others) for _, others in found])
        return first.astype(int), np.concatenate([np.zeros(0, dtype=int), *(others for _, others in found)])

    def _by_best(self) -> Iterator[tuple[int, Array]]:
        """The best setting of each group, and those that it is paired with: no pair twice."""
        index = np.arange(len(self.of))
        unmet = self.testable & (index >= self.groups)  # the other settings, then also the best of groups before
        for best in np.flatnonzero(self.testable[: self.groups]):
            partners = unmet & (self.of != best)
            if self.baseline not in (None, best):
                partners &= self.of == self.baseline
            yield int(best), np.flatnonzero(partners)
            unmet[best] = True
