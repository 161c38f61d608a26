"""Curves in the terminal: braille dots, eight to a character, on axes with round numbers.

The libraries that draw in terminals were tried first. uniplot 0.23 writes one tick (`0.00`) beside a learning rate and
`10^-0.6` on a logarithmic axis; plotext 6.1 divides the range evenly (`77.5`, `0.0074`), paints its own background,
and takes 0.4 s to import. What is hard about a learning rate are the ticks, and those would have been ours anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from optrun.config.text import legible
from optrun.pictures.axes import Axis, between, rounded, rounded_log
from optrun.pictures.panel import Curve, Panel, Point, means

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

__all__ = ["Chart"]

PALETTE = ("color(32)", "color(166)", "color(29)", "color(134)", "color(136)", "color(161)")
"""Legible on light and on dark backgrounds: blue, orange, green, violet, ochre, red."""

MARKERS = "━●◆▲■✚"
"""A curve has its mark as well as its colour, so that it is told apart without colours."""

DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bits of Unicode's braille patterns, by column and row (https://www.unicode.org/charts/PDF/U2800.pdf)."""

WIDEST = 110
"""Columns; a wider picture is no clearer."""

ASCII = str.maketrans(dict.fromkeys(map(chr, range(0x2801, 0x2900)), ".") | dict(zip("━●◆▲■✚│┤└┬─", "-ox^#+||++-")))
"""For terminals whose encoding has none of these."""


@dataclass
class Canvas:
    """`width` × `height` characters of 2 × 4 dots; a character has the style of what was drawn on it last."""

    width: int
    height: int
    bits: dict[tuple[int, int], int] = field(default_factory=dict)
    marks: dict[tuple[int, int], str] = field(default_factory=dict)
    styles: dict[tuple[int, int], str] = field(default_factory=dict)

    def dot(self, x: int, y: int, style: str) -> None:
        cell = (x // 2, y // 4)
        self.bits[cell] = self.bits.get(cell, 0) | DOTS[x % 2][y % 4]
        self.styles[cell] = style

    def line(self, start: tuple[int, int], end: tuple[int, int], style: str) -> None:
        (x, y), (to_x, to_y) = start, end
        length = max(abs(to_x - x), abs(to_y - y), 1)
        for i in range(length + 1):
            self.dot(round(x + (to_x - x) * i / length), round(y + (to_y - y) * i / length), style)

    def mark(self, x: int, y: int, mark: str, style: str) -> None:
        self.marks[x // 2, y // 4] = mark
        self.styles[x // 2, y // 4] = style

    def row(self, y: int) -> Iterator[Segment]:
        for x in range(self.width):
            cell = (x, y)
            shown = self.marks.get(cell) or (chr(0x2800 + self.bits[cell]) if cell in self.bits else " ")
            yield Segment(shown, Style.parse(self.styles[cell]) if cell in self.styles else None)


class Chart:
    """A panel as text; rich gives it the width, `rows` is about how high it is."""

    def __init__(self, panel: Panel, rows: int = 12) -> None:
        self.panel, self.rows = panel, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text | Segment]:
        lines = self._lines(min(options.max_width, WIDEST))
        for line in lines:
            for segment in line:
                yield Segment(segment.text.translate(ASCII), segment.style) if options.ascii_only else segment
            yield Segment.line()

    def _lines(self, width: int) -> Iterator[list[Segment]]:
        panel = self.panel
        series = [curve.points(log_x=panel.log_x, log_y=panel.log_y) for curve in panel.curves]
        if not any(series):
            yield [Segment(legible(panel.title, width), Style(bold=True)), Segment("  no finite values to draw")]
            return
        every = [point for points in series for point in points]
        y_axis, height = self._y_axis([y for _, y in every])
        labels = y_axis.labels()
        gutter = max(5, *map(len, labels))
        canvas = Canvas(max(10, width - gutter - 3), height)
        x_axis = self._x_axis([x for x, _ in every], canvas.width)
        stands_for = [
            self._draw(canvas, index, curve, points, x_axis, y_axis)
            for index, (curve, points) in enumerate(zip(panel.curves, series))
        ]
        yield from self._heading(width, stands_for)
        ticks = {self._row(y_axis, tick, height): label for tick, label in zip(y_axis.ticks, labels)}
        for row in range(height):
            edge = f" {ticks.get(row, ''):>{gutter}} {'┤' if row in ticks else '│'}"
            yield [Segment(edge, Style(dim=row not in ticks)), *canvas.row(row)]
        yield from self._below(canvas.width, gutter, x_axis)

    def _y_axis(self, values: Sequence[float]) -> tuple[Axis, int]:
        """The axis, and so many rows that its ticks stand evenly."""
        axis = (rounded_log if self.panel.log_y else rounded)(min(values), max(values), 5)
        intervals = len(axis.ticks) - 1
        return axis, intervals * max(1, round(self.rows / intervals)) + 1

    def _x_axis(self, values: Sequence[float], width: int) -> Axis:
        log = self.panel.log_x
        low = min(values) if log else min(0.0, *values)
        return between(low, max(values), max(2, width // 8), log)

    def _row(self, axis: Axis, value: float, height: int) -> int:
        return round((1 - axis.place(value)) * (height - 1))

    def _draw(self, canvas: Canvas, index: int, curve: Curve, points: list[Point], x_axis: Axis, y_axis: Axis) -> float:
        """Draw one curve; returns how many of its values a point of the picture stands for."""
        style, stands_for = PALETTE[index % len(PALETTE)], 1.0
        if curve.noisy:
            points, stands_for = means(points, canvas.width * 2)
        last_x, last_y = canvas.width * 2 - 1, (canvas.height - 1) * 4
        dots = [(round(x_axis.place(x) * last_x), round((1 - y_axis.place(y)) * last_y + 1.5)) for x, y in points]
        dots = _extremes(dots)
        for start, end in zip(dots, dots[1:] or dots):
            canvas.line(start, end, style)
        few = curve.pointed and len(dots) <= canvas.width // 3
        if index or few:
            every = 1 if few else max(1, len(dots) // 6)
            for x, y in dots[::every] if few else dots[every // 2 + index :: every]:
                canvas.mark(x, y, MARKERS[index % len(MARKERS)] if index else "●", style)
        return stands_for

    def _heading(self, width: int, stands_for: Sequence[float]) -> Iterator[list[Segment]]:
        """The title and, if there is more than one curve, which is which."""
        title = legible(self.panel.title, width)
        heading, used = [Segment(title, Style(bold=True))], len(title)
        for index, (curve, count) in enumerate(zip(self.panel.curves, stands_for)):
            label = legible(curve.label) + (f" (means of {count:.0f} rows)" if count > 1 else "")
            if label == self.panel.title:
                continue
            if used + len(label) + 5 > width:
                yield heading
                heading, used = [Segment("  ")], 2
            heading += [
                Segment("   "),
                Segment(MARKERS[index % len(MARKERS)], Style.parse(PALETTE[index % len(PALETTE)])),
                Segment(f" {label}"),
            ]
            used += len(label) + 5
        yield heading

    def _below(self, width: int, gutter: int, axis: Axis) -> Iterator[list[Segment]]:
        """The x axis, its numbers, and the epochs below them."""
        columns = [round(axis.place(tick) * (width - 1)) for tick in axis.ticks]
        line = "".join("┬" if column in columns else "─" for column in range(width))
        yield [Segment(f" {'':>{gutter}} └{line}", Style(dim=True))]
        yield [Segment(f" {self.panel.x_name:>{gutter}}  {_spread(zip(columns, axis.labels()), width)}")]
        epochs = {n: x for n, x in self.panel.epochs.items() if axis.low <= x <= axis.high}
        if epochs:
            every = next(n for n in _round_numbers() if len(epochs) / n * (len(str(max(epochs))) + 3) <= width)
            placed = [(round(axis.place(x) * (width - 1)), str(n)) for n, x in epochs.items() if n % every == 0]
            yield [Segment(f" {'epoch':>{gutter}}  {_spread(placed, width)}", Style(dim=True))]


def _extremes(dots: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Of the dots in one column only the first, the lowest, the highest and the last: the picture is the same."""
    kept: list[tuple[int, int]] = []
    column: list[tuple[int, int]] = []
    for dot in [*dots, (-1, -1)]:
        if column and dot[0] != column[0][0]:
            low, high = min(column, key=lambda d: d[1]), max(column, key=lambda d: d[1])
            kept += dict.fromkeys([column[0], low, high, column[-1]])
            column = []
        column.append(dot)
    return kept


def _spread(labels: Iterator[tuple[int, str]] | Sequence[tuple[int, str]], width: int) -> str:
    """Labels centred on their columns, those left out that would touch another."""
    line = ""
    for column, label in labels:
        start = min(max(0, column - (len(label) - 1) // 2), width - len(label))
        if start >= len(line) + (2 if line else 0):
            line = line.ljust(start) + label
    return line


def _round_numbers() -> Iterator[int]:
    for exponent in range(12):
        yield from (10**exponent, 2 * 10**exponent, 5 * 10**exponent)
