"""`optrun check`: judge a config without training."""

from __future__ import annotations

from optrun.cli import options
from optrun.cli.output import Output, print_json


def check(
    config: options.Config,
    overrides: options.Overrides = None,
    imports: options.Imports = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Validate a config, print it resolved with parameter count, steps and horizons; trains nothing.

    Text, keys, names, settings and types are judged first, all at once and without torch; then what needs the data and
    the model.
    """
    from optrun.components.plugins import import_file
    from optrun.config.loading import load
    from optrun.config.semantics import warnings
    from optrun.config.writing import to_yaml

    output = Output(json, quiet)
    for file in imports or []:
        import_file(file)
    spec = load(config, overrides or [])

    from optrun.cli.progress import warnings_as_sentences
    from optrun.training.preparation import prepare_run

    with warnings_as_sentences(output):
        spec, state, _ = prepare_run(spec, to_train=False)
    for sentence in warnings(spec):
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
    if json:
        print_json({"config": spec.resolved(), **facts})
        return
    output.results.print(to_yaml(spec.resolved()), end="", markup=False)
    horizon = (
        f", {spec.scheduler.name} over {state.schedule.horizon} {state.schedule.interval}s" if spec.scheduler else ""
    )
    output.results.print(
        f"# {facts['parameters']:,} parameters, {facts['training_examples']:,} training examples, "
        f"{facts['steps_per_epoch']:,} steps per epoch, {facts['steps']:,} steps{horizon}",
        markup=False,
    )
