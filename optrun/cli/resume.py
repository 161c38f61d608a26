"""`optrun resume`: go on with an interrupted run, or make a finished one longer."""

from __future__ import annotations

from optrun.cli import options
from optrun.cli.output import Output


def resume(
    run: options.Run,
    overrides: options.Overrides = None,
    force: options.Force = False,
    imports: options.Imports = None,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Go on from a run's last checkpoint, to the same bits as if it had never stopped.

    epochs=N or steps=N makes it longer. A run without a checkpoint starts over; a completed run is left as it is.
    """
    from optrun.components.plugins import import_file
    from optrun.runs.finding import resolve

    directory = resolve(run, runs_dir)
    imported = [import_file(file) for file in imports or []]

    from optrun.cli.progress import follow, warnings_as_sentences
    from optrun.experiment import Experiment

    output = Output(json, quiet)
    with warnings_as_sentences(output):
        follow(Experiment.resumed(directory, overrides or [], imported=imported, force=force), directory, output)
