"""Sensitivity: the metric against one hyperparameter, a curve for each optimizer.

At each value of the hyperparameter stands the best of the settings that have it, as a tuner of the others would find it
(Schneider et al. 2019, "DeepOBS: A Deep Learning Optimizer Benchmark Suite", ICLR; arXiv:1903.05499).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optrun.comparisons.grouping import Group
from optrun.comparisons.settings import same
from optrun.comparisons.statistics import Mode, Summary, ranking, summary

__all__ = ["Response", "Spot", "sensitivity", "varied"]


@dataclass(frozen=True)
class Spot:
    """The best setting at one value of the hyperparameter."""

    value: Any
    figures: Summary
    """Of its seeds: mean, deviation, best, worst, how many diverged."""
    settings: Mapping[str, Any]
    chosen_from: int
    """How many settings have that value."""


@dataclass(frozen=True)
class Response:
    """How the metric answers to a hyperparameter."""

    key: str
    series: str
    """Of which optimizer."""
    spots: tuple[Spot, ...]
    """In the order of the values, numbers before all else."""


def varied(points: Sequence[Group]) -> list[str]:
    """The keys that have several values among the points."""
    seen: dict[str, set[Any]] = {}
    for point in points:
        for key, value in point.outcomes[0].settings.items():
            seen.setdefault(key, set()).add(same(value))
    return [key for key, values in seen.items() if len(values) > 1]


def sensitivity(
    points: Sequence[Group], mode: Mode, key: str = "optimizer.lr", by: str = "optimizer.name"
) -> list[Response]:
    """A response for each value of `by` that has points with results at two values of `key` or more."""
    series: dict[str, dict[Any, list[Group]]] = {}
    for point in points:
        settings = point.outcomes[0].settings
        if key in settings and point.values:
            at = series.setdefault(str(settings.get(by)), {})
            at.setdefault(same(settings[key]), []).append(point)
    found = []
    for name, at in series.items():
        if len(at) > 1:
            spots = sorted((_spot(key, alike, mode) for alike in at.values()), key=lambda spot: _order(spot.value))
            found.append(Response(key, name, tuple(spots)))
    return found


def _spot(key: str, alike: Sequence[Group], mode: Mode) -> Spot:
    best = alike[ranking([point.values for point in alike], mode)[0]]
    value = best.outcomes[0].settings[key]
    return Spot(value, summary(best.values, mode), best.settings, len(alike))


def _order(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return not number, float(value) if number else 0.0, "" if number else str(value)
