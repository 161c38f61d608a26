"""What a sweep's directory holds of the trials in its plan: what is done, what must be done, and from where.

The run directories are the only truth. Nothing else is written down about a trial, so nothing can contradict them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optrun.components.schedulers import uses_horizon
from optrun.config import loading
from optrun.config.spec import Spec
from optrun.config.sweep import Point
from optrun.errors import ConfigError
from optrun.runs import files, reader
from optrun.runs.layout import Layout, SweepLayout
from optrun.runs.reader import Run
from optrun.sweeps.tasks import Progressed

__all__ = ["Ledger", "Trial", "by_point"]

_DIGITS = (8, 16)
"""Of its hash in the name of a trial's directory: more where another trial has the few."""

_LENGTH = re.compile(rb"^(epochs|steps): *([0-9]{1,18})\b", re.MULTILINE)
"""How long a run is, in its config.yaml. A sweep may lie beside thousands of them, and YAML's parser needs
milliseconds for each."""

Length = tuple[str, int]
"""(`epochs`, 10)"""


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
    """Why it cannot go on from a shorter run that there is."""
    given_up: bool = False
    """Its point has lost at a rung."""
    at: dict[int, float] = field(default_factory=dict)
    """The objective at the evaluations of rungs, by their epoch, as far as they have been looked up."""

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
    """Finds the trials of a plan in the directory of their sweep, as it is when the ledger is made. Writes nothing.

    Raises RunError if there is something else in the place of that directory.
    """

    def __init__(self, layout: SweepLayout) -> None:
        self.layout = layout
        self._runs = layout.trials()
        self._trials: dict[str, Trial] = {}
        self._claimed: dict[str, str] = {}
        self._lengths: set[Length] = set()
        self._others_are_read = False

    def trials(self, point: Point) -> list[Trial]:
        """The trials of a point in the order of its seeds, each with what there is of it.

        Those of equal configs are one and the same: the trial that was asked for first.
        """
        return [self._trial(point, spec) for spec in point.trials]

    def look_for_shorter(self, trials: Sequence[Trial]) -> None:
        """Find the runs that new ones of the trials can go on from. The whole plan, or batch, must be known by now."""
        new = [trial for trial in trials if trial.status == "planned"]
        lengths = self._known_lengths() if new else []
        for trial in new:
            self._look_for_shorter(trial, lengths)

    def _trial(self, point: Point, spec: Spec) -> Trial:
        config_hash = spec.config_hash()
        if config_hash not in self._trials:
            self._trials[config_hash] = self._begun(point, spec, config_hash) or self._new(point, spec, config_hash)
            key = "steps" if spec.epochs is None else "epochs"
            self._lengths.add((key, getattr(spec, key)))
        return self._trials[config_hash]

    def _begun(self, point: Point, spec: Spec, config_hash: str) -> Trial | None:
        """The trial, if there is a run of it."""
        for digits in _DIGITS:
            directory = self._runs.get(config_hash[:digits])
            if directory is None:
                continue
            run = reader.read(directory)
            if _hash_of(run) in (config_hash, None):
                name = directory.name[: -digits - 1]
                spec = spec.model_copy(update={"name": name})  # it keeps the name it has; that is outside the hash
                # What still runs is run by a worker that is about to end, its driver having been killed.
                status = "interrupted" if run.status == "running" else run.status
                error = run.summary.get("error")
                return Trial(point, spec, directory, status, error)
        return None

    def _new(self, point: Point, spec: Spec, config_hash: str) -> Trial:
        """The trial, with a directory that no other one has or is going to have."""
        for digits in _DIGITS:
            beginning = config_hash[:digits]
            if beginning not in self._runs and self._claimed.setdefault(beginning, config_hash) == config_hash:
                return Trial(point, spec, self.layout.trial(spec.name, config_hash, digits))
        raise AssertionError(f"two runs share 64 bits of SHA-256: {config_hash}")

    def _known_lengths(self) -> list[Length]:
        """The lengths that there are trials and runs of, longest first."""
        if not self._others_are_read:
            planned = {trial.directory for trial in self._trials.values()}
            others = [directory for directory in self._runs.values() if directory not in planned]
            self._lengths.update(length for directory in others for length in _lengths_in(directory))
            self._others_are_read = True
        return sorted(self._lengths, key=lambda length: -length[1])

    def _look_for_shorter(self, trial: Trial, lengths: Sequence[Length]) -> None:
        """Whether a shorter run of the same trial exists, and whether the trial can go on from it."""
        for key, length in lengths:
            wanted = getattr(trial.spec, key)
            if wanted is None or length >= wanted:
                continue
            directory = self._finished(trial.spec.model_copy(update={key: length}).config_hash())
            if directory is None:
                continue
            if fixed := uses_horizon(trial.spec.scheduler) if trial.spec.scheduler else []:
                trial.restarts = f"{', '.join(fixed)} was made for their length"
            elif Layout(directory).last.exists():
                trial.shorter = directory
            else:
                trial.restarts = "their checkpoints are gone"
            return

    def _finished(self, config_hash: str) -> Path | None:
        """The run with that hash, unless it is a trial of the plan that is not done: that may be trained meanwhile."""
        if trial := self._trials.get(config_hash):
            return trial.directory if trial.status == "completed" else None
        found = [self._runs[config_hash[:digits]] for digits in _DIGITS if config_hash[:digits] in self._runs]
        return next((run for run in found if reader.read(run).summary.get("config_hash") == config_hash), None)


def _hash_of(run: Run) -> Any:
    """The hash of a run's config; None if neither its summary nor its config.yaml can be read."""
    if "config_hash" in run.summary:
        return run.summary["config_hash"]
    try:
        return loading.load(Layout(run.path).config).config_hash()
    except ConfigError:
        return None


def _lengths_in(directory: Path) -> list[Length]:
    try:
        text = files.read(Layout(directory).config)
    except OSError:
        return []
    return [(key.decode(), int(number)) for key, number in _LENGTH.findall(text)]
