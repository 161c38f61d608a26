"""Panels as PNG, SVG or PDF, fit to be printed. matplotlib is imported only when a file is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optrun.errors import UsageError
from optrun.pictures.panel import Curve, Panel, means

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PALETTE", "STYLE", "save", "write"]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, told apart by everybody: https://jfly.uni-koeln.de/color/."""

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",  # text stays text
}

BINS = 250
"""Means drawn of a noisy curve; its every value stands palely behind them."""


def save(panels: Sequence[Panel], heading: str, files: Sequence[Path | None]) -> Iterator[Path]:
    """Draw the panels, two in a row, and write them to each of `files` (its ending decides the format); yields those.

    None among the files is left out. Raises UsageError if one cannot be written.
    """
    wanted = [path for path in files if path is not None]
    if not wanted:
        return
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure = _figure(panels, heading)
        for path in wanted:
            write(figure, path)
            yield path


def _figure(panels: Sequence[Panel], heading: str) -> Figure:
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    size = (3.6 * columns, 2.6 * rows + 0.3) if columns > 1 else (5.6, 3.5)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(heading, fontsize=9, color="#555555", x=0.01, ha="left")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax, panel in zip(axes, panels):
        _draw(ax, panel)
    for ax in axes[len(panels) :]:
        ax.remove()
    return figure


def _draw(ax: Axes, panel: Panel) -> None:
    for index, curve in enumerate(panel.curves):
        _draw_curve(ax, curve, panel, PALETTE[index % len(PALETTE)])
    ax.set_title(panel.title, y=1.0, pad=18 if panel.epochs else 6)
    ax.set_xlabel(panel.x_name)
    if panel.log_y and not panel.empty:
        ax.set_yscale("log")
    if panel.log_x and not panel.empty:
        ax.set_xscale("log")
    elif not panel.empty:
        ax.set_xlim(left=0)
        ax.locator_params(axis="x", nbins=6, integer=True)
    if panel.empty:
        ax.text(0.5, 0.5, "no finite values", transform=ax.transAxes, ha="center", color="#777777")
    elif len(panel.curves) > 1 or panel.curves[0].label != panel.title:
        ax.legend(loc="best")
    if panel.epochs:
        _epoch_axis(ax, panel)


def _draw_curve(ax: Axes, curve: Curve, panel: Panel, colour: str) -> None:
    points = curve.points(log_x=panel.log_x, log_y=panel.log_y)
    style: dict[str, Any] = {"color": colour, "label": curve.label}
    if curve.pointed and len(points) <= 60:
        style |= {"marker": "o", "markersize": 3.5 if len(points) > 20 else 4.5}
    if len(points) == 1:
        style["linestyle"] = "none"
    if curve.noisy and len(points) > BINS:
        ax.plot(*zip(*points), color=colour, alpha=0.25, linewidth=0.6, rasterized=len(points) > 5000)
        points, count = means(points, BINS)
        style["label"] += f" (means of {count:.0f} rows)"
    if points:
        ax.plot(*zip(*points), **style)


def _epoch_axis(ax: Axes, panel: Panel) -> None:
    """Epochs along the upper edge, where there is room for them."""
    every = next(n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if len(panel.epochs) <= 8 * n)
    shown = {n: x for n, x in panel.epochs.items() if n % every == 0}
    top = ax.secondary_xaxis("top")
    top.set_xticks(list(shown.values()), [str(n) for n in shown])
    top.set_xlabel("epoch", fontsize=8, color="#777777", loc="right", labelpad=2)
    top.tick_params(labelsize=8, colors="#777777", length=2.5)
    top.spines["top"].set_visible(False)


def write(figure: Figure, path: Path) -> None:
    """Write a figure to a file. Raises UsageError if it cannot be written."""
    try:
        figure.savefig(path, dpi=200)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).partition(" (")[0]
        raise UsageError(f"cannot write {path}: {reason}") from error
