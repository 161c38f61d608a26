"""What is said of a group, in words: the same in the terminal, in a table for a paper, and in the report."""

from __future__ import annotations

from collections.abc import Sequence

from optrun.comparisons.comparison import Compared
from optrun.config.labels import fixed

__all__ = [
    "NONE",
    "between",
    "difference",
    "difference_interval",
    "flags",
    "mean",
    "or_diverged",
    "p_value",
    "seeds_wanted",
    "verdict",
]

NONE = "–"


def mean(each: Compared) -> str:
    """`0.9711 ± 0.0043`: mean and standard deviation over seeds."""
    if each.mean is None:
        return NONE
    return fixed(each.mean) + (f" ± {fixed(each.std)}" if each.std is not None else "")


def between(ends: Sequence[float] | None, *, signed: bool = False) -> str:
    """An interval: `0.9830 … 0.9910`."""
    return "" if ends is None else " … ".join(_signed(end) if signed else fixed(end) for end in ends)


def _signed(value: float) -> str:
    """A difference, with the decimals of what it is a difference of: `−0.0009`."""
    written = f"{abs(value):.4f}" if 5e-5 <= abs(value) < 1e4 else fixed(abs(value))
    return {1: "+", 0: "", -1: "−"}[(value > 0) - (value < 0)] + written


def or_diverged(value: float | None, each: Compared) -> str:
    """The value of one run, which may be one that diverged."""
    return fixed(value) if value is not None else "diverged" if each.diverged else NONE


def flags(each: Compared) -> str:
    """How many of the runs are no finite result, and why."""
    unfinished = {status: each.group.count(status) for status in ("pruned", "interrupted", "running")}
    counts = {"diverged": each.diverged, "failed": each.failed, **unfinished}
    return ", ".join(f"{number} {word}" for word, number in counts.items() if number)


def difference(each: Compared) -> str:
    """To the leader or the baseline: `−0.0046`, `identical`, or nothing where there is no such number."""
    its = each.difference
    if its is None or its.mean is None:
        return ""
    return "identical" if its.identical else _signed(its.mean)


def difference_interval(each: Compared) -> str:
    """The 95 % interval of the difference."""
    its = each.difference
    return "" if its is None or its.identical else between(its.ci95, signed=True)


def p_value(each: Compared) -> str:
    """The corrected p of the difference."""
    p = None if each.difference is None else each.difference.p
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def verdict(each: Compared) -> str:
    """The verdict; a group without any result has none."""
    return each.verdict if each.n + each.diverged else "no result"


def seeds_wanted(each: Compared) -> str:
    """About how many more seeds would tell the difference."""
    return "" if each.more_seeds is None else f"≈ {each.more_seeds}"
