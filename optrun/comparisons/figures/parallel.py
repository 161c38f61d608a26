"""Parallel coordinates: every setting as a line through its values to what came of it.

A. Inselberg (1985), "The plane with parallel coordinates".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optrun.comparisons.comparison import Comparison
from optrun.comparisons.figures.labels import telling
from optrun.comparisons.figures.picture import INK, Picture, colour, plain
from optrun.comparisons.grouping import differing
from optrun.comparisons.statistics import summary
from optrun.comparisons.wording import NONE
from optrun.config.labels import Labels, brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["parallel"]

FEWEST, MOST, MOST_AXES = 4, 300, 7
SHADES = ((0, 0.2), (0, 0.35), (0, 0.55), (0, 0.8), (2, 1.0))
"""Series whose colour is taken, and opacity, from the worst fifth to the best, which is green as leaders are."""


@dataclass(frozen=True)
class Scale:
    """One axis: where its values stand, from 0 to 1."""

    name: str
    places: Mapping[Any, float]


def parallel(found: Comparison) -> Picture | None:
    """All settings that have a result; None for too few, or where fewer than two things vary."""
    valued = [(point, summary(point.values, found.mode).mean) for point in found.points]
    known = [(point, mean) for point, mean in valued if mean is not None][:MOST]
    every = [point.outcomes[0].settings for point, _ in known]
    keys = _axes(every)
    if len(known) < FEWEST or len(keys) < 2:
        return None
    settings = [{key: its[key] for key in keys if key in its} for its in every]
    labels = Labels(settings)
    scales = [_scale(labels, key, settings) for key in keys]
    lines = [[scale.places[_shown(labels, key, its)] for key, scale in zip(keys, scales)] for its in settings]
    means = [mean for _, mean in known]
    wide = Picture(
        key="parallel",
        title=f"every setting and its {found.metric}",
        caption=f"A line is a setting ({len(known)} of {len(found.points)}); on the right is its mean over seeds. The "
        "best fifth is green, the others are the paler the worse they are.",
        draw=lambda ax: _draw(ax, scales, lines, means, found),
        size=(8.8, 3.2),
        wide=True,
    )
    width = max(3.4, 1.15 * (len(keys) + 1))
    return replace(wide, narrow=replace(wide, key="parallel-narrow", size=(width, 3.2)))


def _axes(every: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys that all have and in which some differ; of those that only some have, such as the momentum of SGD, the
    ones that it takes to tell the settings apart."""
    needed = telling(every)
    return [key for key in differing(every) if key in needed or all(key in its for its in every)][:MOST_AXES]


def _shown(labels: Labels, key: str, settings: Mapping[str, Any]) -> str:
    return labels.value(key, settings[key]) if key in settings else NONE


def _scale(labels: Labels, key: str, settings: Sequence[Mapping[str, Any]]) -> Scale:
    """The distinct values in their order, evenly: a learning rate of a grid is as far from the next as any other."""
    distinct = {_shown(labels, key, its): its.get(key) for its in settings}
    numbers = all(isinstance(value, int | float) or value is None for value in distinct.values())

    def order_of(shown: str) -> tuple[bool, bool, Any]:
        return shown != NONE, distinct[shown] is None, (distinct[shown] or 0) if numbers else shown

    order = sorted(distinct, key=order_of)
    gaps = max(len(order) - 1, 1)
    places = {shown: (index / gaps if len(order) > 1 else 0.5) for index, shown in enumerate(order)}
    return Scale(labels.names[key], places)


def _draw(
    ax: Axes, scales: Sequence[Scale], lines: Sequence[Sequence[float]], means: Sequence[float], found: Comparison
) -> None:
    low, high = min(means), max(means)
    order = sorted(range(len(means)), key=lambda index: means[index], reverse=found.mode == "min")  # the best on top
    for rank, index in enumerate(order):
        height = (means[index] - low) / ((high - low) or 1.0)
        series, opacity = SHADES[rank * len(SHADES) // len(order)]
        shift = (rank / max(len(order) - 1, 1) - 0.5) * 0.03  # lines that share a value stand side by side
        ys = [*(place + shift for place in lines[index]), height]
        ax.plot(range(len(ys)), ys, color=colour(series), linewidth=1.1, alpha=opacity)
    for x, scale in enumerate(scales):
        ax.axvline(x, color=INK, linewidth=0.8)
        every = -(-len(scale.places) // 12)
        for shown, place in list(scale.places.items())[::every]:
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
            ax.text(x + 0.03, place, plain(shown, 20), fontsize=7.5, va="center", bbox=box)
    ax.axvline(len(scales), color=INK, linewidth=0.8)
    for height in (0.0, 0.5, 1.0):
        ax.text(len(scales) + 0.04, height, brief(low + height * (high - low)), fontsize=7.5, va="center")
    names = [plain(scale.name, 18) for scale in scales]
    ax.set_xticks(range(len(scales) + 1), [*names, plain(found.metric, 18)])
    ax.set_xlim(-0.1, len(scales) + 0.45)
    ax.set_ylim(-0.06, 1.06)
    ax.set_yticks([])
    ax.grid(False)
    ax.tick_params(axis="x", length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
