"""What is said of a group, in words: the same in the terminal, in a table for a paper, and in the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optrun.comparisons.comparison import Compared, Comparison
from optrun.comparisons.outcomes import FIGURES
from optrun.config.labels import counted

__all__ = [
    "NONE",
    "alike",
    "best_of",
    "between",
    "difference",
    "difference_interval",
    "flags",
    "mean",
    "of_one_run",
    "p_value",
    "seeds_wanted",
    "taken",
]

NONE = "–"
_LARGEST, _SMALLEST = 1e9, 1e-3
"""Larger numbers and smaller ones are written with a power of ten."""
_DUST = 1e-9
"""Beside numbers that are not so small, this is rounding."""


def alike(*values: float, smallest: float = _SMALLEST) -> list[str]:
    """Numbers of one cell in one style: with the same decimals, or the same power of ten where all are smaller.

    Five digits of the largest, or as many more as it takes to show a spread that is small beside it; whole numbers such
    as steps as they are.
    """
    largest = max(map(abs, values))
    if largest and not smallest <= largest < _LARGEST:
        exponent = math.floor(math.log10(largest))
        return [f"{_scaled(value, exponent):.3f}".replace("-", "−") + f"e{exponent}" for value in values]
    if largest >= 10 and all(value == round(value) for value in values):
        return [f"{value:,.0f}".replace("-", "−") for value in values]
    decimals = 4 - min(max(math.floor(math.log10(largest)) if largest else 0, 0), 4)
    least = min((abs(value) for value in values if abs(value) > _DUST), default=1.0)
    if least < 0.5 * 10.0**-decimals:
        decimals = -math.floor(math.log10(least))
    return [f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−") for value in values]


def _scaled(value: float, exponent: int) -> float:
    return value / 10.0**exponent if exponent > -300 else value * 1e300 / 10.0 ** (exponent + 300)


def taken(found: Comparison) -> str:
    """Which value of each run is compared: `best evaluation`; nothing for a figure that a run has once."""
    if found.metric in FIGURES:
        return ""
    if found.metric.startswith("test/"):
        return "evaluation at the end"
    return f"{found.at} evaluation" if found.metric.startswith("val/") else f"{found.at} row"


def best_of(shown: int, of: int, noun: str) -> str:
    """What a title adds where not all are shown: `, the best 7 of 33 groups`."""
    return "" if shown == of else f", the best {f'{shown} ' if shown > 1 else ''}of {counted(of, noun)}"


def mean(each: Compared) -> str:
    """`0.9711 ± 0.0043`: mean and standard deviation over seeds."""
    if each.mean is None:
        return NONE
    return " ± ".join(alike(each.mean, *([] if each.std is None else [each.std])))


def between(ends: Sequence[float] | None) -> str:
    """An interval: `0.9830 … 0.9910`."""
    return "" if ends is None else " … ".join(alike(*ends))


def of_one_run(value: float | None, each: Compared) -> str:
    """The value of one run of the group, which may be one that diverged or never reached the target."""
    if value is not None:
        return alike(value)[0]
    return "diverged" if each.diverged else "never" if each.unreached else NONE


def flags(each: Compared) -> str:
    """How many of the runs are no finite result, and why."""
    unfinished = {status: each.group.count(status) for status in ("pruned", "interrupted", "running")}
    counts = {"diverged": each.diverged, "never reached it": each.unreached, "failed": each.failed, **unfinished}
    return ", ".join(f"{number} {word}" for word, number in counts.items() if number)


def difference(each: Compared) -> str:
    """To the leader or the baseline: `−0.0046`, `identical`, or nothing where there is no such number."""
    its = each.difference
    if its is None or its.mean is None:
        return ""
    return "identical" if its.identical else _signed(its.mean)[0]


def difference_interval(each: Compared) -> str:
    """The 95 % interval of the difference."""
    its = each.difference
    return "" if its is None or its.identical or its.ci95 is None else " … ".join(_signed(*its.ci95))


def _signed(*values: float) -> list[str]:
    """Differences, with the decimals of what they are differences of."""
    return [f"+{text}" if value > 0 else text for value, text in zip(values, alike(*values, smallest=5e-5))]


def p_value(each: Compared) -> str:
    """The corrected p of the difference."""
    p = None if each.difference is None else each.difference.p
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def seeds_wanted(each: Compared) -> str:
    """About how many more seeds would tell the difference."""
    return "" if each.more_seeds is None else f"≈ {each.more_seeds}"
