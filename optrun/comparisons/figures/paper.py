"""The pictures of a comparison on one page, for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optrun.comparisons.comparison import Comparison
from optrun.comparisons.figures.picture import Picture, colour, plain
from optrun.comparisons.figures.selection import pictures
from optrun.errors import UsageError
from optrun.pictures.figures import STYLE, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["save"]

WIDTH = 9.6
"""Inches; two pictures stand side by side."""
LINE = 0.16
"""Inches of a line of a legend."""


def save(found: Comparison, path: Path) -> None:
    """Write all pictures to one PNG, SVG or PDF file. Raises UsageError if it cannot be or nothing is to show."""
    drawn = pictures(found)
    if not drawn:
        raise UsageError(f"there is no result to draw into {path}")
    import matplotlib
    from matplotlib.figure import Figure

    rows = _rows(drawn)
    heights = [max(picture.size[1] + LINE * len(picture.series) for picture in row) for row in rows]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
        grid = figure.add_gridspec(len(rows), 2, height_ratios=heights)
        for number, row in enumerate(rows):
            for column, picture in enumerate(row):
                ax = figure.add_subplot(grid[number, column if len(row) > 1 or not _is_wide(picture) else slice(None)])
                ax.set_title(plain(picture.title))
                picture.draw(ax)
                if picture.series:
                    _legend(ax, picture)
        write(figure, path)


def _is_wide(picture: Picture) -> bool:
    return picture.size[0] > WIDTH / 2


def _rows(drawn: Sequence[Picture]) -> list[list[Picture]]:
    """Two in a row, but for those that are wide."""
    rows: list[list[Picture]] = []
    for picture in drawn:
        if _is_wide(picture) or not rows or len(rows[-1]) == 2 or _is_wide(rows[-1][0]):
            rows.append([picture])
        else:
            rows[-1].append(picture)
    return rows


def _legend(ax: Axes, picture: Picture) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=colour(number)) for number in range(len(picture.series))]
    labels = [plain(label, 44) for label in picture.series]
    ax.legend(lines, labels, loc="upper left", bbox_to_anchor=(0, -0.2), borderaxespad=0)
