"""One run from its start to its end: `train` starts it, `resume` goes on with it, `Experiment` is the run meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optrun.config.loading import load
from optrun.config.spec import Spec
from optrun.experiment.run import Experiment
from optrun.runs import reader

__all__ = ["Experiment", "resume", "train"]


def train(
    config: Spec | str | Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    runs_dir: str | Path = "runs",
    run_dir: str | Path | None = None,
) -> reader.Run:
    """Train what a config describes (a spec, or the path of a file with `overrides`) and return the finished run.

    The run is written to `run_dir`, or to a new directory below `runs_dir`. Raises ConfigError before anything is
    written; Diverged, Interrupted or RunError once it trains.
    """
    spec = config if isinstance(config, Spec) else load(config, overrides)
    return _drained(Experiment.new(spec, runs_dir, directory=run_dir))


def resume(run: str | Path, overrides: Sequence[str] | Mapping[str, Any] = (), *, force: bool = False) -> reader.Run:
    """Go on with the run in directory `run` and return it finished. A completed run is returned as it is, unless
    `overrides` make it longer; where data or imported files have changed only with `force`. Raises what `train`
    raises, CheckpointError and UsageError."""
    experiment = Experiment.resumed(Path(run), overrides, force=force)
    return _drained(experiment) if experiment else reader.read(Path(run))


def _drained(experiment: Experiment) -> reader.Run:
    for _ in experiment.events():
        pass
    return reader.read(experiment.directory)
