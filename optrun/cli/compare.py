"""`optrun compare`: which of the runs are better, over their seeds, and whether that can be told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from optrun.cli import options
from optrun.cli.output import Output, print_json
from optrun.errors import UsageError

if TYPE_CHECKING:
    from optrun.comparisons import Comparison
    from optrun.comparisons.targets import Target

FORMATS = ("table", "json", "csv", "markdown", "latex")


def compare(
    paths: Annotated[
        Optional[list[str]],  # noqa: UP045 (typer reads this at run time)
        typer.Argument(metavar="[PATH]...", help="Runs, sweeps or globs; by default all runs.", show_default=False),
    ] = None,
    metric: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="val/loss, train_time, …; by default what the runs were judged by."),
    ] = None,
    mode: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="min|max", help="Which way the metric is better; by default its own."),
    ] = None,
    at: Annotated[
        str, typer.Option(metavar="best|last", help="The metric's best value in a run, or its last.")
    ] = "best",
    group_by: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="KEY[,KEY]", help="One group for each value: of optimizer, the best settings of each."),
    ] = None,
    where: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="KEY=VALUE", help="Only runs with this setting. Repeatable."),
    ] = None,
    top: Annotated[Optional[int], typer.Option(min=1, metavar="N", help="Show the best N groups.")] = None,  # noqa: UP045
    baseline: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="GROUP", help="Compare with this group: KEY=VALUE[,KEY=VALUE], a label, or a path."),
    ] = None,
    target: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="METRIC=VALUE", help="Also the steps and seconds until a metric was that good."),
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw curves and sensitivity below the table.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until no run is running any more.")] = False,
    form: Annotated[str, typer.Option("--format", metavar="|".join(FORMATS), help="How it is written.")] = "table",
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Write a report: one HTML file that opens offline.", show_default=False),
    ] = None,
    png: options.Png = None,
    svg: options.Svg = None,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare runs over their seeds: means with intervals, tests against the best, and what cannot be told.

    Groups are configs equal but for the seed; every pair of groups is tested (docs/statistics.md).
    """
    form = "json" if json else form
    if form not in FORMATS:
        raise UsageError(f"there is no format {form}; choose one of {', '.join(FORMATS)}")
    if plot and form != "table":
        raise UsageError("--plot draws below the table; leave out --format and --json")
    if watch and (form != "table" or html or png or svg):
        raise UsageError("--watch shows the table; leave out --format, --json, --html, --png and --svg")
    output = Output(form != "table", quiet)

    def look() -> Comparison:
        from optrun.comparisons import compare as compare_runs

        return compare_runs(
            paths or [],
            metric=metric,
            mode=mode,  # type: ignore[arg-type]
            group_by=group_by or [],
            where=options.settings(where or [], "--where"),
            top=top,
            baseline=_baseline(baseline),
            at=at,  # type: ignore[arg-type]
            runs_dir=runs_dir,
        )

    if watch:
        from optrun.cli.compare_watch import follow

        follow(look, lambda found: _target(target, found), plot=plot, output=output)
        return
    found = look()
    wanted = _target(target, found)
    _write(found, wanted, html, [png, svg], output)
    _print(found, wanted, form, plot=plot, output=output)


def _print(found: Comparison, target: Target | None, form: str, *, plot: bool, output: Output) -> None:
    if form == "json":
        from optrun.comparisons.answers import as_json

        print_json(as_json(found, target))
        return
    from optrun.cli.compare_table import screen, skipped_lines

    if form == "table":
        console = output.results
        for part in screen(found, target, plot=plot, width=console.width):
            console.print(part, soft_wrap=False)
    else:
        from optrun.cli.compare_formats import written

        output.results.print(written(found, target, form), end="")
        for sentence in (found.conclusion, *found.notes):
            output.say(sentence)
    for line in skipped_lines(found):
        output.say(line)


def _write(
    found: Comparison, target: Target | None, html: Path | None, pictures: list[Path | None], output: Output
) -> None:
    if html is not None:
        from optrun.comparisons.report import write

        write(found, html, target)
        output.wrote([html])
    for path in pictures:
        if path is not None:
            from optrun.comparisons.figures import save

            save(found, path)
            output.wrote([path])


def _baseline(given: str | None) -> str | Mapping[str, Any] | None:
    """A label or a path as it is; KEY=VALUE[,KEY=VALUE] as settings."""
    if given is None or "=" not in given or Path(given).exists():
        return given
    import re

    return options.settings(re.split(r",(?=\s*[A-Za-z_][\w.]*=)", given), "--baseline")


def _target(given: str | None, found: Comparison) -> Target | None:
    """The target that is asked for, or that all runs have."""
    from optrun.comparisons.choosing import direction
    from optrun.comparisons.targets import Target, common_target
    from optrun.config.labels import brief

    outcomes = [outcome for group in found.points for outcome in group.outcomes]
    if given is None:
        return common_target(outcomes)
    metric, equals, text = given.rpartition("=")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"--target takes METRIC=VALUE, such as val/accuracy=0.97, not {given}")
    metric = metric if equals else found.metric
    ended = any(outcome.status == "completed" for outcome in outcomes)
    if ended and not any(outcome.history.curve(metric)[0] for outcome in outcomes):
        raise UsageError(f"no run has {metric}; --target {brief(value)} means {found.metric}")
    return Target(metric, value, found.mode if metric == found.metric else direction(metric, None, outcomes))
