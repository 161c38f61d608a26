"""The pictures of a comparison on one page, for a paper.

Each picture is fitted into its part of the page by itself, so that long names in one do not narrow the others. Pictures
with the same series stand together above one legend.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optrun.comparisons.comparison import Comparison
from optrun.comparisons.figures.fitting import fit
from optrun.comparisons.figures.picture import Picture, colour, wrapped
from optrun.comparisons.figures.selection import pictures
from optrun.errors import UsageError
from optrun.pictures.figures import STYLE, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

__all__ = ["page", "save"]

WIDTH = 9.6
"""Inches."""
COLUMNS = 3
"""Pictures that stand side by side at most."""
LINE, KEY, CHARACTER = 0.18, 0.55, 0.066
"""Inches: a line of a legend, what stands beside a label in it, and a character of it."""
TITLE_CHARACTER = 0.088
"""Inches of a bold one."""
PAD = 0.08
"""Inches around a picture."""


@dataclass(frozen=True)
class Block:
    """Pictures that share a legend."""

    pictures: tuple[Picture, ...]

    @property
    def columns(self) -> int:
        """Of how many it consists, one below the other if there is no room side by side."""
        return COLUMNS if self.wide else min(len(self.pictures), COLUMNS)

    @property
    def rows(self) -> int:
        return 1 if self.wide else -(-len(self.pictures) // COLUMNS)

    @property
    def wide(self) -> bool:
        """Whether it takes the width of the page."""
        return self.pictures[0].wide

    @property
    def series(self) -> Sequence[str]:
        return self.pictures[0].series

    def labels(self, width: float) -> list[str]:
        """Of the legend, each in lines that fit into so many inches."""
        return [wrapped(label, int((width - KEY) / CHARACTER)) for label in self.series]

    def legend_columns(self, width: float) -> int:
        """How many labels stand side by side."""
        longest = max((len(line) for label in self.labels(width) for line in label.split("\n")), default=0)
        return max(1, int(width / (KEY + CHARACTER * longest)))

    def height(self, width: float) -> float:
        """Inches."""
        lines = sum(label.count("\n") + 1 for label in self.labels(width)) / self.legend_columns(width)
        return self.rows * max(picture.size[1] for picture in self.pictures) + LINE * math.ceil(lines + bool(lines))


def save(found: Comparison, path: Path) -> None:
    """Write all pictures to one PNG, SVG or PDF file. Raises UsageError if it cannot be or nothing is to show."""
    drawn = pictures(found)
    if not drawn:
        raise UsageError(f"there is no result to draw into {path}")
    import matplotlib

    with matplotlib.rc_context(STYLE):
        write(page(drawn), path)


def page(drawn: Sequence[Picture]) -> Figure:
    """The pictures on one page."""
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    rows = list(_rows(drawn))
    heights = [max(block.height(WIDTH * block.columns / _shares(row)) for block in row) for row in rows]
    figure = Figure(figsize=(WIDTH, sum(heights)))
    top = sum(heights)
    for row, height in zip(rows, heights):
        left = 0.0
        for block in row:
            width = WIDTH * block.columns / _shares(row)
            _draw(figure, block, Bbox.from_bounds(left, top - height, width, height))
            left += width
        top -= height
    return figure


def _columns(row: Sequence[Block]) -> int:
    return sum(block.columns for block in row)


def _shares(row: Sequence[Block]) -> int:
    """Into how many columns the width is divided: a picture alone is not drawn out to all of it."""
    return max(_columns(row), 2)


def _rows(drawn: Sequence[Picture]) -> Iterator[list[Block]]:
    """Blocks, as many in a row as there is room for."""
    row: list[Block] = []
    for block in _blocks(drawn):
        if row and _columns(row) + block.columns > COLUMNS:
            yield row
            row = []
        row.append(block)
    yield row


def _blocks(drawn: Sequence[Picture]) -> Iterator[Block]:
    """Pictures one after the other that have the same series, if they have any."""
    together: list[Picture] = []
    for picture in drawn:
        if together and (not picture.series or picture.wide or picture.series != together[0].series):
            yield Block(tuple(together))
            together = []
        together.append(picture)
    yield Block(tuple(together))


def _draw(figure: Figure, block: Block, place: Bbox) -> None:
    """Draw a block into that part of the figure, in inches: the legend at its foot, and above it the pictures."""
    from matplotlib.transforms import Bbox

    foot = _legend(figure, block, place) if block.series else 0.0
    columns = 1 if block.wide else block.columns
    width, height = place.width / columns, (place.height - foot) / block.rows
    for row in range(block.rows):
        axes = []
        for column, picture in enumerate(block.pictures[row * columns : (row + 1) * columns]):
            ax = figure.add_axes((0.0, 0.0, 1.0, 1.0), label=picture.key)
            ax.set_title(wrapped(picture.title, int((width - 0.6) / TITLE_CHARACTER)))
            picture.draw(ax)
            cell = Bbox.from_bounds(place.x0 + column * width, place.y1 - (row + 1) * height, width, height)
            axes.append((ax, cell.padded(-PAD)))
        fit(figure, axes)


def _legend(figure: Figure, block: Block, place: Bbox) -> float:
    """Draw the legend, and return its height in inches."""
    from matplotlib.lines import Line2D

    figure.legend(
        [Line2D([], [], color=colour(number)) for number in range(len(block.series))],
        block.labels(place.width),
        loc="lower left",
        bbox_to_anchor=(place.x0 + PAD, place.y0 + PAD),
        bbox_transform=figure.dpi_scale_trans,
        borderaxespad=0,
        borderpad=0,
        ncols=block.legend_columns(place.width),
    )
    return figure.legends[-1].get_window_extent().height / figure.dpi + 2 * PAD
