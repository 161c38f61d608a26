"""`optrun show`: one run: what it was asked, what became of it, and its curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optrun.cli import options
from optrun.cli.output import Output, print_json
from optrun.cli.progress import conclusions
from optrun.cli.wording import brief, print_named
from optrun.pictures import figures
from optrun.pictures.panel import Curve, Panel, log_helps

if TYPE_CHECKING:
    from rich.console import Console

    from optrun.runs.reader import Run

Row = dict[str, Any]


def show(
    run: options.Run,
    png: options.Png = None,
    svg: options.Svg = None,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show one run: its config where it differs from the defaults, its result, its curves.

    With --json: its summary with path, config, environment, rows and problems.
    """
    from optrun.runs.finding import resolve
    from optrun.runs.reader import read

    output = Output(json, quiet)
    found = read(resolve(run, runs_dir))
    rows = found.rows()
    drawn = panels(rows, found.config)
    if json:
        about = {"config": found.config, "environment": found.environment, "rows": rows, "problems": found.problems}
        print_json({**found.summary, "status": found.status, "path": str(found.path), **about})
    else:
        _print_run(found, rows, drawn, output)
    output.wrote(figures.save(drawn, found.path.name, [png, svg]))


def _print_run(run: Run, rows: Sequence[Row], drawn: Sequence[Panel], output: Output) -> None:
    console = output.results
    console.print(f"{run.path}\n", style="bold")
    print_named(console, _changed(run.config))
    console.print()
    print_named(console, _result(run, rows))
    _print_charts(console, drawn)
    for problem in run.problems:
        output.warn(problem)


def panels(rows: Sequence[Row], config: dict[str, Any]) -> list[Panel]:
    """What there is to draw of a run: the losses, each metric, and what changes in lr and grad_norm."""
    training = [row for row in rows if "train/loss" in row]
    evaluations = [row for row in rows if "val/loss" in row]
    epochs = _epochs(evaluations, config)
    losses = [_curve("train/loss", training, noisy=True), _curve("val/loss", evaluations, pointed=True)]
    drawn = [Panel("loss", [curve for curve in losses if curve.xs], log_y=log_helps(losses), epochs=epochs)]
    for key in dict.fromkeys(key for row in evaluations for key in row if key.startswith("val/") and key != "val/loss"):
        curve = _curve(key, evaluations, pointed=True)
        drawn.append(Panel(key, [curve], log_y=log_helps([curve]), epochs=epochs))
    rates = _rates(training)
    if any(value != curve.ys[0] for curve in rates for value in curve.ys):
        drawn.append(Panel("learning rate", rates, log_y=log_helps(rates), epochs=epochs))
    norm = _curve("grad_norm", training, noisy=True)
    if norm.xs:
        drawn.append(Panel("gradient norm", [norm, *_bound(norm, config)], log_y=log_helps([norm]), epochs=epochs))
    return drawn


def _curve(key: str, rows: Sequence[Row], **style: Any) -> Curve:
    there = [row for row in rows if key in row]
    return Curve(key, [row["step"] for row in there], [row[key] for row in there], **style)


def _rates(rows: Sequence[Row]) -> list[Curve]:
    """The learning rate of each parameter group; one curve where they agree all along."""
    there = [(row["step"], row["lr"]) for row in rows if row.get("lr") is not None]
    groups = max((len(lr) for _, lr in there if isinstance(lr, list)), default=1)
    steps = [step for step, _ in there]
    if groups == 1:
        return [Curve("learning rate", steps, [lr for _, lr in there])]
    each = [[lr[i] if isinstance(lr, list) else lr for _, lr in there] for i in range(groups)]
    return [Curve(f"group {i + 1}", steps, values) for i, values in enumerate(each)]


def _bound(norm: Curve, config: dict[str, Any]) -> list[Curve]:
    """Where the gradient was clipped, as a line."""
    bound = config.get("clip_norm")
    if not isinstance(bound, int | float) or not math.isfinite(bound):
        return []
    return [Curve(f"clip_norm {brief(bound)}", [norm.xs[0], norm.xs[-1]], [bound, bound])]


def _epochs(evaluations: Sequence[Row], config: dict[str, Any]) -> dict[int, float]:
    """The step at which each epoch ended, where evaluations at the ends of epochs tell."""
    every = config.get("eval_every")
    if not isinstance(every, int) or every < 1:
        return {}
    counted = [(row["epoch"], row["step"]) for row in evaluations if isinstance(row.get("epoch"), int)]
    steps = next((step // epoch for epoch, step in counted if epoch > 0 and epoch % every == step % epoch == 0), 0)
    return {epoch: epoch * steps for epoch in range(counted[-1][1] // steps + 1)} if steps else {}


def _changed(config: dict[str, Any]) -> dict[str, str]:
    """The keys of a config that differ from their defaults, as config.yaml writes them."""
    from optrun.config.spec import Spec
    from optrun.config.writing import to_yaml

    plain = Spec.model_fields
    changed = {key: value for key, value in config.items() if key not in plain or value != _default(key)}
    return {key: to_yaml({key: value}).partition(": ")[2].rstrip("\n") for key, value in changed.items()}


def _default(key: str) -> Any:
    from optrun.config.spec import Spec

    value = Spec.model_fields[key].default
    return list(value) if isinstance(value, tuple) else value


def _result(run: Run, rows: Sequence[Row]) -> dict[str, str]:
    """The result, as named sentences."""
    summary = {**run.summary, "status": run.status}
    total, epochs = run.config.get("steps"), run.config.get("epochs")
    if isinstance(epochs, int) and run.status != "completed":
        ends = _epochs([row for row in rows if "val/loss" in row], run.config)
        total = ends[1] * epochs if 1 in ends else None
    final: dict[str, float] = run.summary.get("final") or {}
    last = [f"{key} {brief(value)}" for key, value in final.items() if key.startswith("val/")]
    said = conclusions(summary, total if isinstance(total, int) else None)
    if last:
        said["last"] = ", ".join(last)
    if summary.get("error"):
        said["error"] = summary["error"]
    if summary.get("parameters"):
        said["parameters"] = f"{summary['parameters']:,}"
    if made := _made_with(run.environment):
        said["made with"] = made
    return said


def _made_with(environment: dict[str, Any]) -> str:
    versions, git = (value if isinstance(value := environment.get(key), dict) else {} for key in ("versions", "git"))
    known = [f"{name} {versions[name]}" for name in ("optrun", "torch", "python") if versions.get(name)]
    if environment.get("device"):
        known.append(f"on {environment['device']}")
    if git.get("commit"):
        known.append(f"commit {str(git['commit'])[:10]}{' with changes' if git.get('dirty') else ''}")
    return ", ".join(known)


def _print_charts(console: Console, drawn: Sequence[Panel]) -> None:
    """One below the other; two side by side where the terminal is wide."""
    from rich.table import Table

    from optrun.pictures.terminal import Chart

    charts = [Chart(panel, rows=10) for panel in drawn if not panel.empty]
    if not charts:
        console.print("\nthere are no finite values to draw")
    columns = 2 if console.width >= 120 and len(charts) > 1 else 1
    for start in range(0, len(charts), columns):
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        for _ in range(columns):
            grid.add_column(ratio=1)
        grid.add_row(*charts[start : start + columns])
        console.print()
        console.print(grid, soft_wrap=False)
