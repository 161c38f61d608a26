"""What a sweep's directory holds of the trials in its plan: what is done, what must be done, and from where.

The run directories are the only truth. Nothing else is written down about a trial, so nothing can contradict them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from optrun.components.schedulers import uses_horizon
from optrun.config import loading
from optrun.config.spec import Spec
from optrun.config.sweep import Point
from optrun.config.writing import to_yaml
from optrun.errors import ConfigError
from optrun.runs import files, reader
from optrun.runs.layout import Layout, SweepLayout
from optrun.runs.reader import Run
from optrun.sweeps.tasks import Progressed

__all__ = ["Ledger", "Trial", "by_point"]


@dataclass(eq=False)
class Trial:
    """One run of the plan, and what is known of it."""

    point: Point
    spec: Spec
    directory: Path
    status: str = "planned"
    """The run's status, or `planned` while there is no run; what was stored as `running` is `interrupted`."""
    error: str | None = None
    progress: Progressed | None = None
    """How far it is, once it has been heard of in this call."""
    shorter: Path | None = None
    """A run to begin from, equal but for fewer epochs or steps."""
    restarts: str | None = None
    """Why it cannot go on from a shorter run that there is: the setting that depends on the length."""

    given_up: bool = False
    """Its point has lost at a rung."""

    @property
    def run(self) -> Run:
        """The run as it is on the disk now. Raises NotARun if there is none."""
        return reader.read(self.directory)


def by_point(trials: Iterable[Trial]) -> list[list[Trial]]:
    """The trials of each point, in the order of the plan."""
    points: dict[int, list[Trial]] = {}
    for trial in trials:
        points.setdefault(id(trial.point), []).append(trial)
    return list(points.values())


class Ledger:
    """Finds the trials of a plan in the directory of their sweep."""

    def __init__(self, layout: SweepLayout) -> None:
        self.layout = layout
        self._runs = layout.trials()

    def trials(self, points: Iterable[Point]) -> list[Trial]:
        """Every trial of the points, in their order, each with what there is of it."""
        found = [self._trial(point, spec) for point in points for spec in point.trials]
        missing = [trial for trial in found if trial.status == "planned"]
        planned = {trial.directory for trial in found}
        lengths = self._lengths_of([run for run in self._runs.values() if run not in planned]) if missing else []
        for trial in missing:
            self._look_for_shorter(trial, lengths)
        return found

    def _trial(self, point: Point, spec: Spec) -> Trial:
        config_hash = spec.config_hash()
        for digits in (8, 16):
            directory = self._runs.get(config_hash[:digits])
            if directory is None:
                return Trial(point, spec, self.layout.trial(spec.name, config_hash, digits))
            run = reader.read(directory)
            if self._is(run, spec, config_hash):
                name = directory.name[: -digits - 1]
                spec = spec.model_copy(update={"name": name})  # it keeps the name it has; that is outside the hash
                trial = Trial(point, spec, directory, run.status, run.summary.get("error"))
                if trial.status == "running":  # by a worker that is about to end, its driver having been killed
                    trial.status = "interrupted"
                return trial
        raise AssertionError(f"two runs share 64 bits of SHA-256: {directory}")

    def _is(self, run: Run, spec: Spec, config_hash: str) -> bool:
        """Whether the run is the trial, and not another one whose hash begins alike. Mends a mangled config.yaml."""
        if "config_hash" in run.summary:
            return run.summary["config_hash"] == config_hash
        paths = Layout(run.path)
        try:
            return loading.load(paths.config).config_hash() == config_hash
        except ConfigError:
            with files.reporting("write", paths.config):
                files.write_atomically(paths.config, to_yaml(spec.resolved()).encode())
            return True

    def _lengths_of(self, runs: Sequence[Path]) -> list[tuple[str, int]]:
        """The lengths that runs outside the plan have, longest first: (`epochs`, 10), …"""
        lengths = set()
        for run in runs:
            config = reader.read(run).config
            lengths |= {(key, config[key]) for key in ("epochs", "steps") if isinstance(config.get(key), int)}
        return sorted(lengths, key=lambda length: -length[1])

    def _look_for_shorter(self, trial: Trial, lengths: Sequence[tuple[str, int]]) -> None:
        """Whether a shorter run of the same trial exists, and whether the trial can go on from it."""
        for key, length in lengths:
            wanted = getattr(trial.spec, key)
            if wanted is None or length >= wanted:
                continue
            config_hash = trial.spec.model_copy(update={key: length}).config_hash()
            directory = self._runs.get(config_hash[:8])
            if directory is None or reader.read(directory).summary.get("config_hash") != config_hash:
                continue
            if fixed := uses_horizon(trial.spec.scheduler) if trial.spec.scheduler else []:
                trial.restarts = ", ".join(fixed)
            elif Layout(directory).last.exists():
                trial.shorter = directory
            return
