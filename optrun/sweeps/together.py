"""The work on trials that train as one, wherever an executor does it. torch is imported when it is called."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from optrun.errors import Interrupted
from optrun.runs import files
from optrun.runs.lock import GroupLock
from optrun.sweeps.tasks import Ended, GroupReport, GroupTask, Noted, Progressed, Refused, Task, Verified
from optrun.sweeps.work import BETWEEN_REPORTS, begun, failure, heard_warnings, trained

if TYPE_CHECKING:
    from optrun.experiment import Experiment
    from optrun.experiment.group import Group

__all__ = ["train_group"]

_REPORTS = 200.0
"""Reports of progress in a second, over all trials of a process."""


def train_group(group: GroupTask) -> Iterator[GroupReport]:
    """Train trials as one stack, or as several if they do not fit into memory together.

    What goes wrong with a trial stands in its directory and in the report. `Refused` is the last report if they cannot
    be one, or would be slower.
    """
    from optrun.fused.tensor import CannotFuse

    waiting = deque(enumerate(group.tasks))
    names = [task.directory.name for task in group.tasks]
    with GroupLock(group.directory, names) as lock, heard_warnings() as sentences:
        try:
            while waiting:
                tile = _Tile(group, lock)
                for report in itertools.chain(tile.filled(waiting), tile.heard()):
                    while sentences:
                        yield 0, Noted(sentences.pop(0))
                    yield report
        except CannotFuse as reason:
            yield None, Refused(str(reason))


class _Tile:
    """As many of the trials that wait as fit into memory. Those that stand at one place of an epoch are one stack."""

    def __init__(self, group: GroupTask, lock: GroupLock) -> None:
        self.group, self.lock = group, lock
        self.numbers: dict[Experiment, int] = {}
        self.stacks: dict[int, Group] = {}
        self.most = len(group.tasks)

    def filled(self, waiting: deque[tuple[int, Task]]) -> list[GroupReport]:
        """Begin the runs of those that wait; returns what is to be reported of them. Raises CannotFuse."""
        with files.together(self.group.directory):
            return list(self._begin(waiting))

    def _begin(self, waiting: deque[tuple[int, Task]]) -> Iterator[GroupReport]:
        while waiting and len(self.numbers) < self.most:
            number, task = waiting.popleft()
            try:
                experiment, notes = begun(task, lock=self.lock.member, apart=True)
            except Interrupted:
                yield number, Ended("interrupted")
                continue
            except Exception as error:
                yield number, Ended("failed", failure(task, error))
                continue
            for note in notes:
                yield number, Noted(f"{task.directory.name}: {note}")
            if experiment is None:
                yield number, Ended("completed")
            elif experiment.has_stopped_early:
                yield from ((number, report) for report in trained(task, experiment))
            else:
                self._join(number, task, experiment)
                yield number, _progress(experiment, {})

    def _join(self, number: int, task: Task, experiment: Experiment) -> None:
        from optrun.experiment.group import Group
        from optrun.fused.memory import members_that_fit
        from optrun.fused.tensor import CannotFuse

        if not experiment.batches.in_memory:
            raise CannotFuse("its examples are not in memory")
        if not self.numbers:
            batch_size = experiment.spec.dataset.batch_size
            fit = members_that_fit(experiment.state, batch_size, self.group.processes)
            tasks = len(self.group.tasks)
            self.most = math.ceil(tasks / math.ceil(tasks / fit))  # stacks of the same size
        self.numbers[experiment] = number
        stack = Group(self.group.directory, until=task.until, race=self.group.race)
        self.stacks.setdefault(experiment.state.batch, stack).add(experiment)

    def heard(self) -> Iterator[GroupReport]:
        """Train them, and report."""
        for stack in self.stacks.values():
            yield from _heard(stack, self.numbers, self.group.tasks)


def _heard(stack: Group, numbers: dict[Experiment, int], tasks: tuple[Task, ...]) -> Iterator[GroupReport]:
    from optrun.experiment.group import Left, Verdict

    if (only := stack.only()) is not None:
        number = numbers[only]
        yield from ((number, report) for report in trained(tasks[number], only))
        return
    between = max(BETWEEN_REPORTS, len(stack.members) / _REPORTS)
    values: dict[Experiment, dict[str, Any]] = {}
    due: dict[Experiment, float] = {}
    for heard in stack.events():
        if isinstance(heard, Verdict):
            yield None, Verified(heard.members, heard.speed, heard.error)
            continue
        experiment, event = heard
        if isinstance(event, Left):
            yield numbers[experiment], Ended(event.status, event.error)
        elif event.row is not None:
            values[experiment] = values.get(experiment, {}) | event.row
            if time.monotonic() >= due.get(experiment, 0.0):
                yield numbers[experiment], _progress(experiment, values[experiment])
                due[experiment] = time.monotonic() + between


def _progress(experiment: Experiment, values: dict[str, Any]) -> Progressed:
    state = experiment.state
    return Progressed(state.step, state.total_steps, state.epoch, values)
