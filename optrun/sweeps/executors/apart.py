"""Trials on machines that do not see the run directories: an executor over one that works there."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from optrun.runs.environment import git
from optrun.sweeps.executors.interface import Executor, Lost
from optrun.sweeps.parcel import Brought, Parcel, elsewhere
from optrun.sweeps.tasks import Ended, GroupTask, Task

__all__ = ["Apart"]


class Apart:
    """An executor (see `Executor`) that has the work done by `far`, of which nothing but reports comes back.

    What the work writes into run directories is among them, and is written here: the sweep and whoever looks at its
    directory see no difference. A task that is lost goes on from what had come back.
    """

    def __init__(self, far: Executor) -> None:
        self.far = far
        self._git: dict[Path, dict[str, Any] | None] = {}

    @property
    def jobs(self) -> int:
        return self.far.jobs

    @property
    def neighbours(self) -> int:
        return self.far.neighbours

    @property
    def stopped(self) -> int | None:
        return self.far.stopped

    def __enter__(self) -> Self:
        _allow_files()
        self.far.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.far.__exit__(kind, error, trace)

    def run(self, work: Callable[[Any], Iterator[Any]], tasks: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Work on every task, and yield each report with the task it is about (see `Executor.run`)."""
        parcels = [Parcel(work, task, self._around(task)) for task in tasks]
        try:
            for parcel, brought in self.far.run(elsewhere, parcels):
                if parcel is None or brought is None:
                    yield None, None
                elif (report := _heard(parcel, brought)) is not None:
                    yield parcel.task, report
        finally:
            for parcel in parcels:
                parcel.close()

    def _around(self, task: Task | GroupTask) -> dict[str, Any] | None:
        """The git repository around the task's config."""
        folder = (task.tasks[0] if isinstance(task, GroupTask) else task).spec.folder
        if folder not in self._git:
            self._git[folder] = git(folder)
        return self._git[folder]


def _heard(parcel: Parcel, brought: Brought | Lost) -> Any:
    """Bring what was written into the directories, and give the report, if there is one. A worker that dies when its
    trial has ended is no loss, though the trial is looked at once more."""
    if isinstance(brought, Lost):
        parcel.close()
        return None if parcel.has_ended else brought
    parcel.follow(brought.calls)
    if brought.is_last or isinstance(brought.report, Lost):  # of which the driver writes into the directory itself
        parcel.close()
    if parcel.has_ended:
        return None
    parcel.has_ended = isinstance(brought.report, Ended)
    return brought.report


def _allow_files() -> None:
    """Each trial under way has its lock, an open file: as many as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
