"""`optrun list`: what runs there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from optrun.cli import options
from optrun.cli.output import Output, print_json

if TYPE_CHECKING:
    from optrun.runs.reader import Run


def list_runs(
    paths: Annotated[Optional[list[Path]], typer.Argument(help="Runs, sweeps or globs.", show_default=False)] = None,  # noqa: UP045
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List runs with their status and best result, oldest first."""
    from rich.table import Table

    from optrun.runs.reader import find

    output = Output(json, quiet)
    runs = find(paths or [], runs_dir)
    if json:
        print_json([{**run.summary, "status": run.status, "path": str(run.path)} for run in runs])
    elif not runs:
        output.remarks.print(f"there are no runs in {runs_dir} yet", markup=False)
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column, justify in (
            ("run", "left"),
            ("status", "left"),
            ("epochs", "right"),
            ("best", "right"),
            ("time", "right"),
        ):
            table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for run in runs:
            table.add_row(*_cells(run))
        output.results.print(table)
    for run in runs:
        for problem in run.problems:
            output.warn(problem)


def _cells(run: Run) -> list[str]:
    """One run as a row of the table."""
    summary = run.summary
    best = summary.get("best") or {}
    value = f"{best['metric']} {best['value']:.4g}" if best else ""
    return [run.path.name, run.status, str(summary.get("epochs", "")), value, f"{summary.get('wall_time', 0):.1f} s"]
