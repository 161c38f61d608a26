"""How numbers, times and findings are written for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optrun.config.labels import brief, fixed

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["BLUE", "STATUS_STYLES", "brief", "clock", "duration", "fixed", "learning_rate", "print_named", "rate"]

BLUE = "color(32)"
"""Legible on light and on dark backgrounds."""

STATUS_STYLES = {
    "completed": "green",
    "running": BLUE,
    "interrupted": "color(136)",
    "pruned": "dim",
    "failed": "red",
    "diverged": "red",
}


def learning_rate(value: float | Sequence[float], digits: int = 4) -> str:
    """The learning rate of a row; where parameter groups differ, each that occurs, or the range of many."""
    if not isinstance(value, list | tuple):
        return brief(value, digits)
    distinct = sorted(set(value), reverse=True)
    if len(distinct) > 3:
        return f"{brief(distinct[0], digits)} … {brief(distinct[-1], digits)}"
    return ", ".join(brief(each, digits) for each in distinct)


def rate(per_second: float, unit: str) -> str:
    """`2,310 steps/s`; below two a second, with its decimals."""
    return f"{per_second:,.0f} {unit}/s" if per_second >= 10 else f"{per_second:.2g} {unit}/s"


def duration(seconds: Any) -> str:
    """`13 ms`, `0.4 s`, `12 s`, then as a clock has it."""
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return ""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return clock(seconds)


def clock(seconds: float) -> str:
    """`0:07`, `3:20`, `1:02:03`."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def print_named(console: Console, findings: Mapping[str, str]) -> None:
    """Sentences, each with its name before it; wrapped in a terminal, elsewhere one to a line."""
    width = max(map(len, findings), default=0)
    if not console.is_terminal:
        for name, sentence in findings.items():
            console.print(f"{name:<{width}}  {sentence}", soft_wrap=True)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, sentence in findings.items():
        table.add_row(Text(name, STATUS_STYLES.get(name, "dim")), Text(sentence))
    console.print(table, soft_wrap=False)
