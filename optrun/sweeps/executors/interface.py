"""What every executor does: run work on tasks, some at a time, and hand on what the work reports.

An executor knows nothing of trials. `work` is any function of a module (it is pickled by its name) that takes a task
and yields reports; tasks and reports are plain data:

    def squares(numbers: range) -> Iterator[int]:
        for number in numbers:
            yield number * number

    with Pool(jobs=2) as executor:
        for task, report in executor.run(squares, [range(3), range(5)]):
            if task is not None:
                print(task, report)

One that runs on a cluster has three things to do: hand each task and the name of `work` to a machine, pass on the
reports of that machine, and say `Lost` when it has gone.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TypeVar

from optrun.errors import in_words

__all__ = ["Executor", "Lost", "attempt"]

T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """Runs work on tasks, some at a time. Entered once, used for any number of batches, left at the end, which kills
    what still runs.

    The first SIGINT or SIGTERM is a wish: no new task begins, `optrun.signals.StopRequest` in the work that is under
    way hears of it, what that still reports is yielded, then `run` ends and `stopped` says why. The second one ends
    everything at once, as it would have without an executor.
    """

    @property
    def jobs(self) -> int:
        """Tasks at a time."""
        ...

    @property
    def neighbours(self) -> int:
        """Of these, how many at most share a machine."""
        ...

    @property
    def stopped(self) -> int | None:
        """The signal that asked everything to stop. From then on `run` begins no task."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what was begun; there is nothing of the kind unless an executor says otherwise."""
        return

    def run(
        self, work: Callable[[T], Iterator[R]], tasks: Sequence[T]
    ) -> Iterator[tuple[T, R | Lost] | tuple[None, None]]:
        """Work on every task, and yield each report with the task it is about, as it comes.

        Reports of one task keep their order; those of different tasks mix. `(None, None)` says that nothing was heard
        for about a tenth of a second, for whoever has a screen to redraw. Closing the generator kills what it runs.
        A task that was stopped by a signal, or did not begin for that reason, is not `Lost`. Raises OptrunError when
        no process can be had that works.
        """
        ...


@dataclass(frozen=True)
class Lost:
    """The last report on a task that came to no end of its own: its process died, or `work` raised an exception."""

    reason: str
    """What happened, in a sentence."""
    again: bool
    """The task is tried once more, after all others; its reports begin anew."""
    trace: str = ""
    """The traceback, if `work` raised."""

    @classmethod
    def by(cls, error: BaseException) -> Lost:
        """What to report of an exception that left the work. It would come again, so the task is not tried again."""
        return cls(in_words(error), again=False, trace="".join(traceback.format_exception(error)))


def attempt(work: Callable[[T], Iterator[R]], task: T) -> Generator[R | Lost, None, None]:
    """The reports of `work` on `task`, with an exception as the last of them. `sys.exit` ends the task alone."""
    try:
        yield from work(task)
    except (Exception, SystemExit) as error:
        yield Lost.by(error)
