"""A comparison on the screen: a table, what came of it in sentences, and curves if they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from optrun.cli.compare_cells import Column, columns, group_column
from optrun.cli.output import visible
from optrun.comparisons.wording import best_of, taken
from optrun.config.labels import Labels, counted

if TYPE_CHECKING:
    from rich.table import Table

    from optrun.comparisons import Compared, Comparison, Skipped
    from optrun.comparisons.targets import Target
    from optrun.pictures.panel import Curve, Panel

__all__ = ["screen", "skipped_lines"]

GAP = 2
NARROWEST = 16
"""Columns in which the name of a group can be read."""
FEWEST_SETTINGS = 6
"""Fewer say nothing of what mattered."""
MOST_DRAWN = 6
"""Curves in one picture."""
STYLES = {"leader": "green", "baseline": "green", "better": "green", "worse": "dim"}


def screen(found: Comparison, target: Target | None, *, plot: bool, width: int) -> Iterator[Any]:
    """What is printed, part by part; `width` in characters."""
    listed = columns(found, target, curves=True)
    shown = _fitting(found, listed, width)
    yield visible(_heading(found))
    yield ""
    yield _stacked(found, listed) if shown is None else _table(found, shown)
    yield ""
    yield f"{visible(found.conclusion)}."
    for sentence in [*_mattered(found), *found.notes]:
        yield f"{visible(sentence[0].upper() + sentence[1:])}."
    told = shown or _important(listed)
    rest = [column for column in listed if not column.setting and column not in told]
    left_out = [column.heading for column in sorted(rest, key=lambda column: column.worth)]
    if left_out:
        yield f"No room here for: {', '.join(left_out)}; a wider window, --format csv and --html have them."
    if plot:
        from optrun.pictures.terminal import Chart

        for panel in panels(found):
            yield ""
            yield Chart(panel)


def _heading(found: Comparison) -> str:
    runs = counted(sum(each.results for each in found.groups), "run")
    way = "more" if found.mode == "max" else "less"
    which = f"{taken(found)}, " if taken(found) else ""
    groups = counted(len(found.groups), "group")
    return f"{found.metric} of {groups}, {runs}: {which}{way} is better; mean ± deviation"


def _fitting(found: Comparison, listed: Sequence[Column], width: int) -> list[Column] | None:
    """The columns there is room for; those worth least are left out first. None where it takes more than a line."""
    kept = list(listed)
    while sum(each.width + GAP for each in kept) - GAP > width:
        least = min(kept, key=lambda each: each.worth)
        if least.worth == 9:
            break
        kept.remove(least)
    else:
        return kept
    first = next(place for place, each in enumerate(kept) if each.setting)
    group = group_column(found)
    others = sum(each.width + GAP for each in kept if not each.setting)
    if others + min(group.width, NARROWEST) > width:
        return None
    return [*kept[:first], group, *(each for each in kept[first:] if not each.setting)]


def _table(found: Comparison, shown: Sequence[Column]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column in shown:
        align: Any = "right" if column.right else "left"
        table.add_column(Text(column.heading), justify=align, no_wrap=column.heading != "group", overflow="fold")
    for row, each in enumerate(found.groups):
        cells = [
            Text(column.cells[row], STYLES.get(each.verdict, "") if column.heading == "verdict" else "")
            for column in shown
        ]
        table.add_row(*cells, style=_style(each))
    return table


def _stacked(found: Comparison, listed: Sequence[Column]) -> Table:
    """Each group in lines of its own, for a terminal that is narrower than any table."""
    from rich.table import Table
    from rich.text import Text

    number, *important = _important(listed)
    group = group_column(found)
    table = Table.grid(padding=(0, GAP, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for row, each in enumerate(found.groups):
        figures = [_named(column, column.cells[row], found) for column in important if column.cells[row]]
        style = _style(each)
        table.add_row(Text(number.cells[row]), Text(group.cells[row], "" if style == "dim" else "bold"), style=style)
        table.add_row("", Text(", ".join(figures)), style=style)
    return table


def _named(column: Column, cell: str, found: Comparison) -> str:
    """A figure with its heading, unless it speaks for itself."""
    return cell if column.heading in (found.metric, "verdict", "") else f"{column.heading} {cell}"


def _important(listed: Sequence[Column]) -> list[Column]:
    return [column for column in listed if column.worth == 9 and not column.setting]


def _style(each: Compared) -> str:
    return "bold" if each.verdict in ("leader", "baseline") else "dim" if each.verdict == "worse" else ""


def _mattered(found: Comparison) -> Iterator[str]:
    """Which hyperparameter explains most of the differences between settings."""
    from optrun.comparisons.importance import importances

    listed = importances(found.points, found.mode)
    alike: dict[tuple[float, float, int], list[str]] = {}  # keys that go together explain the same
    for each in listed:
        alike.setdefault((each.share, each.by_chance, each.points), []).append(each.key)
    if len(found.points) < FEWEST_SETTINGS or len(alike) < 2:
        return
    names = Labels([{each.key: None for each in listed}]).names
    most = max(each.points for each in listed)
    parts = []
    for (share, by_chance, points), keys in alike.items():
        which = "" if points == most else f", of the {points} that have it"
        parts.append(f"{' with '.join(names[key] for key in keys)} {share:.0%} (by chance {by_chance:.0%}{which})")
    settings = len(found.points)
    yield f"of the differences between {settings} settings, in ranks, each alone explains: {', '.join(parts[:4])}"


def skipped_lines(found: Comparison, most: int = 3) -> list[str]:
    """A line for each reason why runs are in no figure or in no curve, with the first of them."""
    lines = []
    for what, runs in {"skipped": found.skipped, "left out of curves": found.damaged}.items():
        reasons: dict[str, list[Skipped]] = {}
        for each in runs:
            reasons.setdefault(each.kind, []).append(each)
        for kind, alike in reasons.items():
            more = f" and {len(alike) - most:,} more" if len(alike) > most else ""
            reason = alike[0].reason if len({each.reason for each in alike}) == 1 else kind
            lines.append(visible(f"{what} {', '.join(str(each.path) for each in alike[:most])}{more}: {reason}"))
    return lines


def panels(found: Comparison) -> list[Panel]:
    """The curves of the best groups, the sensitivity to each hyperparameter, and what a budget of k settings finds."""
    from optrun.comparisons.bands import band
    from optrun.pictures.panel import Curve, Panel, log_helps

    drawn = []
    with_results = [each for each in found.groups if each.results]
    bands = [(each.group.label, band(each.group, found.metric)) for each in with_results[:MOST_DRAWN]]
    curves = [Curve(label, its.xs, its.mean, pointed=len(its.xs) < 30) for label, its in bands if its.xs]
    if curves:
        title = f"{found.metric}{best_of(len(curves), len(found.groups), 'group')}"
        drawn.append(Panel(title, curves, log_y=log_helps(curves)))
    return [*drawn, *_sensitivities(found), *_budgets(found)]


def _sensitivities(found: Comparison) -> Iterator[Panel]:
    from optrun.comparisons.answers import responses
    from optrun.pictures.panel import Curve, Panel

    by_key: dict[str, list[Curve]] = {}
    for response in responses(found):
        spots = [spot for spot in response.spots if spot.figures.mean is not None]
        xs, ys = [float(spot.value) for spot in spots], [spot.figures.mean for spot in spots]
        if len(spots) > 1:
            by_key.setdefault(response.key, []).append(Curve(response.series, xs, ys, pointed=True))
    for key, curves in by_key.items():
        xs = [x for curve in curves for x in curve.xs]
        wide = min(xs) > 0 and max(xs) >= 10 * min(xs)
        shown, title = _most_drawn(f"{found.metric} against {key}", curves)
        yield Panel(title, shown, x_name=key.rpartition(".")[2], log_x=wide)


def _budgets(found: Comparison) -> Iterator[Panel]:
    from optrun.comparisons.budgets import budgets
    from optrun.pictures.panel import Curve, Panel

    curves = []
    for series, of in budgets(found.points, found.mode).items():
        known = [each for each in of if each.mean is not None]
        if len(known) > 1:
            curves.append(Curve(series, [each.k for each in known], [each.mean for each in known], pointed=True))
    if curves:
        shown, title = _most_drawn(f"expected best {found.metric} of k settings", curves)
        yield Panel(title, shown, x_name="k")


def _most_drawn(title: str, curves: Sequence[Curve]) -> tuple[Sequence[Curve], str]:
    """The curves of the best optimizers, and a title that says so."""
    shown = curves[:MOST_DRAWN]
    return shown, title + best_of(len(shown), len(curves), "optimizer")
