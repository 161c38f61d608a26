"""Sentences on what the number of seeds allows to say."""

from __future__ import annotations

from collections.abc import Sequence

from optrun.comparisons.statistics.sample_size import detectable

__all__ = ["few_seeds"]

_FEW = 5
"""Fewer seeds than these are said to be few."""


def few_seeds(n: Sequence[int], comparisons: int, *, paired: bool = False) -> list[str]:
    """Sentences for groups of n runs each, with p corrected for so many comparisons; none where no group has few."""
    if not n:
        return []
    notes = []
    tested = [count for count in n if count > 1]
    if lone := list(n).count(1):
        hence = "nothing can be tested" if not tested else "it is not tested" if lone == 1 else "they are not tested"
        notes.append(f"{_groups(lone, len(n))} one seed only, which tells nothing of the spread over seeds: {hence}")
    if few := sorted(count for count in tested if count < _FEW):
        smallest, largest = few[0], few[-1]
        alike = smallest == largest
        size = detectable(smallest, max(comparisons, 1), paired=paired)
        kind = "standard deviations of the difference" if paired else "standard deviations"
        notes.append(
            f"{_groups(len(few), len(n))} only {smallest if alike else f'{smallest} to {largest}'} seeds: "
            f"{'at that number' if alike else f'with {smallest}'} a difference has to be about {_rounded(size)} {kind} "
            "large to be told 4 times out of 5"
        )
    return notes


def _groups(few: int, of: int) -> str:
    return "every group has" if few == of else "1 group has" if few == 1 else f"{few} groups have"


def _rounded(size: float) -> str:
    return f"{size:.1f}" if size < 10 else f"{size:.0f}" if size < 1000 else "1,000 and more"
