"""The ranking: every group's mean with its interval, and its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optrun.comparisons.comparison import Compared, Comparison
from optrun.comparisons.figures.picture import INK, Picture, plain
from optrun.pictures.figures import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ranking"]

MOST = 20
"""Groups in the picture."""
STYLES = {"leader": PALETTE[2], "baseline": PALETTE[2], "better": PALETTE[0], "worse": PALETTE[1]}


def ranking(found: Comparison) -> Picture | None:
    """Means, 95 % intervals and single runs of the best groups; None without any."""
    groups = [each for each in found.groups if each.mean is not None][:MOST]
    if not groups:
        return None
    few = f" The best {len(groups)} of {len(found.groups)} groups." if len(found.groups) > len(groups) else ""
    return Picture(
        key="ranking",
        title=f"{found.metric}, best first",
        caption="Mean over seeds (dot), its 95 % interval (line) and each run (pale). Green is what the others are "
        f"compared with, red is worse, blue is better, grey is not distinguishable from it.{few}",
        draw=lambda ax: _draw(ax, groups),
        size=(6.4, 0.8 + 0.22 * len(groups)),
    )


def _draw(ax: Axes, groups: Sequence[Compared]) -> None:
    for row, each in enumerate(groups):
        colour = STYLES.get(each.verdict, "#8a8a8a")
        runs = [value for value in each.values if value is not None]
        ax.plot(runs, [row] * len(runs), "o", color=colour, alpha=0.35, markersize=4, markeredgewidth=0)
        if each.ci95 is not None:
            ax.plot(each.ci95, [row, row], "-", color=colour, linewidth=1.6)
        if each.mean is not None:
            ax.plot([each.mean], [row], "o", color=colour, markersize=5.5)
    reference = next((each for each in groups if each.verdict in ("leader", "baseline")), None)
    if reference is not None and reference.mean is not None:
        ax.axvline(reference.mean, color=INK, linewidth=0.8, linestyle=":")
    ax.set_yticks(range(len(groups)), [plain(each.group.label, 48) for each in groups])
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.grid(False, axis="y")
    values = sorted(value for each in groups for value in (*each.values, *(each.ci95 or ())) if value is not None)
    if groups[0].ci95 is not None and values[0] < values[-1]:
        _leave_out_what_is_far(ax, [value for each in groups for value in each.values if value is not None])


def _leave_out_what_is_far(ax: Axes, runs: Sequence[float]) -> None:
    """With two seeds an interval can be a hundred times wider than all runs together: the runs set the scale."""
    span = (max(runs) - min(runs)) or abs(max(runs)) or 1.0
    low, high = ax.get_xlim()
    ax.set_xlim(max(low, min(runs) - span), min(high, max(runs) + span))
