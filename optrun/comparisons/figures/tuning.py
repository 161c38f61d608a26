"""What the settings did: sensitivity, budgets, importance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from optrun.comparisons.answers import responses
from optrun.comparisons.budgets import Budget, budgets
from optrun.comparisons.comparison import Comparison
from optrun.comparisons.figures.picture import INK, MOST_SERIES, Picture, colour, plain, tag
from optrun.comparisons.importance import Importance, importances
from optrun.comparisons.sensitivity import Response
from optrun.comparisons.wording import best_of
from optrun.config.labels import brief

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["best_of_k", "importance", "sensitivities"]

FEWEST_SETTINGS = 6
"""Fewer say nothing of what mattered."""


def sensitivities(found: Comparison) -> list[Picture]:
    """The metric against every hyperparameter that is a number."""
    by_key: dict[str, list[Response]] = {}
    for response in responses(found):
        by_key.setdefault(response.key, []).append(response)
    return [_sensitivity(found, key, its) for key, its in by_key.items()]


def _sensitivity(found: Comparison, key: str, every: Sequence[Response]) -> Picture:
    its = every[:MOST_SERIES]
    return Picture(
        key=f"sensitivity-{key.replace('.', '-')}",
        title=f"{found.metric} against {key}{best_of(len(its), len(every), 'optimizer')}",
        caption="At each value the best of the settings that have it, as a tuner of the others would find it: mean "
        "over seeds ± standard deviation. A cross at the edge: a run diverged.",
        draw=lambda ax: _draw_responses(ax, its, key, found.mode),
        series=[response.series for response in its],
    )


def _draw_responses(ax: Axes, its: Sequence[Response], key: str, mode: str) -> None:
    low, high = _reach(its)
    if low > 0 and high >= 8 * low:
        ax.set_xscale("log")
    for number, response in enumerate(its):
        spots = [
            (float(spot.value), mean, spot.figures.std or 0.0)
            for spot in response.spots
            if (mean := spot.figures.mean) is not None
        ]
        if spots:
            line = ax.errorbar(
                [x for x, _, _ in spots],
                [mean for _, mean, _ in spots],
                yerr=[std for _, _, std in spots],
                color=colour(number),
                marker="o",
                markersize=4,
                capsize=2,
                elinewidth=1,
            )
            tag(number, *line.get_children())
        if lost := [float(spot.value) for spot in response.spots if spot.figures.diverged]:
            tag(number, *_crosses(ax, lost, (low, high), number, at_top=mode == "min"))
    ax.set_xlabel(plain(key))


def _reach(its: Sequence[Response]) -> tuple[float, float]:
    """Of the axis: from the lowest to the highest value with a mean, and a little further if a run diverged beyond."""
    every = [(float(spot.value), spot.figures.mean) for response in its for spot in response.spots]
    known = [x for x, mean in every if mean is not None] or [x for x, _ in every]
    low, high = min(known), max(known)
    positive = min(x for x, _ in every) > 0
    span = (high - low) or abs(high) or 1.0
    farthest = (low / 20, high * 20) if positive else (low - span, high + span)
    near = [x for x, _ in every if farthest[0] <= x <= farthest[1]]
    low, high = min(near), max(near)
    if any(x > high for x, _ in every):
        high = 4 * high if positive else high + span / 4
    if any(x < low for x, _ in every):
        low = low / 4 if positive else low - span / 4
    return low, high


def _crosses(
    ax: Axes, lost: Sequence[float], reach: tuple[float, float], number: int, *, at_top: bool
) -> Iterator[Artist]:
    """Where runs diverged, at the edge of the picture; what is far away stands at its end, with its value."""
    low, high = reach
    at, edge = ax.get_xaxis_transform(), 1.0 if at_top else 0.0
    within = [min(max(x, low), high) for x in lost]
    yield from ax.plot(within, [edge] * len(lost), "x", color=colour(number), transform=at, clip_on=False)
    ends = (low, "left", "← {}", [x for x in lost if x < low]), (high, "right", "{} →", [x for x in lost if x > high])
    for place, side, text, beyond in ends:
        if beyond:
            yield ax.annotate(
                text.format(_range(beyond)),
                (place, edge),
                xycoords=at,
                xytext=(0, (-1 if at_top else 1) * (10 + 10 * number)),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=7.5,
                color=colour(number),
            )


def _range(values: Sequence[float]) -> str:
    """`1e20 … 1e30`, or the only one."""
    return " … ".join(dict.fromkeys([brief(min(values)), brief(max(values))]))


def best_of_k(found: Comparison) -> Picture | None:
    """What a tuning budget of k settings can be expected to find, by optimizer; None where nothing was tuned."""
    by_optimizer = {series: of for series, of in budgets(found.points, found.mode).items() if len(of) > 1}
    if not by_optimizer:
        return None
    shown = dict(list(by_optimizer.items())[:MOST_SERIES])
    return Picture(
        key="best-of-k",
        title=f"expected best {found.metric} of k settings{best_of(len(shown), len(by_optimizer), 'optimizer')}",
        caption="Of the settings that were tried, k drawn at random: the expected best of their means over seeds, "
        "between its quartiles (Tang et al. 2020). Where k of them could all have diverged nothing is drawn.",
        draw=lambda ax: _draw_budgets(ax, list(shown.values())),
        series=list(shown),
    )


def _draw_budgets(ax: Axes, budgets: Sequence[Sequence[Budget]]) -> None:
    for number, of in enumerate(budgets):
        known = [(each.k, each.mean) for each in of if each.mean is not None]
        if known:
            marker = "o" if len(known) < 30 else ""
            (line,) = ax.plot(*zip(*known), color=colour(number), marker=marker, markersize=3)
            tag(number, line)
        bounded = [(each.k, each.low, each.high) for each in of if each.low is not None and each.high is not None]
        if bounded:
            area = ax.fill_between(
                [k for k, _, _ in bounded],
                [low for _, low, _ in bounded],
                [high for _, _, high in bounded],
                color=colour(number),
                alpha=0.15,
                linewidth=0,
            )
            tag(number, area)
    ax.set_xlabel("k, settings tried")
    ax.locator_params(axis="x", integer=True)


def importance(found: Comparison) -> Picture | None:
    """Which hyperparameter mattered; None where too few settings were tried."""
    if len(found.points) < FEWEST_SETTINGS:
        return None
    its = importances(found.points, found.mode)[:12]
    if len(its) < 2:
        return None
    return Picture(
        key="importance",
        title="what mattered",
        caption="Share of the differences between settings, in ranks, that each hyperparameter explains by itself; the "
        "mark is what one without any influence explains by chance. Hyperparameters that go together share it.",
        draw=lambda ax: _draw_shares(ax, its),
        size=(4.0, 1.0 + 0.22 * len(its)),
    )


def _draw_shares(ax: Axes, its: Sequence[Importance]) -> None:
    rows = range(len(its))
    ax.barh(rows, [each.share for each in its], height=0.62, color=colour(0))
    ax.plot([each.by_chance for each in its], list(rows), "|", color=INK, markersize=11, markeredgewidth=1.6)
    most = max(each.points for each in its)
    remarks = ["" if each.points == most else f" (of {each.points})" for each in its]
    ax.set_yticks(rows, [plain(each.key, 32) + remark for each, remark in zip(its, remarks)])
    ax.set_ylim(len(its) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.grid(False, axis="y")
