"""Trials that are alike trained as one, many of them in each process; the others in the pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from optrun.fused.grouping import cannot_fuse, group_key
from optrun.sweeps.executors.interface import Executor, Lost
from optrun.sweeps.tasks import Ended, GroupReport, GroupTask, Noted, Refused, Task, Verified
from optrun.sweeps.together import train_group
from optrun.sweeps.work import train_trial

__all__ = ["Fused"]

LEAST = 2
"""Trials for each process below which they are no group."""


class Fused:
    """An executor (see `Executor`) that hands trials to `pool` in groups, one for each process.

    Everything else is the pool's: other work, trials that must train alone, those of a group that turns out to be none.
    With `race` a group that is slower than its trials one after the other is none.
    """

    def __init__(self, pool: Executor, *, race: bool) -> None:
        self.pool, self.race = pool, race

    @property
    def jobs(self) -> int:
        return self.pool.jobs

    @property
    def neighbours(self) -> int:
        return self.pool.neighbours

    @property
    def stopped(self) -> int | None:
        return self.pool.stopped

    def __enter__(self) -> Self:
        self.pool.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.__exit__(kind, error, trace)

    def run(self, work: Callable[[Any], Iterator[Any]], tasks: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Work on every task, and yield each report with the task it is about (see `Executor.run`)."""
        if work is not train_trial:
            yield from self.pool.run(work, tasks)
            return
        groups, alone, reasons = grouped(tasks, self.jobs, self.neighbours, self.race)
        for reason, number in reasons.items():
            yield tasks[0], Noted(f"{_trials(number)} alone: {reason}", is_warning=False)
        under_way = {id(group): _UnderWay(group) for group in groups}
        for group, report in self.pool.run(train_group, groups):
            if group is None or report is None:
                yield None, None
            else:
                yield from under_way[id(group)].heard(report)
                yield from _verdict(under_way.values())
        if self.stopped is None:
            yield from self.pool.run(train_trial, [*alone, *(t for each in under_way.values() for t in each.alone)])


def grouped(
    tasks: Sequence[Task], jobs: int, neighbours: int, race: bool
) -> tuple[list[GroupTask], list[Task], dict[str, int]]:
    """The groups, a part of each for every process; the trials that train alone; and why, with their numbers."""
    alike: dict[Any, list[Task]] = {}
    alone: list[Task] = []
    reasons: dict[str, int] = {}
    for task in tasks:
        reason = cannot_fuse(task.spec)
        if reason is not None:
            alone.append(task)
            reasons[reason] = reasons.get(reason, 0) + 1
        else:
            alike.setdefault((group_key(task.spec), task.until), []).append(task)
    groups = []
    for members in alike.values():
        if len(members) < LEAST * jobs:
            alone += members
            continue
        # Neighbours in a stack are updated together where their optimizers are alike; each part has some of all.
        ordered = sorted(members, key=lambda task: repr(task.spec.optimizer))
        groups += [GroupTask(tuple(ordered[part::jobs]), neighbours, race) for part in range(jobs)]
    return groups, alone, reasons


@dataclass
class _UnderWay:
    """What has been heard of a group."""

    group: GroupTask
    ended: set[int] = field(default_factory=set)
    verified: Verified | None = None
    alone: list[Task] = field(default_factory=list)
    """Those of its trials that must train alone, once that is known."""
    is_told: bool = False

    def heard(self, report: GroupReport | Lost) -> Iterator[tuple[Task, Any]]:
        """A report of the group as reports of its trials."""
        first = self.group.tasks[0]
        if isinstance(report, Lost):
            again = "They are tried once more." if report.again else "They are trained alone."
            yield first, Noted(f"{_trials(len(self.group.tasks))} as one: {report.reason} {again}")
            self.alone = [] if report.again else self._left()
            return
        number, said = report
        if isinstance(said, Verified):
            self.verified = said
        elif isinstance(said, Refused):
            self.alone = self._left()
            yield first, Noted(f"{_trials(len(self.alone))} alone: {said.reason}", is_warning=False)
        elif number is not None and number not in self.ended:
            if isinstance(said, Ended) and said.status != "interrupted":
                self.ended.add(number)
            yield self.group.tasks[number], said

    def _left(self) -> list[Task]:
        return [task for number, task in enumerate(self.group.tasks) if number not in self.ended]


def _verdict(groups: Any) -> Iterator[tuple[Task, Noted]]:
    """`fused 64 trials ×2 processes: 5.1× the pool, verified bitwise`, once all parts are known to be one."""
    untold = [each for each in groups if not each.is_told]
    known = [each for each in untold if each.verified is not None]
    if not known or any(each.verified is None and not each.alone for each in untold):
        return
    for each in untold:
        each.is_told = True
    members = sum(each.verified.members for each in known)
    speed = sum(each.verified.members * each.verified.speed for each in known) / members
    error = max(each.verified.error for each in known)
    how = "verified bitwise" if error == 0 else f"verified to {error:.0e}"
    pace = f"{speed:.1f}× the pool, " if speed == speed else ""
    yield known[0].group.tasks[0], Noted(f"fused {members} trials ×{len(known)} processes: {pace}{how}", False)


def _trials(number: int) -> str:
    return "1 trial trains" if number == 1 else f"{number} trials train"
