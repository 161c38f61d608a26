"""`optrun train`: train what a config describes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from optrun.cli import options
from optrun.cli.output import Output


def train(
    config: options.Config,
    overrides: options.Overrides = None,
    run_dir: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="DIR", help="Write the run here instead of a new directory below --runs-dir.", show_default=False
        ),
    ] = None,
    device: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="auto, cpu, cuda, cuda:1 or mps, instead of the config's.", show_default=False),
    ] = None,
    resume: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="RUN", help="Go on with this run of the same config.", show_default=False),
    ] = None,
    nproc: options.Nproc = 1,
    max_restarts: options.MaxRestarts = 0,
    force: options.Force = False,
    imports: options.Imports = None,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a model; the run's path is printed last.

    Exit codes: 0 done, 1 failed, 2 the config is wrong, 3 diverged, 130 or 143 interrupted (resumable).
    """
    from optrun.cli.together import is_to_be_launched, launched, silent_unless_first, started_before
    from optrun.components.plugins import import_file
    from optrun.config.loading import load
    from optrun.config.semantics import warnings
    from optrun.runs.finding import resolve

    output = silent_unless_first(Output(json, quiet))
    imported = [import_file(file) for file in imports or []]
    changes = [*(overrides or []), *([f"device={device}"] if device else [])]
    spec = load(config, changes)
    if is_to_be_launched(nproc, max_restarts):
        where = run_dir if resume is None else resolve(resume, runs_dir)
        raise typer.Exit(launched(nproc, max_restarts, spec, where, runs_dir, "run-dir" if resume is None else None))
    for _, sentence in warnings(spec):
        output.warn(sentence)

    from optrun.cli.progress import follow, warnings_as_sentences
    from optrun.experiment import Experiment
    from optrun.training.ranks import as_one, joined

    with warnings_as_sentences(output), joined(spec.device) as ranks:
        with as_one(ranks):
            directory = started_before(run_dir) if resume is None else resolve(resume, runs_dir)
        if ranks is not None:
            directory = ranks.told(directory)  # another machine may not see that it is there
        if directory is None:
            experiment = Experiment.new(spec, runs_dir, directory=run_dir, imported=imported, ranks=ranks)
            follow(experiment, experiment.directory, output)
        else:
            resumed = Experiment.resumed(directory, changes, same_as=spec, imported=imported, force=force, ranks=ranks)
            follow(resumed, directory, output)
