"""`optrun lr-find`: a learning rate to start from, by a range test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optrun.cli import options
from optrun.cli.output import Output, print_json
from optrun.cli.wording import brief, print_named
from optrun.errors import UsageError
from optrun.pictures import figures
from optrun.pictures.panel import Curve, Panel

if TYPE_CHECKING:
    from optrun.config.spec import Spec
    from optrun.training.range_test import Measured, Suggestion


def lr_find(
    config: options.Config,
    overrides: options.Overrides = None,
    low: Annotated[float, typer.Option("--min", metavar="LR", help="The lowest rate.")] = 1e-7,
    high: Annotated[float, typer.Option("--max", metavar="LR", help="The highest rate.")] = 10.0,
    steps: Annotated[int, typer.Option(metavar="N", help="Optimizer steps from the lowest to the highest.")] = 100,
    png: options.Png = None,
    svg: options.Svg = None,
    imports: options.Imports = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Find a learning rate: train a little while the rate rises, and see where the loss falls.

    The config's own model, data, seed and optimizer are used, without its scheduler; no run is written.
    """
    from optrun.components.plugins import import_file
    from optrun.config.loading import load
    from optrun.pictures.terminal import Chart

    output = Output(json, quiet)
    if not (0 < low < high < float("inf")) or steps < 10:
        raise UsageError("lr-find needs 0 < --min < --max and --steps of at least 10")
    for file in imports or []:
        import_file(file)
    spec = load(config, overrides or [])
    measured = _measure(spec, output, low, high, steps)

    from optrun.training.range_test import suggest

    found = suggest(measured, steps)
    panel = _panel(measured, found)
    changes = _overrides(spec, found)
    if json:
        points = [asdict(each) for each in measured]
        print_json({"suggestion": found.lr, **asdict(found), "overrides": changes, "steps": steps, "points": points})
    else:
        output.results.print(Chart(panel), soft_wrap=False)
        print_named(output.results, _in_words(spec, found, changes))
    output.wrote(figures.save([panel], spec.name, [png, svg]))


def _measure(spec: Spec, output: Output, low: float, high: float, steps: int) -> list[Measured]:
    from rich.progress import track

    from optrun.cli.progress import warnings_as_sentences
    from optrun.training.numerics import numerics
    from optrun.training.preparation import prepare_run
    from optrun.training.range_test import range_test

    with warnings_as_sentences(output):
        resolved, state, batches = prepare_run(spec.model_copy(update={"scheduler": None}))
        tf32 = resolved.precision == "tf32"
        with numerics(threads=int(resolved.threads), deterministic=resolved.deterministic, tf32=tf32):
            test = range_test(state, batches, resolved, low=low, high=high, steps=steps)
            console = output.remarks
            hidden = output.quiet or not console.is_terminal
            return list(track(test, "range test", steps, console=console, transient=True, disable=hidden))


def _panel(measured: Sequence[Measured], found: Suggestion) -> Panel:
    shown = _worth_seeing(measured)
    curves = [Curve("smoothed loss", [each.lr for each in shown], [each.smoothed for each in shown])]
    for name, lr in {"lowest": found.minimum, "steepest": found.steepest, "suggested": found.lr}.items():
        if lr is not None:
            nearest = min(measured, key=lambda each: abs(math.log(each.lr / lr)))
            curves.append(Curve(f"{name} {brief(lr, 2)}", [nearest.lr], [nearest.smoothed], pointed=True))
    return Panel("range test", curves, x_name="lr", log_x=True)


def _worth_seeing(measured: Sequence[Measured]) -> Sequence[Measured]:
    """The test without the end of one that blew up: it would press all else flat."""
    first, best = measured[0].smoothed, min(each.smoothed for each in measured)
    limit = first + (first - best)
    beyond = (i for i, each in enumerate(measured) if each.smoothed > limit)
    return measured[: next(beyond, len(measured)) + 1] if best < first else measured


def _overrides(spec: Spec, found: Suggestion) -> list[str]:
    """The suggestion as overrides of the config, in its proportions."""
    if found.lr is None:
        return []
    if spec.scheduler and spec.scheduler.name in ("OneCycleLR", "CyclicLR"):
        return [f"scheduler.max_lr={brief(found.lr)}"]
    changes = [f"optimizer.lr={brief(found.lr)}"]
    if spec.optimizer.fallback:
        ratio = _lr(spec.optimizer.fallback) / _lr(spec.optimizer)
        changes.append(f"optimizer.fallback.lr={brief(found.lr * ratio, 2)}")
    return changes


def _lr(choice: Any) -> float:
    """The optimizer's learning rate: the config's, or the default of its class."""
    from optrun.components.registry import optimizers

    defaults = {p.name: p.default for p in optimizers.find(choice.name).signature.settings}
    return float(choice.settings.get("lr", defaults.get("lr")))


def _in_words(spec: Spec, found: Suggestion, changes: Sequence[str]) -> dict[str, str]:
    if found.lr is None:
        return {"suggestion": "none: the smoothed loss is lowest at an end of the range; try another --min or --max"}
    said = {
        "suggestion": " ".join(changes),
        "found as": f"the lower of {brief(found.steepest, 2)}, where the smoothed loss falls fastest, "
        f"and a tenth of {brief(found.minimum, 2)}, where it is lowest",
    }
    if any("lr" in group for group in spec.optimizer.param_groups):
        factor = brief(found.lr / _lr(spec.optimizer), 2)
        said["groups"] = f"multiply the lr in param_groups by the same factor, {factor}"
    if spec.scheduler:
        said["scheduler"] = f"{spec.scheduler.name} took no part in the test"
    return said
