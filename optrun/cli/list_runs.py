"""`optrun list`: what runs there are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from optrun.cli import options
from optrun.cli.output import Output, print_json, visible
from optrun.cli.wording import STATUS_STYLES, brief, duration

if TYPE_CHECKING:
    from rich.table import Table

    from optrun.runs.reader import Run

WIDE = 110
"""Columns from which there is room for what was trained."""


def list_runs(
    paths: Annotated[Optional[list[Path]], typer.Argument(help="Runs, sweeps or globs.", show_default=False)] = None,  # noqa: UP045
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List runs with their status and best result, oldest first."""
    from optrun.runs.finding import find

    output = Output(json, quiet)
    runs = find(paths or [], runs_dir)
    if json:
        print_json([{**run.summary, "status": run.status, "path": str(run.path)} for run in runs])
    elif not runs:
        output.remarks.print(f"there are no runs in {runs_dir} yet")
    else:
        console = output.results
        console.print(_table(runs, runs_dir, wide=console.width >= WIDE), soft_wrap=False)
    for run in runs:
        for problem in run.problems:
            output.warn(problem)


def _table(runs: Sequence[Run], runs_dir: Path, *, wide: bool) -> Table:
    """A row a run. A metric that all share stands in the heading; with room, what was trained stands beside it."""
    from rich.table import Table
    from rich.text import Text

    metrics = {(run.summary.get("best") or {}).get("metric") for run in runs} - {None}
    shared = metrics.pop() if len(metrics) == 1 else None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("run", overflow="fold")
    table.add_column("status", no_wrap=True)
    if wide:
        table.add_column("optimizer", overflow="fold")
        table.add_column("scheduler", overflow="fold")
    table.add_column("epochs", justify="right", no_wrap=True)
    table.add_column(f"best {shared}" if shared and wide else shared or "best", justify="right", overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    for run in runs:
        status = Text(run.status, STATUS_STYLES.get(run.status, ""))
        trained = _trained(run.config) if wide else []
        table.add_row(Text(visible(_name(run.path, runs_dir))), status, *trained, *_numbers(run, shared))
    return table


def _name(path: Path, runs_dir: Path) -> str:
    """The shortest name that the other commands understand."""
    relative = os.path.relpath(path, runs_dir)
    return str(path) if relative.startswith("..") else relative


def _numbers(run: Run, shared: str | None) -> list[str]:
    """Epochs, of how many if it did not reach them; the best value; the time."""
    summary, best = run.summary, run.summary.get("best") or {}
    epochs = "" if summary.get("epochs") is None else str(summary["epochs"])
    if run.status != "completed" and run.config.get("epochs"):
        epochs += f"/{run.config['epochs']}"
    value = brief(best["value"]) if best.get("value") is not None else ""
    name = "" if shared or not value else f"{best.get('metric')} "
    return [epochs, name + value, duration(summary.get("wall_time"))]


def _trained(config: dict[str, Any]) -> list[str]:
    """The optimizer with its settings, and the scheduler's name."""
    return [_in_short(config.get("optimizer"), settings=True), _in_short(config.get("scheduler"), settings=False)]


def _in_short(choice: Any, *, settings: bool) -> str:
    if not isinstance(choice, dict):
        return str(choice or "–")
    plain = {key: value for key, value in choice.items() if key != "name" and isinstance(value, int | float)}
    shown = "".join(f" {key} {brief(value)}" for key, value in plain.items()) if settings else ""
    return f"{choice.get('name')}{shown}"
