"""The ranking of a sweep as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optrun.cli.wording import fixed
from optrun.config.labels import Labels

if TYPE_CHECKING:
    from rich.table import Table

    from optrun.sweeps.ranking import Ranked

__all__ = ["ranking_table"]


def ranking_table(ranking: Sequence[Ranked], metric: str) -> Table:
    """A row a point, best first: its settings, mean ± standard deviation over its n seeds, and what is missing."""
    from rich.table import Table
    from rich.text import Text

    labels = Labels(point.settings for point in ranking)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", justify="right", no_wrap=True)
    for name in labels.names.values():
        table.add_column(name, overflow="fold")
    table.add_column(metric, justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    remarks = [remark(point) for point in ranking]
    if any(remarks):
        table.add_column("", overflow="fold")
    for number, (point, said) in enumerate(zip(ranking, remarks), 1):
        cells = [labels.value(key, point.settings[key]) if key in point.settings else "" for key in labels.names]
        row = [str(number) if point.mean is not None else "", *cells, spread(point), str(len(point.values))]
        style = "bold" if number == 1 and point.mean is not None else "dim" if point.mean is None else ""
        table.add_row(*map(Text, [*row, said] if any(remarks) else row), style=style)
    return table


def spread(point: Ranked) -> str:
    """`0.9711 ± 0.0043`; one value alone has no spread."""
    if point.mean is None:
        return "–"
    return fixed(point.mean) + (f" ± {fixed(point.std)}" if point.std is not None else "")


def remark(point: Ranked) -> str:
    """What a mean leaves out."""
    counts = {"failed": point.failed, "diverged": point.diverged, "unfinished": point.unfinished}
    if point.pruned:
        return "pruned"
    return ", ".join(f"{number} {status}" for status, number in counts.items() if number)
