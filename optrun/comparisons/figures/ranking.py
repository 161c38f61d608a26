"""The ranking: every group's mean with its interval, and its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from optrun.comparisons.comparison import Compared, Comparison
from optrun.comparisons.figures.labels import short_labels
from optrun.comparisons.figures.picture import INK, Picture, wrapped
from optrun.comparisons.statistics import Mode
from optrun.comparisons.wording import best_of, flags
from optrun.pictures.figures import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ranking"]

MOST = 20
"""Groups in the picture."""
STYLES = {"leader": PALETTE[2], "baseline": PALETTE[2], "better": PALETTE[0], "worse": PALETTE[1]}
LONGEST = 44
"""Characters of a line of a label."""


def ranking(found: Comparison) -> Picture | None:
    """Means, 95 % intervals and runs of the best groups and the baseline; None where no run has a finite value."""
    best = found.groups[:MOST]
    groups = [*best, *(each for each in found.groups[MOST:] if each is found.reference)]
    if all(each.mean is None for each in groups):
        return None
    labels = [wrapped(_flagged(label, each), LONGEST) for label, each in zip(short_labels(groups), groups)]
    lines = sum(label.count("\n") + 1 for label in labels)
    wide = Picture(
        key="ranking",
        title=f"{found.metric}{best_of(len(best), len(found.groups), 'group') or ', best first'}"
        f"{' and the baseline' if len(groups) > len(best) else ''}",
        caption="Mean over seeds (dot), its 95 % interval (line) and each run (pale). Green is what the others are "
        "compared with, orange is worse, blue is better, grey is not distinguishable from it or not tested. A cross at "
        "the edge: runs without a finite value.",
        draw=lambda ax: _draw(ax, groups, labels, found.mode),
        size=(8.8, 0.8 + 0.1 * len(groups) + 0.14 * lines),
        wide=True,
    )
    narrow = replace(
        wide,
        key="ranking-narrow",
        draw=lambda ax: _draw(ax, groups, labels, found.mode, beside=False),
        size=(3.4, 0.8 + 0.2 * len(groups) + 0.16 * lines),
    )
    return replace(wide, narrow=narrow)


def _flagged(label: str, each: Compared) -> str:
    return f"{label} ({flags(each)})" if flags(each) else label


def _draw(ax: Axes, groups: Sequence[Compared], labels: Sequence[str], mode: Mode, *, beside: bool = True) -> None:
    """Labels stand beside the axis, or each above its line."""
    for row, each in enumerate(groups):
        colour = STYLES.get(each.verdict, "#8a8a8a")
        runs = [value for value in each.values if value is not None]
        ax.plot(runs, [row] * len(runs), "o", color=colour, alpha=0.35, markersize=4, markeredgewidth=0)
        if each.ci95 is not None:
            ax.plot(each.ci95, [row, row], "-", color=colour, linewidth=1.6)
        if each.mean is not None:
            ax.plot([each.mean], [row], "o", color=colour, markersize=5.5)
        if None in each.values:
            ax.plot([mode == "min"], [row], "x", color=colour, transform=ax.get_yaxis_transform(), clip_on=False)
        if not beside:
            place = {"transform": ax.get_yaxis_transform(), "va": "bottom", "fontsize": 8.5}
            ax.text(0.01, row - 0.22, labels[row], **place)
    reference = next((each for each in groups if each.verdict in ("leader", "baseline")), None)
    if reference is not None and reference.mean is not None:
        ax.axvline(reference.mean, color=INK, linewidth=0.8, linestyle=":")
    ax.set_yticks(range(len(groups)), labels if beside else [""] * len(groups))
    ax.set_ylim(len(groups) - 0.5, -0.5 if beside else -1.0)
    ax.grid(False, axis="y")
    values = sorted(value for each in groups for value in (*each.values, *(each.ci95 or ())) if value is not None)
    if groups[0].ci95 is not None and values[0] < values[-1]:
        _leave_out_what_is_far(ax, [value for each in groups for value in each.values if value is not None])


def _leave_out_what_is_far(ax: Axes, runs: Sequence[float]) -> None:
    """With two seeds an interval can be a hundred times wider than all runs together: the runs set the scale."""
    span = (max(runs) - min(runs)) or abs(max(runs)) or 1.0
    low, high = ax.get_xlim()
    ax.set_xlim(max(low, min(runs) - span), min(high, max(runs) + span))
