"""optrun's side where sides take turns: its loop as `optrun train` drives it, with a run directory, and no screen."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import turns
from optrun.components.plugins import import_file
from optrun.config.loading import load
from optrun.experiment import Experiment
from optrun.training.events import Stepped

if __name__ == "__main__":
    folder, overrides, imports = Path(sys.argv[1]), [], []
    for argument in sys.argv[2:]:
        (overrides if "=" in argument else imports).append(argument)
    for path in imports:
        import_file(Path(path))
    experiment = Experiment.new(load(folder / "config.yaml", overrides), directory=folder / "run")
    state = experiment.state
    turns.begin(0)
    for event in experiment.events():
        if isinstance(event, Stepped) and state.batch == 0 and state.step < state.total_steps:
            turns.begin(state.epoch)
