"""Which pictures a comparison has."""

from __future__ import annotations

from optrun.comparisons.comparison import Comparison
from optrun.comparisons.figures.curves import metric_curves, rates
from optrun.comparisons.figures.parallel import parallel
from optrun.comparisons.figures.picture import Picture
from optrun.comparisons.figures.ranking import ranking
from optrun.comparisons.figures.tuning import best_of_k, importance, sensitivities

__all__ = ["pictures"]


def pictures(found: Comparison) -> list[Picture]:
    """Those that have something to show. Reads the rows of the groups that are drawn."""
    drawn = [
        ranking(found),
        *metric_curves(found),
        rates(found),
        *sensitivities(found),
        best_of_k(found),
        importance(found),
        parallel(found),
    ]
    return [picture for picture in drawn if picture is not None]
