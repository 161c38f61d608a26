"""What a sweep asks of an executor, and what it hears back. Plain data: it crosses from process to process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optrun.config.spec import Spec

__all__ = ["Ended", "GroupReport", "GroupTask", "Noted", "Progressed", "Refused", "Report", "Task", "Verified"]


@dataclass(frozen=True)
class Task:
    """One trial, from where its directory stands to the end, or to the evaluation of epoch `until`."""

    spec: Spec
    directory: Path
    sweep: str
    """Tells one call of the sweep from another: what tasks of one call share is made once."""
    until: int | None = None
    shorter: Path | None = None
    """The run to begin from, if the directory holds none yet: equal to this one, but for fewer epochs or steps."""
    imported: tuple[Mapping[str, str], ...] = ()
    """The user's files behind the components, for environment.json."""

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of the directories that the work writes to."""
        return (self.directory.name,)


@dataclass(frozen=True)
class Progressed:
    """How far the trial is. `values` are those of its latest rows, such as train/loss, lr and val/accuracy."""

    step: int
    total_steps: int
    epoch: int
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Noted:
    """A sentence for the user: a warning of torch, or what was found damaged and what was done about it."""

    sentence: str
    is_warning: bool = True
    """Whether it may change what a result means; else it is news."""


@dataclass(frozen=True)
class Ended:
    """The last report: the run's status, or `paused` for one that has reached `until`."""

    status: str
    error: str | None = None


Report = Progressed | Noted | Ended


@dataclass(frozen=True)
class GroupTask:
    """Trials of one sweep that train as one, in one process."""

    tasks: tuple[Task, ...]
    processes: int
    """How many such groups share the machine."""
    race: bool
    """Whether they are given up if they would be faster one after the other."""

    @property
    def directory(self) -> Path:
        """The sweep's."""
        return self.tasks[0].directory.parent

    @property
    def until(self) -> int | None:
        """How far all of them go (see `Task`)."""
        return self.tasks[0].until

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of the directories that the work writes to."""
        return tuple(task.directory.name for task in self.tasks)


@dataclass(frozen=True)
class Verified:
    """Trials train as one, and were seen to do what each of them does alone."""

    members: int
    speed: float
    """How many times faster than one after the other; NaN if it was over too soon to tell."""
    error: float
    """The largest relative difference found, 0 for the same bits."""


@dataclass(frozen=True)
class Refused:
    """Trials do not train as one: those that have not ended are to be trained alone."""

    reason: str


GroupReport = tuple[int, Report] | tuple[None, Verified | Refused]
"""What is reported of a trial, by its number in `GroupTask.tasks`; or of all of them."""
