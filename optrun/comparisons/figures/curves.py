"""What happened during training: bands over the seeds of a group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from optrun.comparisons.bands import Band, band, bands_over
from optrun.comparisons.comparison import Compared, Comparison
from optrun.comparisons.figures.labels import short_labels
from optrun.comparisons.figures.picture import MOST_SERIES, Picture, colour, tag
from optrun.comparisons.wording import best_of
from optrun.pictures.panel import Curve, log_helps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

__all__ = ["curve", "metric_curves", "rates"]

MOST_POINTS = 250
"""Of one curve; of more, means are drawn."""
DASH = 4.0
"""Of lines that lie on each other, in their widths."""


def metric_curves(found: Comparison) -> list[Picture]:
    """The metric that is compared, and the training loss."""
    names = dict.fromkeys([found.metric, "train/loss"])
    drawn = [curve(found, name, f"curve-{number}") for number, name in enumerate(names)]
    return [picture for picture in drawn if picture is not None]


def curve(found: Comparison, metric: str, key: str) -> Picture | None:
    """Mean and range over seeds of the best groups; None where no run has the metric at several steps."""
    groups = _best(found)
    bands = [_thinned(band(each.group, metric)) for each in groups]
    if not any(len(its.xs) > 1 for its in bands):
        return None
    curves = [Curve("", its.xs, its.mean) for its in bands]
    ranges = "Mean over seeds, between the lowest and the highest run" if _has_range(bands) else "One run each"
    return Picture(
        key=key,
        title=f"{metric}{_of(found, groups)}",
        caption=f"{ranges}.",
        draw=lambda ax: _draw_bands(ax, bands, log=log_helps(curves)),
        series=short_labels(groups),
    )


def _best(found: Comparison) -> list[Compared]:
    """The groups that are drawn: those with a finite value, or where none has one those that diverged."""
    groups = [each for each in found.groups if each.n] or [each for each in found.groups if each.results]
    return groups[:MOST_SERIES]


def _of(found: Comparison, shown: Sequence[Compared]) -> str:
    return best_of(len(shown), len(found.groups), "group")


def _has_range(bands: Sequence[Band]) -> bool:
    return any(count > 1 for its in bands for count in its.n)


def _draw_bands(ax: Axes, bands: Sequence[Band], *, log: bool) -> None:
    for number, its in enumerate(bands):
        if not its.xs:
            continue
        marker = "o" if len(its.xs) < 30 else ""
        (line,) = ax.plot(its.xs, its.mean, color=colour(number), marker=marker, markersize=3)
        _share(line, *_turn(bands, number))
        tag(number, line)
        if any(count > 1 for count in its.n):
            tag(number, ax.fill_between(its.xs, its.low, its.high, color=colour(number), alpha=0.15, linewidth=0))
    if log:
        ax.set_yscale("log")
    else:
        _leave_out_explosions(ax, bands)
    ax.set_xlabel("step")
    ax.set_xlim(left=0)


def _turn(bands: Sequence[Band], number: int) -> tuple[int, int]:
    """Of how many bands with the same means this one is which: settings that make no difference give such."""
    alike = [index for index, its in enumerate(bands) if (its.xs, its.mean) == (bands[number].xs, bands[number].mean)]
    return alike.index(number), len(alike)


def _share(line: Line2D, turn: int, count: int) -> None:
    """Draw every `count`-th dash and marker of a line, so that those of the others show between them."""
    if count > 1:
        line.set_linestyle((DASH * (count - turn), (DASH, DASH * (count - 1))))
        line.set_dash_capstyle("butt")
        line.set_markevery((turn, count))


def _leave_out_explosions(ax: Axes, bands: Sequence[Band]) -> None:
    """A run that explodes before it diverges would flatten all others: what is far above nine tenths is cut off."""
    highs = sorted(value for its in bands for value in its.high)
    if len(highs) > 10 and highs[-1] > 10 * max(abs(highs[int(0.9 * len(highs))]), 1e-300):
        ax.set_ylim(top=2 * highs[int(0.9 * len(highs))])


def _thinned(its: Band) -> Band:
    """At most `MOST_POINTS` points, each standing for its neighbours: their mean, lowest and highest."""
    size = math.ceil(len(its.xs) / MOST_POINTS)
    if size < 2:
        return its
    parts = [slice(start, start + size) for start in range(0, len(its.xs), size)]
    return Band(
        xs=tuple(its.xs[part][len(its.xs[part]) // 2] for part in parts),
        mean=tuple(math.fsum(its.mean[part]) / len(its.mean[part]) for part in parts),
        low=tuple(min(its.low[part]) for part in parts),
        high=tuple(max(its.high[part]) for part in parts),
        n=tuple(max(its.n[part]) for part in parts),
    )


def rates(found: Comparison) -> Picture | None:
    """The learning rate of each step; None where all groups keep it as it is."""
    groups = _best(found)
    firsts = [next(outcome for outcome in each.group.outcomes if outcome.counts) for each in groups]
    bands = [_thinned(bands_over([first.history.curve("lr")])) for first in firsts]
    if not any(min(its.mean) < max(its.mean) for its in bands if its.xs):
        return None
    values = [value for its in bands for value in its.mean]
    wide = min(values) > 0 and max(values) > 30 * min(values)
    return Picture(
        key="rates",
        title=f"learning rate{_of(found, groups)}",
        caption="As the schedule set it, in the first seed of each group.",
        draw=lambda ax: _draw_rates(ax, bands, log=wide),
        series=short_labels(groups),
    )


def _draw_rates(ax: Axes, bands: Sequence[Band], *, log: bool) -> None:
    for number, its in enumerate(bands):
        if its.xs:
            (line,) = ax.plot(its.xs, its.mean, color=colour(number), linewidth=1.4)
            _share(line, *_turn(bands, number))
            tag(number, line)
    if log:
        ax.set_yscale("log")
    else:
        ax.set_ylim(bottom=0)
    ax.set_xlabel("step")
    ax.set_xlim(left=0)
