"""The work on a trial, wherever an executor does it. The functions import torch when they are called, not before."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import platform
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from optrun.config import loading
from optrun.config.spec import Spec
from optrun.config.writing import to_yaml
from optrun.errors import CheckpointError, ConfigError, Diverged, Interrupted, OptrunError, RunLocked, in_words
from optrun.runs import files
from optrun.runs.beginning import begin_from
from optrun.runs.checkpoint import remove_all
from optrun.runs.layout import Layout, is_run
from optrun.runs.outcome import conclude
from optrun.signals import StopRequest
from optrun.sweeps.tasks import Ended, Noted, Progressed, Report, Task

if TYPE_CHECKING:
    from optrun.components.data import Data
    from optrun.experiment import Experiment

__all__ = [
    "BETWEEN_REPORTS",
    "PATIENCE",
    "begun",
    "failure",
    "fingerprint",
    "heard_warnings",
    "judge",
    "shared",
    "train_trial",
    "trained",
]

BETWEEN_REPORTS = 0.2
"""Seconds between two reports on training, and between two on evaluations: nobody reads faster, and for each report the
driver takes a core from a worker."""

PATIENCE = 60.0
"""Seconds to wait for a trial whose former driver was killed: its worker is about to save it and to end."""

_LEASE = 150.0
"""Seconds if that worker is on another machine: where a whole one died, a file server gives up its locks after a lease,
which for NFS is 90 s by default."""


def train_trial(task: Task) -> Iterator[Report]:
    """Train one trial, be it new, interrupted or paused, to the end or to the evaluation of epoch `task.until`.

    What goes wrong with it stands in its directory and in the report; nothing is raised.
    """
    with heard_warnings() as sentences:
        for report in _trained(task):
            while sentences:
                yield Noted(sentences.pop(0))
            yield report


def judge(task: Task) -> Iterator[ConfigError | None]:
    """What only torch and the data can tell of a trial's config: its problems, or None. Trains nothing."""
    from optrun.training.preparation import prepare_run

    try:
        prepare_run(task.spec, shared.data(task), to_train=False)
    except ConfigError as error:
        yield error
    else:
        yield None


def fingerprint(task: Task) -> Iterator[str | None]:
    """The fingerprint of the data a trial would be trained on; None if there is none to be had."""
    try:
        yield shared.data(task).fingerprint
    except OptrunError:
        yield None


def _trained(task: Task) -> Iterator[Report]:
    try:
        experiment, notes = begun(task)
    except Interrupted:
        yield Ended("interrupted")
        return
    except Exception as error:
        yield Ended("failed", failure(task, error))
        return
    for note in notes:
        yield Noted(f"{task.directory.name}: {note}")
    yield from trained(task, experiment) if experiment is not None else [Ended("completed")]


def trained(task: Task, experiment: Experiment) -> Iterator[Report]:
    """Train the trial's run by itself, from where it stands."""
    try:
        yield from _training(experiment, task.until)
        status = experiment.summary["status"]
        yield Ended("paused" if status == "interrupted" else status)
    except Interrupted:
        yield Ended("interrupted")
    except Diverged as diverged:
        yield Ended("diverged", str(diverged))
    except Exception as error:
        yield Ended("failed", experiment.summary.get("error") or failure(task, error))


def begun(task: Task, **how: Any) -> tuple[Experiment | None, list[str]]:
    """The trial's run, ready to be trained, and what had to be done about it, in sentences. None if it is complete.

    `how` are settings of `Experiment.new` and `resumed`. Waits while another process still works on the run. Raises
    Interrupted when a signal comes meanwhile.
    """
    since = time.monotonic()
    while True:
        notes: list[str] = []
        try:
            experiment = _experiment(task, notes, how)
            return experiment, [*notes, *(experiment.notes if experiment else [])]
        except RunLocked as locked:
            patience = PATIENCE if locked.host in (None, platform.node()) else _LEASE
            if time.monotonic() - since > patience:
                raise
            with StopRequest() as stop:
                time.sleep(0.05)
            if stop.signal is not None:
                raise Interrupted(stop.signal, "another process still worked on it") from None


def _experiment(task: Task, notes: list[str], how: Mapping[str, Any]) -> Experiment | None:
    from optrun.experiment import Experiment

    data = shared.data(task)
    if task.shorter is not None and not is_run(task.directory):
        begin_from(task.shorter, task.directory, to_yaml(task.spec.resolved()))
    if is_run(task.directory):
        notes += _mended(task)
        resume = functools.partial(
            Experiment.resumed, task.directory, same_as=task.spec, imported=task.imported, data=data, **how
        )
        try:
            experiment = resume()
            if experiment is None or not experiment.record.notes:
                return experiment
            notes += experiment.record.notes
            experiment.close()
        except CheckpointError as damaged:
            notes.append(str(damaged))
        remove_all(Layout(task.directory))  # nothing is lost: the same numbers come again
        return resume()
    around = shared.around(task)
    return Experiment.new(task.spec, directory=task.directory, imported=task.imported, data=data, around=around, **how)


def _mended(task: Task) -> Iterator[str]:
    """Write the run's config.yaml again where it is not that of the trial: the plan knows it, whatever became of the
    file. Says so, and raises RunError."""
    path, text = Layout(task.directory).config, to_yaml(task.spec.resolved()).encode()
    with files.reporting("read", path):
        if files.read(path) == text:
            return
    with contextlib.suppress(ConfigError):
        if loading.load(path).config_hash() == task.spec.config_hash():
            return
    with files.reporting("write", path):
        files.write_atomically(path, text)
    yield "its config.yaml was not what the plan says, and is written again"


def _training(experiment: Experiment, until: int | None) -> Iterator[Progressed]:
    """Train on, and say how far it is. At the evaluation of epoch `until` the run is saved and left."""
    from optrun.training.events import Evaluated, Stepped

    state, values, due = experiment.state, dict[str, Any](), {Evaluated: 0.0, Stepped: 0.0}
    yield Progressed(state.step, state.total_steps, state.epoch)
    with contextlib.closing(experiment.events()) as events:
        for event in events:
            if event.row is not None:
                values |= event.row
            if time.monotonic() >= due[type(event)]:
                yield Progressed(state.step, state.total_steps, state.epoch, dict(values))
                due[type(event)] = time.monotonic() + BETWEEN_REPORTS
            is_over = until is not None and until <= state.epoch and state.step < state.total_steps
            if is_over and isinstance(event, Evaluated):
                return


def failure(task: Task, error: Exception) -> str:
    """Why the trial could not begin, or go on, in a sentence, which its directory then says as well."""
    reason = str(error) if isinstance(error, OptrunError) else in_words(error)
    with contextlib.suppress(OptrunError):
        conclude(task.directory, task.spec, "failed", error=reason, trace=traceback.format_exc())
    return reason


@contextlib.contextmanager
def heard_warnings() -> Iterator[list[str]]:
    """Collect what Python's `warnings` are given in the block. (`catch_warnings` would forget, each time, which ones
    were shown before.)"""
    sentences: list[str] = []
    before = warnings.showwarning
    warnings.showwarning = lambda message, *_, **__: sentences.append(str(message))
    try:
        yield sentences
    finally:
        warnings.showwarning = before


class _Shared:
    """What consecutive trials of one sweep have in common: made once in each process, and the latest kept."""

    def __init__(self) -> None:
        self._data: tuple[tuple[str, str], Data] | None = None
        self._around: tuple[str, dict[str, Any]] | None = None
        self.moved: Mapping[str, str] = {}
        """Where files and folders are that the configs name, on a machine that has them elsewhere."""
        self.git: Mapping[str, Any] | None = None
        """The repository around the configs, on a machine that does not have it."""

    def data(self, task: Task) -> Data:
        """The data set, split and standardised. Raises ConfigError."""
        from optrun.training.preparation import load_data

        key = (task.sweep, repr(task.spec.dataset))
        if self._data is None or self._data[0] != key:
            self._data = None  # the memory first
            self._data = (key, load_data(self._with_files_here(task.spec)))
        return self._data[1]

    def around(self, task: Task) -> dict[str, Any]:
        """The machine, the versions and the git commit."""
        from optrun.runs.environment import surroundings

        if self._around is None or self._around[0] != task.sweep:
            around = surroundings(task.spec.folder)
            self._around = (task.sweep, around | ({"git": self.git} if self.git else {}))
        return self._around[1]

    def _with_files_here(self, spec: Spec) -> Spec:
        """The spec with a dataset that is read from where its files are on this machine."""
        if not self.moved:
            return spec
        given = spec.dataset.settings.items()
        settings = {key: self.moved.get(value, value) if isinstance(value, str) else value for key, value in given}
        return spec.model_copy(update={"dataset": dataclasses.replace(spec.dataset, settings=settings)})


shared = _Shared()
