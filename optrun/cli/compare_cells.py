"""The columns of a comparison in words: the same for the terminal, for Markdown and for LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optrun.cli.output import visible
from optrun.cli.wording import brief, duration, rate
from optrun.comparisons import wording
from optrun.config.labels import Labels

if TYPE_CHECKING:
    from optrun.comparisons import Compared, Comparison
    from optrun.comparisons.targets import Target

__all__ = ["Column", "columns", "group_column", "sparkline"]

BARS = "▁▂▃▄▅▆▇█"
MOST_CURVES = 50
"""Groups up to which curves are drawn: they are read from every row of every run."""
CURVE = 12
"""Characters of a curve."""


@dataclass(frozen=True)
class Column:
    """A heading and a cell for each group."""

    heading: str
    cells: Sequence[str]
    right: bool = True
    worth: int = 9
    """Columns worth less are left out first where there is no room; those worth 9 never are."""
    setting: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "heading", visible(self.heading))
        object.__setattr__(self, "cells", [visible(cell) for cell in self.cells])

    @property
    def width(self) -> int:
        return max(map(len, [self.heading, *self.cells]), default=0)


def columns(found: Comparison, target: Target | None = None, *, curves: bool = False) -> list[Column]:
    """A column for each setting that differs and each figure that some group has."""
    groups = found.groups
    reference = "the baseline" if any(each.verdict == "baseline" for each in groups) else "the leader"

    def column(heading: str, cell: Callable[[Compared], str], *, right: bool = True, worth: int = 9) -> Column:
        return Column(heading, [cell(each) for each in groups], right, worth)

    listed = [
        Column("", [str(number) for number in range(1, len(groups) + 1)]),
        *_settings(found),
        column(found.metric, wording.mean),
        column("95 % interval", lambda each: wording.between(each.ci95), worth=5),
        column("best", lambda each: wording.of_one_run(each.best, each), worth=2),
        column("median", lambda each: wording.of_one_run(each.median, each), worth=2),
        column("worst", lambda each: wording.of_one_run(each.worst, each), worth=2),
        column("n", lambda each: str(each.n)),
        column("", wording.flags, right=False),
    ]
    if curves and len(groups) <= MOST_CURVES:
        listed.append(Column("over steps", _curves(found), right=False, worth=4))
    if any(each.difference for each in groups):
        listed += [
            column(f"to {reference}", wording.difference, worth=7),
            column("95 % interval", wording.difference_interval, worth=3),
            column("p", wording.p_value, worth=6),
        ]
    listed += [
        column("verdict", lambda each: each.verdict, right=False),
        column("more seeds", wording.seeds_wanted, worth=8),
        *_costs(groups),
        *_targets(groups, target, found.metric),
    ]
    return [each for each in listed if any(cell not in ("", wording.NONE) for cell in each.cells)]


def _settings(found: Comparison) -> list[Column]:
    settings = [each.group.settings for each in found.groups]
    labels = Labels(settings)
    if not labels.names:
        return [group_column(found)]
    return [
        Column(
            name,
            [labels.value(key, its[key]) if key in its else "" for its in settings],
            right=all(isinstance(its.get(key, 0), int | float) for its in settings),
            setting=True,
        )
        for key, name in labels.names.items()
    ]


def group_column(found: Comparison) -> Column:
    """All settings in one column, for where they have no room side by side."""
    settings = [each.group.settings for each in found.groups]
    labels = Labels(settings)
    names = [labels.label(its) or each.group.label for its, each in zip(settings, found.groups)]
    return Column("group", names, right=False, setting=True)


def _costs(groups: Sequence[Compared]) -> Iterable[Column]:
    from optrun.comparisons.costs import costs

    its = [costs(each.group) for each in groups]
    clipped = [each.clipped_fraction for each in its]
    if any(clipped):
        yield Column("clipped", ["" if share is None else f"{share:.0%}" for share in clipped], worth=2)
    yield Column("training", [duration(each.train_time) for each in its], worth=1)
    yield Column("samples/s", [_throughput(each.samples_per_second) for each in its], worth=0)


def _throughput(per_second: float | None) -> str:
    return "" if per_second is None else rate(per_second, "").removesuffix(" /s")


def _targets(groups: Sequence[Compared], target: Target | None, metric: str) -> Iterable[Column]:
    """Medians of steps and seconds until the target; how many runs got there, where not all did."""
    if target is None:
        return
    from optrun.comparisons.targets import to_target

    name = "" if target.metric == metric else f"{target.metric} "
    its = [to_target(each.group, target) for each in groups]
    sign = "≥" if target.mode == "max" else "≤"
    shares = [f" ({each.reached} of {len(each.steps)})" if each.reached < len(each.steps) else "" for each in its]
    steps = [_finite(each.step, brief) + share for each, share in zip(its, shares)]
    yield Column(f"steps to {name}{sign} {brief(target.value)}", steps, worth=8)
    yield Column("time to it", [_finite(each.time, duration) for each in its], worth=6)


def _finite(value: float, written: Callable[[float], str]) -> str:
    return wording.NONE if math.isnan(value) else "never" if math.isinf(value) else written(value)


def _curves(found: Comparison) -> list[str]:
    """Each group's mean over its seeds, all on one scale."""
    from optrun.comparisons.bands import band

    means = [band(each.group, found.metric).mean for each in found.groups]
    values = sorted(value for mean in means for value in mean)
    if not values:
        return [""] * len(means)
    low, high = values[0], values[-1]
    if found.mode == "min":  # a loss that starts high, or explodes, would flatten all the rest
        high = values[int(0.9 * (len(values) - 1))]
    else:
        low = values[int(0.1 * (len(values) - 1))]
    return [sparkline(mean, low, high) for mean in means]


def sparkline(values: Sequence[float], low: float, high: float, width: int = CURVE) -> str:
    """Values as bars of eight heights from `low` to `high`, at most `width` of them, each a mean."""
    if not values:
        return ""
    count = min(width, len(values))
    shares = [values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)]
    heights = [(math.fsum(share) / len(share) - low) / ((high - low) or 1.0) for share in shares]
    return "".join(BARS[round(min(max(height, 0.0), 1.0) * (len(BARS) - 1))] for height in heights)
