"""`optrun resume`: go on with an interrupted run, or make a finished one longer."""

from __future__ import annotations

import typer

from optrun.cli import options
from optrun.cli.output import Output


def resume(
    run: options.Run,
    overrides: options.Overrides = None,
    nproc: options.Nproc = 1,
    max_restarts: options.MaxRestarts = 0,
    force: options.Force = False,
    imports: options.Imports = None,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Go on from a run's last checkpoint, to the same bits as if it had never stopped.

    epochs=N or steps=N makes it longer. A run without a checkpoint starts over; a completed run is left as it is.
    """
    from optrun.cli.together import is_to_be_launched, launched, silent_unless_first
    from optrun.components.plugins import import_file
    from optrun.experiment.changes import as_it_was
    from optrun.runs.finding import resolve

    directory = resolve(run, runs_dir)
    imported = [import_file(file) for file in imports or []]
    if is_to_be_launched(nproc, max_restarts):
        raise typer.Exit(launched(nproc, max_restarts, as_it_was(directory), directory, runs_dir))

    from optrun.cli.progress import follow, warnings_as_sentences
    from optrun.experiment import Experiment
    from optrun.training.ranks import joined

    output = silent_unless_first(Output(json, quiet))
    with warnings_as_sentences(output), joined(as_it_was(directory).device) as ranks:
        if ranks is not None:
            directory = ranks.told(directory)  # `last` may be another one by now
        resumed = Experiment.resumed(directory, overrides or [], imported=imported, force=force, ranks=ranks)
        follow(resumed, directory, output)
