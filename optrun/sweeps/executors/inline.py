"""One task after the other in this process, where a debugger works."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

from optrun.signals import StopRequest
from optrun.sweeps.executors.interface import Executor, Lost, attempt

__all__ = ["Inline"]

T = TypeVar("T")
R = TypeVar("R")


class Inline(Executor):
    """An executor without processes: nothing is pickled, and nothing but this process can die.

    The work shares the process's state, such as the random generators; what it prints goes to stderr. KeyboardInterrupt
    leaves `run` as it is; `(None, None)` is never yielded.
    """

    jobs = neighbours = 1
    stopped: int | None = None

    def run(
        self, work: Callable[[T], Iterator[R]], tasks: Sequence[T]
    ) -> Iterator[tuple[T, R | Lost] | tuple[None, None]]:
        """Work on every task in turn, and yield each report with its task."""
        for task in tasks:
            if self.stopped is not None:
                return
            with StopRequest() as stop, contextlib.closing(_aside(attempt(work, task))) as reports:
                for report in reports:
                    yield task, report
            self.stopped = stop.signal


def _aside(reports: Generator[R, None, None]) -> Generator[R, None, None]:
    """The reports; what is printed while they are made goes to stderr: what the program itself prints may be JSON."""
    try:
        while True:
            with contextlib.redirect_stdout(sys.stderr):
                try:
                    report = next(reports)
                except StopIteration:
                    return
            yield report
    finally:
        with contextlib.redirect_stdout(sys.stderr):
            reports.close()
