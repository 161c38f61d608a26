"""The run as it trains: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from optrun.cli.output import Output, print_json

if TYPE_CHECKING:
    from optrun.experiment import Experiment


def follow(experiment: Experiment | None, directory: Path, output: Output) -> None:
    """Train to the end and say so; None is a run that was complete already."""
    from optrun.runs.reader import read

    if experiment is not None:
        for _ in experiment.events():
            pass
    if output.json:
        print_json({**read(directory).summary, "path": str(directory)})
    else:
        output.results.print(str(directory), markup=False)
