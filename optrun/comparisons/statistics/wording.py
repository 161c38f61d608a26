"""Sentences on what the number of seeds allows to say."""

from __future__ import annotations

from collections.abc import Sequence

from optrun.comparisons.statistics.sample_size import detectable

__all__ = ["few_seeds"]

_FEW = 5
"""Fewer seeds than these are said to be few."""


def few_seeds(n: Sequence[int], comparisons: int, *, paired: bool = False) -> str | None:
    """A sentence for groups of n runs each, with p corrected for so many comparisons; None where none has few."""
    smallest = min(n, default=_FEW)
    if smallest >= _FEW:
        return None
    few = sum(count == smallest for count in n)
    groups = "every group has" if few == len(n) else "1 group has" if few == 1 else f"{few} groups have"
    if smallest == 0:
        return f"{groups} no result"
    if smallest == 1:
        return f"{groups} one seed only: it tells nothing of the spread over seeds, so nothing can be tested"
    size = detectable(smallest, max(comparisons, 1), paired=paired)
    kind = "standard deviations of the difference" if paired else "standard deviations"
    return (
        f"{groups} only {smallest} seeds: at that number a difference has to be about {_rounded(size)} {kind} large "
        "to be told 4 times out of 5"
    )


def _rounded(size: float) -> str:
    return f"{size:.1f}" if size < 10 else f"{size:.0f}" if size < 1000 else "1,000 and more"
