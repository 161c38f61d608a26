"""Work on trials where their directories are not: what is there of them goes along, and what is written comes back."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optrun.config.writing import to_yaml
from optrun.errors import OptrunError, RunLocked
from optrun.runs import files
from optrun.runs.beginning import begin_from
from optrun.runs.journal import Call, Copy, Journal, packed, unpack
from optrun.runs.layout import is_run
from optrun.runs.lock import Lock
from optrun.sweeps.executors.interface import attempt
from optrun.sweeps.tasks import Ended, GroupTask, Noted, Refused, Task
from optrun.sweeps.together import train_group
from optrun.sweeps.work import PATIENCE, shared, train_trial

__all__ = ["Brought", "Parcel", "elsewhere"]

Work = Callable[[Any], Iterator[Any]]


@dataclass(frozen=True)
class Brought:
    """What comes back: calls that change the directories, then the report that was made after them, if it is one."""

    calls: list[Call]
    report: Any = None
    is_last: bool = False


class Parcel:
    """A task as it is sent to another machine: pickled, it takes along what the directories of its trials hold then.

    From that moment until `close` it holds their locks, and `follow` brings them what is written there.
    """

    def __init__(self, work: Work, task: Any, git: Mapping[str, Any] | None = None) -> None:
        self.work, self.task, self.git = work, task, git
        trains = work in (train_trial, train_group)
        self.trials: tuple[Task, ...] = (task.tasks if isinstance(task, GroupTask) else (task,)) if trains else ()
        self.content: dict[str, Mapping[str, bytes | None]] = {}
        self.refusal: str | None = None
        """Why it cannot be worked on."""
        self.has_ended = False
        """Its one trial has said how it ended."""
        self._locks: list[Lock] = []
        self._copy: Copy | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What goes along, as it is now."""
        self.close()
        content, refusal = {}, None
        if self.trials:
            try:
                self._hold()
                content = {trial.directory.name: _read(trial.directory) for trial in self.trials}
            except OptrunError as error:
                self.close()
                refusal = str(error)
        return {**vars(self), "content": content, "refusal": refusal, "_locks": [], "_copy": None}

    def _hold(self) -> None:
        """Lock the directories, where a worker of a driver that was killed may still be about to save."""
        until = time.monotonic() + PATIENCE
        for trial in self.trials:
            with files.reporting("make", trial.directory):
                files.make_directory(trial.directory, exist_ok=True)
            while True:
                try:
                    self._locks.append(Lock(trial.directory))
                    break
                except RunLocked:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.05)
            if trial.shorter is not None and not is_run(trial.directory):
                begin_from(trial.shorter, trial.directory, to_yaml(trial.spec.resolved()))
        self._copy = Copy(self.trials[0].directory.parent, {trial.directory.name for trial in self.trials})

    def follow(self, calls: list[Call]) -> None:
        """Do here what was done there. Raises RunError."""
        if calls and self._copy is not None:
            with files.reporting("write", self._copy.root):
                self._copy.follow(calls)

    def close(self) -> None:
        """Nothing more comes back of it."""
        if self._copy is not None:
            self._copy.close()
            self._copy = None
        for lock in self._locks:
            lock.release()
        self._locks = []


def elsewhere(parcel: Parcel) -> Iterator[Brought]:
    """Work on the parcel's task in a directory of this machine, and bring back what is written there."""
    if parcel.refusal is not None:
        is_group = isinstance(parcel.task, GroupTask)  # of which the others can be trained alone
        yield Brought([], (None, Refused(parcel.refusal)) if is_group else Ended("failed", parcel.refusal))
        return
    shared.git = parcel.git
    if not parcel.trials:
        yield from (Brought([], report) for report in parcel.work(parcel.task))
        return
    home = parcel.trials[0].directory.parent
    here = Path(tempfile.mkdtemp(prefix="optrun-"))
    journal = Journal(here, set(parcel.content))
    try:
        for name, content in parcel.content.items():
            unpack(content, here / name)
        with journal.kept(), contextlib.closing(attempt(parcel.work, _moved(parcel.task, here))) as reports:
            for report in reports:
                *before, last = [*journal.taken()] or [[]]
                yield from map(Brought, before)
                yield Brought(last, _with_paths(report, here, home))
        yield from map(Brought, journal.taken())
        yield Brought([], is_last=True)
    finally:
        shutil.rmtree(here, ignore_errors=True)


def _read(directory: Path) -> dict[str, bytes | None]:
    with files.reporting("read", directory):
        return packed(directory)


def _moved(task: Task | GroupTask, here: Path) -> Any:
    """The task with its directories in `here`."""
    if isinstance(task, GroupTask):
        return dataclasses.replace(task, tasks=tuple(_moved(each, here) for each in task.tasks))
    return dataclasses.replace(task, directory=here / task.directory.name, shorter=None)


def _with_paths(report: Any, here: Path, home: Path) -> Any:
    """The report with the paths in its sentences as they are at home."""
    if isinstance(report, tuple):
        return (report[0], _with_paths(report[1], here, home))
    if isinstance(report, Ended) and report.error is not None:
        return Ended(report.status, report.error.replace(str(here), str(home)))
    if isinstance(report, Noted):
        return Noted(report.sentence.replace(str(here), str(home)), report.is_warning)
    return report
