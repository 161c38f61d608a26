"""The figures of `python -m benchmarks calibration` as the tables of docs/statistics.md."""

from __future__ import annotations

import itertools
import math
from typing import Any

from benchmarks.calibration import APART, CORRELATION, GROUPS, KINDS, SIZES
from benchmarks.calibration_merged import TRIED, TRIED_KINDS
from optrun.comparisons.statistics import detectable

__all__ = ["detectable_differences", "markdown"]


def markdown(figures: dict[str, Any]) -> list[str]:
    """False claims, power, coverage of one interval, of all intervals together, and false claims on real seeds."""
    rows = {(found["kind"], found["seeds"], found["n"], found["k"]): found for found in figures["false_claims"]}
    heads = [f"k = {k}" for k in GROUPS]
    tables = [_table(["values over seeds", "n", *heads], _claimed(rows))]
    powers = {(found["seeds"], found["n"], found["k"]): found for found in figures["power"]}
    lines = [
        [f"{seeds} seeds, n = {n}", *(_found(powers[seeds, n, k]) for k in GROUPS)]
        for seeds, n in itertools.product(("own", "same"), SIZES)
    ]
    tables.append(_table(["test alone / by theory / verdict", *heads], lines))
    shares = {(found["kind"], found["n"]): f"{found['share']:.1%}" for found in figures["coverage"]}
    lines = [[kind, *(shares[kind, n] for n in SIZES)] for kind in ("normal", "heavy tails", "skewed")]
    tables.append(_table(["values over seeds", *(f"n = {n}" for n in SIZES)], lines))
    together = {(found["seeds"], found["k"], found["apart"]): found["share"] for found in figures["joint_coverage"]}
    lines = [
        [f"{seeds} seeds, {apart:g} apart", *(f"{together[seeds, k, apart]:.1%}" for k in GROUPS)]
        for seeds, apart in itertools.product(("own", "same"), APART)
    ]
    tables.append(_table(["n = 5", *heads], lines))
    lines = [
        [
            f"`{metric}`",
            f"{its['mean']:.4f} ± {its['std']:.4f}",
            *(f"{share:.1%}" for share in its["false_claims"].values()),
        ]
        for metric, its in figures["real"]["metrics"].items()
    ]
    tables.append(_table(["metric", f"mean ± sd of {figures['real']['seeds']} seeds", *heads], lines))
    return [*tables, *_merged(figures["merged"])]


def _merged(figures: dict[str, Any]) -> list[str]:
    """Groups that are the best of several settings: false claims, then power and coverage."""
    names = [" and ".join([", ".join(map(str, tried[:-1])), str(tried[-1])]) for tried in TRIED]
    rows = {(its["kind"], its["seeds"], its["n"], tuple(its["tried"])): its["share"] for its in figures["false_claims"]}
    lines = [
        [
            kind if n == SIZES[0] else "",
            str(n),
            *(f"{rows[kind, 'own', n, tried]:.1%}, {rows[kind, 'same', n, tried]:.1%}" for tried in TRIED),
        ]
        for kind, n in itertools.product(TRIED_KINDS, SIZES)
    ]
    claimed = _table(["values over seeds", "n", *names], lines)
    planted = {(its["seeds"], its["n"], tuple(its["tried"])): its for its in figures["planted"]}
    lines = [
        [
            f"{seeds} seeds, n = {n}",
            *(f"{its['verdict']:.1%}, {its['held']:.1%}" for its in (planted[seeds, n, tried] for tried in TRIED)),
        ]
        for seeds, n in itertools.product(("own", "same"), SIZES)
    ]
    return [claimed, _table(["told, and intervals that hold", *names], lines)]


def detectable_differences() -> str:
    """In standard deviations of the values, what is told 4 times out of 5: of own seeds, and of the same ones."""
    of_pairs = math.sqrt(2 * (1 - CORRELATION))
    lines = [
        [
            f"n = {n}",
            *(
                f"{detectable(n, math.comb(k, 2)):.1f}, {detectable(n, math.comb(k, 2), paired=True) * of_pairs:.1f}"
                for k in GROUPS
            ),
        ]
        for n in (*SIZES, 20)
    ]
    return _table(["", *(f"k = {k}" for k in GROUPS)], lines)


def _claimed(rows: dict[tuple[str, str, int, int], dict[str, Any]]) -> list[list[str]]:
    """A row for each kind and n; where it makes a difference, of own seeds and of the same."""
    return [
        [
            kind if n == SIZES[0] else "",
            str(n),
            *(f"{rows[kind, 'own', n, k]['share']:.1%}, {rows[kind, 'same', n, k]['share']:.1%}" for k in GROUPS),
        ]
        for kind, n in itertools.product(KINDS, SIZES)
    ]


def _found(its: dict[str, Any]) -> str:
    return f"{its['alone']:.1%} / {its['theory']:.1%} / {its['verdict']:.1%}"


def _table(heads: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ["---"] * len(heads), *lines])
