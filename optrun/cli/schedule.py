"""`optrun schedule`: the learning rate over the run, from the real schedulers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optrun.cli import options
from optrun.cli.output import Output, print_json
from optrun.cli.wording import brief, print_named
from optrun.pictures import figures
from optrun.pictures.panel import Curve, Panel, log_helps

if TYPE_CHECKING:
    from optrun.config.spec import Spec
    from optrun.training.preview import Told
    from optrun.training.state import State


def schedule(
    config: options.Config,
    overrides: options.Overrides = None,
    stagnant: Annotated[
        bool, typer.Option("--stagnant", help="Draw ReduceLROnPlateau as if its metric never improved.")
    ] = False,
    png: options.Png = None,
    svg: options.Svg = None,
    imports: options.Imports = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Draw the learning rate (and a momentum that changes) over the run, by stepping the real schedulers.

    Nothing is trained; the value at step k is the one that step k of the run will use.
    """
    from optrun.cli.progress import warnings_as_sentences
    from optrun.components.plugins import import_file
    from optrun.config.loading import load
    from optrun.config.semantics import warnings
    from optrun.pictures.terminal import Chart

    output = Output(json, quiet)
    for file in imports or []:
        import_file(file)
    spec = load(config, overrides or [])
    for _, sentence in warnings(spec):
        output.warn(sentence)

    from optrun.training.numerics import numerics
    from optrun.training.preparation import prepare_run
    from optrun.training.preview import preview

    with warnings_as_sentences(output):
        spec, state, _ = prepare_run(spec)
        with numerics(threads=1, deterministic=spec.deterministic):
            told = list(preview(state, spec, stagnant=stagnant))
    names = group_names(spec, state)
    assumed = _assumption(state, stagnant)
    panels = _panels(told, names, state, assumed)
    if json:
        print_json(_document(told, names, state, assumed))
    else:
        for panel in panels:
            output.results.print(Chart(panel), soft_wrap=False)
        print_named(output.results, _in_words(told, names, spec, state, assumed))
    output.wrote(figures.save(panels, spec.name, [png, svg]))


def group_names(spec: Spec, state: State) -> list[str]:
    """A name for every parameter group, in the order of the `lr` list of a row: what it matches, whose it is."""
    names: list[str] = []
    choice = spec.optimizer
    for optimizer, who in zip(state.optimizer.optimizers, (choice, choice.fallback)):
        assert who is not None
        matches = [str(group["match"]) for group in who.param_groups]
        rest = ["the rest"] * (len(optimizer.param_groups) - len(matches))
        mine = rest + matches
        if choice.fallback:
            mine = [f"{who.name}: {match}" for match in mine] if matches else [who.name]
        names += mine
    return names


def _panels(told: Sequence[Told], names: Sequence[str], state: State, assumed: str | None) -> list[Panel]:
    """The learning rate, and the momentum if it changes."""
    steps = [each.step for each in told]
    every = state.steps_per_epoch
    epochs = {epoch: epoch * every for epoch in range(state.total_steps // every + 1)}
    title = f"learning rate, if {assumed}" if assumed else "learning rate"
    rates = _curves(title, names, steps, [each.lr for each in told])
    panels = [Panel(title, rates, log_y=log_helps(rates), epochs=epochs)]
    momenta = [each.momentum for each in told]
    if any(before != after for before, after in zip(momenta, momenta[1:])):
        uses_betas = any("betas" in group for group in state.optimizer.optimizers[0].param_groups)
        title = "beta1" if uses_betas else "momentum"
        panels.append(Panel(title, _curves(title, names, steps, momenta), epochs=epochs))
    return panels


def _curves(title: str, names: Sequence[str], steps: Sequence[int], values: Sequence[Sequence[Any]]) -> list[Curve]:
    """A curve for every group; groups that agree all along share one."""
    series: dict[tuple[Any, ...], list[str]] = {}
    for name, column in zip(names, zip(*values)):
        if column[0] is not None:
            series.setdefault(column, []).append(name)
    alone = len(series) == 1
    return [Curve(title if alone else ", ".join(dict.fromkeys(whose)), steps, ys) for ys, whose in series.items()]


def _in_words(
    told: Sequence[Told], names: Sequence[str], spec: Spec, state: State, assumed: str | None
) -> dict[str, str]:
    """The schedule, the learning rate of each group and the run's length, as named sentences."""
    said = {"scheduler": "none"}
    if spec.scheduler:
        when = "evaluation" if spec.scheduler.name == "ReduceLROnPlateau" else state.schedule.interval
        said["scheduler"] = f"{spec.scheduler.name}, stepping every {when}"
    for curve in _curves("lr", names, [], [each.lr for each in told]):
        rates = list(curve.ys)
        said[curve.label] = f"{brief(rates[0])} at step 1"
        if min(rates) < max(rates):
            top = f", highest {brief(max(rates))} at step {rates.index(max(rates)) + 1:,}"
            said[curve.label] += f"{top if max(rates) > rates[0] else ''}, {brief(rates[-1])} at the end"
        else:
            said[curve.label] += " and throughout"
    said["length"] = f"{len(told):,} steps, {state.steps_per_epoch:,} in an epoch"
    if assumed:
        said["assumed"] = assumed + ("" if "never" in assumed else "; --stagnant assumes that it does not")
    return said


def _assumption(state: State, stagnant: bool) -> str | None:
    """What had to be assumed, if the schedule depends on how training goes."""
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    from optrun.components.schedulers import WarmupThenPlateau

    schedulers = state.schedule.schedulers
    if not any(isinstance(scheduler, ReduceLROnPlateau | WarmupThenPlateau) for scheduler in schedulers):
        return None
    metric = state.schedule.metric
    return f"{metric} never improves again" if stagnant else f"{metric} keeps improving"


def _document(told: Sequence[Told], names: Sequence[str], state: State, assumed: str | None) -> dict[str, Any]:
    groups = [
        {"name": name, "lr": [each.lr[i] for each in told], "momentum": [each.momentum[i] for each in told]}
        for i, name in enumerate(names)
    ]
    return {
        "steps": state.total_steps,
        "steps_per_epoch": state.steps_per_epoch,
        "interval": state.schedule.interval,
        "assumed": assumed,
        "groups": groups,
    }
