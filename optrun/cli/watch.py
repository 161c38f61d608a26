"""`optrun watch`: how a sweep or a run goes on that another process trains."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from optrun.cli import options
from optrun.cli.output import Output, print_json

if TYPE_CHECKING:
    from optrun.sweeps.watching import Watched

REFRESH = 1.0
"""Seconds between two looks at the directory."""


def watch(
    path: Annotated[
        Optional[str],  # noqa: UP045 (typer reads this at run time)
        typer.Argument(metavar="PATH", help="A sweep, a run or a directory of them; by default all runs."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show how things stand now, and end.")] = False,
    imports: options.Imports = None,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show how a sweep or a run goes on that another process trains, from any machine that sees its directory.

    It only reads, and ends when nothing runs any more. With --json: how things stand now.
    """
    from optrun.components.plugins import import_file
    from optrun.runs.finding import directory_of
    from optrun.sweeps.watching import Watched

    output = Output(json, quiet)
    for file in imports or []:
        import_file(file)
    watched = Watched(runs_dir if path is None else directory_of(path, runs_dir))
    if json or once:
        _show_once(watched, output)
        return

    from optrun.cli.watch_screen import follow

    follow(watched, REFRESH, output)


def _show_once(watched: Watched, output: Output) -> None:
    from optrun.errors import NoRunsYet

    events = list(watched.look())
    for note in watched.notes:
        output.warn(note)
    if not watched.trials:
        raise NoRunsYet(f"there are no runs in {watched.directory} yet")
    if output.json:
        print_json(_as_json(watched, events))
        return

    from optrun.cli.watch_screen import print_once

    print_once(watched, events, output)


def _as_json(watched: Watched, events: Iterable[Any]) -> dict[str, Any]:
    from optrun.sweeps.pace import PaceOfRecords

    pace = PaceOfRecords(watched)
    for event in events:
        pace.heard(*event)
    best = pace.best
    return {
        "path": str(watched.directory),
        "state": watched.state,
        "last_sign": _moment(watched.last_sign),
        "metric": watched.objective.metric,
        "mode": watched.objective.mode,
        "planned": watched.planned,
        "due": watched.due,
        "share": pace.share,
        "counts": watched.counts,
        "seconds_left": pace.left,
        "best": None if best is None else {"value": best[0], "path": str(best[1].directory)},
        "running": [_running(watched, trial) for trial in watched.standing.running],
    }


def _running(watched: Watched, trial: Any) -> dict[str, Any]:
    from optrun.runs.life import last_sign

    progress = trial.progress
    return {
        "path": str(trial.directory),
        "settings": dict(trial.point.settings),
        "seed": trial.spec.seed,
        "status": "silent" if trial in watched.silent else "running",
        "last_sign": _moment(last_sign(trial.directory)),
        "epoch": progress.epoch,
        "step": progress.values.get("step", 0),
        "total_steps": progress.total_steps if progress.step else None,
        "steps_per_second": watched.rates.get(trial),
        "values": {key: value for key, value in progress.values.items() if "/" in key},
    }


def _moment(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds") if seconds else None
