"""What can be said of groups of runs, from numbers alone: intervals, tests, corrections, power.

Needs numpy and scipy.special, not scipy.stats, which takes longer to import than all of a comparison; the tests hold
every figure against scipy.stats. Which test is made when, and why, with sources: docs/statistics.md.
"""

from __future__ import annotations

from optrun.comparisons.statistics.correction import holm
from optrun.comparisons.statistics.pairs import Method
from optrun.comparisons.statistics.sample_size import ALPHA, MOST_SEEDS, POWER, detectable, power
from optrun.comparisons.statistics.samples import Mode, Summary, Values, interval, ranking, summary
from optrun.comparisons.statistics.verdicts import Difference, Standing, Standings, Verdict, difference, standings
from optrun.comparisons.statistics.wording import few_seeds

__all__ = [
    "ALPHA",
    "MOST_SEEDS",
    "POWER",
    "Difference",
    "Method",
    "Mode",
    "Standing",
    "Standings",
    "Summary",
    "Values",
    "Verdict",
    "detectable",
    "difference",
    "few_seeds",
    "holm",
    "interval",
    "power",
    "ranking",
    "standings",
    "summary",
]
