"""Axes in their places: as large as their labels leave room for.

matplotlib's own layouts align all axes of a figure, so that one long name makes every picture narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

__all__ = ["fit"]

PASSES = 3
"""Other sizes have other ticks, and these other labels."""
SMALLEST = 0.3
"""Inches that are left to axes, however long the labels are."""


def fit(figure: Figure, axes: Sequence[tuple[Axes, Bbox]]) -> None:
    """Fit each of the axes, with all that is written around it, into its box in inches.

    Boxes that stand side by side: the axes begin and end at one height, whatever is written above and below each.
    """
    from matplotlib.transforms import Bbox

    for ax, box in axes:
        ax.set_position(box.transformed(figure.dpi_scale_trans - figure.transFigure))
    for _ in range(PASSES):
        inches = figure.dpi_scale_trans.inverted()
        around = [(ax.get_tightbbox() or ax.get_window_extent()).transformed(inches) for ax, _ in axes]
        inner = [ax.get_window_extent().transformed(inches) for ax, _ in axes]
        above = max(max(outer.y1 - own.y1, 0.0) for outer, own in zip(around, inner))
        below = max(max(own.y0 - outer.y0, 0.0) for outer, own in zip(around, inner))
        for (ax, box), outer, own in zip(axes, around, inner):
            left, right = box.x0 + max(own.x0 - outer.x0, 0.0), box.x1 - max(outer.x1 - own.x1, 0.0)
            low, high = box.y0 + below, box.y1 - above
            place = Bbox.from_extents(left, low, max(right, left + SMALLEST), max(high, low + SMALLEST))
            ax.set_position(place.transformed(figure.dpi_scale_trans - figure.transFigure))
