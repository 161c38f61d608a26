"""The calibration of `optrun compare --group-by`: groups are the best of several settings, chosen on the same runs.

A study is groups of so many settings, each of n runs; of each group the best setting is compared. Where all settings
are equal, every "better" or "worse" is a false claim.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.calibration import CORRELATION, PLANTED, SIZES, Array, as_groups, draw
from optrun.comparisons.statistics import Standings, ranking, standings

__all__ = ["AS_ONE", "TRIED", "TRIED_KINDS", "best_of_each", "measure_merged", "merged_claims", "merged_planted"]

TRIED = ((10, 1), (10, 10), (30, 1), (4, 4, 4))
"""How many settings each group has."""
ANOTHER, AS_ONE = "normal, chosen by another metric", "normal, as if one had been tried"
TRIED_KINDS = ("normal", "skewed", "collapsing", "unequal spreads", "diverging", ANOTHER, AS_ONE)
"""Of `KINDS`; and normal values whose settings were chosen by a metric that is correlated with them at 0.5, or of which
p is not corrected for the settings that were tried."""


def best_of_each(
    values: Array, tried: Sequence[int], same_seeds: bool, judge: Array, *, as_one: bool = False
) -> tuple[list[int], Standings]:
    """The setting that each group is represented by, best by the values of `judge`, and how they stand."""
    every, judged = as_groups(values, same_seeds), as_groups(judge, same_seeds)
    ends = list(itertools.accumulate(tried))
    groups = [range(end - count, end) for end, count in zip(ends, tried)]
    best = [group[ranking([judged[index] for index in group], "max")[0]] for group in groups]
    unchosen = [[every[index] for index in group if index != chosen] for group, chosen in zip(groups, best)]
    return best, standings([every[index] for index in best], "max", unchosen=() if as_one else unchosen)


def merged_claims(
    kind: str, tried: Sequence[int], n: int, same_seeds: bool, studies: int, random: np.random.Generator
) -> int:
    """In how many studies of equal settings a difference between groups is claimed."""
    claimed = 0
    for _ in range(studies):
        drawn = "normal" if kind in (ANOTHER, AS_ONE) else kind
        values = judge = draw(drawn, sum(tried), n, same_seeds, random)
        if kind == ANOTHER:
            own = draw("normal", sum(tried), n, same_seeds, random)
            judge = CORRELATION * values + math.sqrt(1 - CORRELATION**2) * own
        _, found = best_of_each(values, tried, same_seeds, judge, as_one=kind == AS_ONE)
        claimed += any(group.verdict in ("better", "worse") for group in found.groups)
    return claimed


def merged_planted(
    tried: Sequence[int], n: int, same_seeds: bool, studies: int, random: np.random.Generator
) -> tuple[int, int]:
    """Of studies in which one setting of the first group is better by `PLANTED`: in how many the second group is
    rightly called worse, and in how many all intervals of differences hold the true ones."""
    truth = np.zeros(sum(tried))
    truth[0] = PLANTED
    told = held = 0
    for _ in range(studies):
        values = draw("normal", sum(tried), n, same_seeds, random) + truth[:, None]
        best, found = best_of_each(values, tried, same_seeds, values)
        leader = truth[best[found.reference or 0]]
        told += found.reference == 0 and found.groups[1].verdict == "worse"
        held += all(
            its.difference.ci95[0] <= truth[chosen] - leader <= its.difference.ci95[1]
            for its, chosen in zip(found.groups, best)
            if its.difference and its.difference.ci95
        )
    return told, held


def measure_merged(studies: int) -> dict[str, Any]:
    """False claims, power and coverage, with so many studies for each figure."""
    random = np.random.default_rng(21)
    every = list(itertools.product((False, True), SIZES, TRIED))
    claimed = [
        {
            **_case(same, n, tried),
            "kind": kind,
            "share": merged_claims(kind, tried, n, same, studies, random) / studies,
        }
        for kind in TRIED_KINDS
        for same, n, tried in every
    ]
    planted = []
    for same, n, tried in every:
        told, held = merged_planted(tried, n, same, studies, random)
        planted.append({**_case(same, n, tried), "verdict": told / studies, "held": held / studies})
    return {"false_claims": claimed, "planted": planted}


def _case(same_seeds: bool, n: int, tried: Sequence[int]) -> dict[str, Any]:
    return {"seeds": "same" if same_seeds else "own", "n": n, "tried": list(tried)}
