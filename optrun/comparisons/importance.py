"""Which hyperparameter mattered: how much of the differences between settings each one explains by itself.

The share of a key is the correlation ratio of ranks: the settings are ranked by their means over seeds, and of the
variance of the ranks it is the part that lies between the values of the key, H / (N - 1) with H of Kruskal and Wallis
(Tomczak and Tomczak 2014, "The need to report effect size estimates revisited"). Ranks, because one diverged setting
would otherwise drown all else, and has no number anyway.

What it does not say: shares are of each key alone, so what two do together only is in none of them; they need not add
up to 1, and where the settings are no full grid one key can borrow from another that went along with it. A key with
many values explains much by chance, which `by_chance` gives: (levels - 1) / (N - 1), the mean share of a key that does
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optrun.comparisons.grouping import Group
from optrun.comparisons.sensitivity import varied
from optrun.comparisons.settings import same
from optrun.comparisons.statistics import Mode, summary

__all__ = ["Importance", "importances", "share_explained"]


@dataclass(frozen=True)
class Importance:
    """What one hyperparameter explains."""

    key: str
    share: float
    """Between 0 and 1."""
    by_chance: float
    """The share to be expected of a key without any influence."""
    levels: int
    """How many values it has."""
    points: int
    """How many settings have the key, and a result."""


def importances(points: Sequence[Group], mode: Mode) -> list[Importance]:
    """Every key that varies, the one that explains most beyond chance first.

    A key that only some components have is judged among the settings that have it, unless it says no more of them than
    a key that all have: where each optimizer has a `base_lr` of its own, that is the optimizer again. Keys with a
    different value in every setting explain everything and mean nothing, and are left out; so are those with fewer than
    three settings.
    """
    judged = [(point, value) for point in points if (value := _worth(point, mode)) is not None]
    keys = varied([point for point, _ in judged])
    known = [point.outcomes[0].settings for point, _ in judged]
    every = [{key: same(settings[key]) for key in keys if key in settings} for settings in known]
    shared = [key for key in keys if all(key in its for its in every)]
    found = []
    for key in keys:
        having = [(its, value) for its, (_, value) in zip(every, judged) if key in its]
        levels = [its[key] for its, _ in having]
        count = len(set(levels))
        borrowed = key not in shared and any(
            len({its[other] for its, _ in having}) == count == len({(its[other], its[key]) for its, _ in having})
            for other in shared
        )
        if 1 < count < len(having) and not borrowed:
            share = share_explained(levels, [value for _, value in having])
            if not math.isnan(share):
                found.append(Importance(key, share, (count - 1) / (len(having) - 1), count, len(having)))
    return sorted(found, key=lambda each: each.by_chance - each.share)


def _worth(point: Group, mode: Mode) -> float | None:
    """The mean, larger being better; minus infinity if a run diverged, None without any result."""
    figures = summary(point.values, mode)
    if figures.diverged or figures.mean is None:
        return -math.inf if figures.diverged else None
    return figures.mean if mode == "max" else -figures.mean


def share_explained(levels: Sequence[Any], values: Sequence[float]) -> float:
    """The part of the variance of the values' ranks that lies between the levels; NaN if all values are equal."""
    ordered = np.sort(values)
    ranks = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") + 1) / 2
    centred = ranks - ranks.mean()
    total = float(centred @ centred)
    if total == 0:
        return math.nan
    members: dict[Any, list[float]] = {}
    for level, rank in zip(levels, centred):
        members.setdefault(level, []).append(float(rank))
    return math.fsum(math.fsum(its) ** 2 / len(its) for its in members.values()) / total
