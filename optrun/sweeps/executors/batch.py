"""The tasks of one `run` of an executor of processes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from optrun.sweeps.executors.interface import Lost

__all__ = ["Batch"]

NODES = 10
"""Machines that a task may lose. It is not to blame for that, unless it is the task that brings them down."""


class Batch:
    """Which tasks wait, by their numbers, and which have lost a worker before."""

    def __init__(self, work: Callable[[Any], Iterator[Any]], tasks: Sequence[Any]) -> None:
        self.work, self.tasks = work, tasks
        self.waiting = deque(range(len(tasks)))
        self._processes: Counter[int] = Counter()
        self._nodes: Counter[int] = Counter()

    def lose(self, task: int, reason: str, *, node: bool = False) -> Lost:
        """Its worker has died, alone or with the whole `node`: it waits again, unless that came too often."""
        lost = self._nodes if node else self._processes
        lost[task] += 1
        again = lost[task] <= (NODES if node else 1)
        if again:
            self.waiting.append(task)
        return Lost(reason, again)
