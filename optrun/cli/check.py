"""`optrun check`: judge a config without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optrun.cli import options
from optrun.cli.output import Output, print_json

if TYPE_CHECKING:
    from optrun.errors import ConfigError
    from optrun.sweeps.ledger import Trial


def check(
    config: options.Config,
    overrides: options.Overrides = None,
    imports: options.Imports = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Validate a run's or a sweep's config and print it resolved, with what it amounts to; trains nothing.

    Text, keys, names, settings and types are judged first, all at once and without torch; then what needs the data and
    the model. Of a sweep, every trial is judged.
    """
    from optrun.components.plugins import import_file
    from optrun.config.document import read
    from optrun.config.sweep import is_sweep

    for file in imports or []:
        import_file(file)
    judged = _check_sweep if is_sweep(read(config)) else _check_run
    judged(config, overrides or [], Output(json, quiet))


def _check_sweep(config: Path, overrides: Sequence[str], output: Output) -> None:
    from optrun.config.sweep import load_sweep
    from optrun.config.writing import to_yaml
    from optrun.errors import ConfigError
    from optrun.sweeps.driver import Sweep
    from optrun.sweeps.ledger import by_point

    sweep = Sweep(load_sweep(config, overrides))
    plan = sweep.plan()
    refused, steps = _judged(plan, output)
    trials = [trial for trial in plan if trial not in refused]
    if refused and (sweep.spec.search is None or not trials):
        raise ConfigError([problem for error in refused.values() for problem in error.problems])
    impossible = [*(error for error in sweep.drawn if isinstance(error, ConfigError)), *refused.values()]
    for sentence in dict.fromkeys(f"a proposed point cannot be run: {error}" for error in impossible):
        output.warn(sentence)
    facts = {
        "trials": len(trials) if trials else sweep.planned,
        "points": len(by_point(trials)) if trials else None,
        "seeds": list(sweep.spec.seeds),
        "steps": steps if trials else None,
        "duplicates": sweep.doubles,
    }
    if output.json:
        print_json({"sweep": sweep.spec.resolved(), **facts})
        return
    output.results.print(to_yaml(sweep.spec.resolved()), end="")
    amount = f", {facts['points']:,} points, {steps:,} steps" if trials else ""
    output.results.print(f"# {facts['trials']:,} trials{amount}")


def _judged(trials: Sequence[Trial], output: Output) -> tuple[dict[Trial, ConfigError], int]:
    """What only torch and the data can tell: the trials that cannot be, and why; and how many steps the others have."""
    from optrun.cli.progress import warnings_as_sentences
    from optrun.errors import ConfigError
    from optrun.sweeps.ledger import by_point
    from optrun.training.preparation import prepare_run

    refused: dict[Trial, ConfigError] = {}
    steps = 0
    with warnings_as_sentences(output):
        for point in by_point(trials):
            try:
                _, state, _ = prepare_run(point[0].spec, to_train=False)
                steps += state.total_steps * len(point)
            except ConfigError as error:
                refused |= dict.fromkeys(point, error)
    return refused, steps


def _check_run(config: Path, overrides: Sequence[str], output: Output) -> None:
    from optrun.config.loading import load
    from optrun.config.semantics import warnings
    from optrun.config.writing import to_yaml

    spec = load(config, overrides)

    from optrun.cli.progress import warnings_as_sentences
    from optrun.training.preparation import prepare_run

    with warnings_as_sentences(output):
        spec, state, _ = prepare_run(spec, to_train=False)
    for _, sentence in warnings(spec):
        output.warn(sentence)
    facts = {
        "parameters": sum(p.numel() for p in state.model.parameters()),
        "training_examples": len(state.data.train),
        "steps_per_epoch": state.steps_per_epoch,
        "steps": state.total_steps,
        "horizon": {"interval": state.schedule.interval, "length": state.schedule.horizon} if spec.scheduler else None,
        "device": str(state.device),
        "config_hash": spec.config_hash(),
    }
    if output.json:
        print_json({"config": spec.resolved(), **facts})
        return
    output.results.print(to_yaml(spec.resolved()), end="")
    horizon = (
        f", {spec.scheduler.name} over {state.schedule.horizon} {state.schedule.interval}s" if spec.scheduler else ""
    )
    output.results.print(
        f"# {facts['parameters']:,} parameters, {facts['training_examples']:,} training examples, "
        f"{facts['steps_per_epoch']:,} steps per epoch, {facts['steps']:,} steps{horizon}",
    )
