"""Processes on this machine that stay and take task after task: what a sweep runs on by default."""

from __future__ import annotations

import os
import pickle
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from optrun.errors import OptrunError, UsageError
from optrun.signals import StopRequest
from optrun.sweeps.executors.batch import Batch
from optrun.sweeps.executors.cores import physical_cores
from optrun.sweeps.executors.handle import Handle
from optrun.sweeps.executors.interface import Lost
from optrun.sweeps.executors.template import Template, ending
from optrun.sweeps.executors.worker import GRACE, STOP

__all__ = ["PRELOAD", "Pool"]

T = TypeVar("T")
R = TypeVar("R")

PRELOAD = ("optrun.experiment.group", "optrun.sweeps.together")
"""What every worker would import for its first trial."""

_TICK = 0.1
"""Seconds between two looks at whether a signal has come."""


class Pool:
    """An executor (see `Executor`) of processes that are started when there are tasks for them and stay for the next.

    `jobs` is how many: by default one for each CUDA device, or for each physical core without one; whoever asks within
    the `with` block waits until that is known. Workers share the
    CUDA devices evenly and see one each, unless tasks name the device themselves (`one_device_each` is false then).
    `imports` are files of the user that each worker runs first, `preload` the modules that are imported once for all
    of them; entering the pool only begins with that, and returns at once.

    A worker computes with one CPU thread; what it prints goes to stderr. A task that loses its worker (killed for its
    memory, a crash in compiled code) is tried a second time on another. When no worker can be started any more, those
    that work have `grace` seconds to save what they did. Tasks, work and reports must be picklable, and not come from
    the program's `__main__`, which workers do not have.
    """

    def __init__(
        self,
        jobs: int | None = None,
        *,
        imports: Sequence[str | Path] = (),
        preload: Sequence[str] = PRELOAD,
        one_device_each: bool = True,
        grace: float = GRACE,
    ) -> None:
        if jobs is not None and jobs < 1:
            raise UsageError(f"{jobs} jobs cannot do anything; give at least 1")
        self._jobs = jobs or physical_cores()
        self.stopped: int | None = None
        self._chosen, self._one_device_each, self._grace = jobs, one_device_each, grace
        self._imports = [str(Path(file).absolute()) for file in imports]
        self._preload = list(preload)
        self._devices: int | None = None  # CUDA devices; None until the template is ready
        self._started = 0
        self._workers: dict[int, Handle] = {}
        self._template: Template | None = None
        self._error: OptrunError | None = None  # why no worker can be started any more

    @property
    def jobs(self) -> int:
        """Tasks at a time."""
        if self._template is not None and self._chosen is None and self.stopped is None:
            with StopRequest() as stop:
                while self._devices is None and self._error is None and stop.signal is None:
                    self._hear()
            self.stopped = stop.signal
        return self._jobs

    @property
    def neighbours(self) -> int:
        """All of them."""
        return self.jobs

    def __enter__(self) -> Self:
        self._template = Template(self._preload)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._template is None:
            return
        template, self._template = self._template, None
        if template.end() != 0:  # it was killed itself, so that nobody has killed the workers
            for worker in self._workers.values():
                worker.kill()
        for worker in self._workers.values():
            worker.connection.close()
        self._workers.clear()

    def run(
        self, work: Callable[[T], Iterator[R]], tasks: Sequence[T]
    ) -> Iterator[tuple[T, R | Lost] | tuple[None, None]]:
        """Work on every task, and yield each report with the task it is about; `(None, None)` when there is none for a
        tenth of a second. Raises OptrunError if workers cannot start; ValueError for work that they could not find."""
        if getattr(work, "__module__", None) == "__main__":
            raise ValueError(f"{work} is not to be had in other processes; put it in a module and import it from there")
        batch = Batch(work, tasks)
        with StopRequest() as stop:
            try:
                while self._goes_on(stop, batch):
                    self._hand_out(batch)
                    heard = self._hear()
                    if not heard:
                        yield None, None
                    for worker, kind, content in heard:
                        yield from self._reports(batch, worker, kind, content)
                        self._hand_out(batch)
                if self._error is not None:
                    yield from self._last_reports(batch)
                    raise self._error
            finally:
                self._abandon()

    def _busy(self) -> list[Handle]:
        return [worker for worker in self._workers.values() if worker.task is not None]

    def _goes_on(self, stop: StopRequest, batch: Batch) -> bool:
        """Whether there is something to wait for. Once a signal has come no task begins, and the wish is passed on."""
        if stop.signal is not None and self.stopped is None:
            self.stopped = stop.signal
            for worker in self._busy():
                worker.send(STOP)
        if self.stopped is not None:
            batch.waiting.clear()
        return self._error is None and bool(batch.waiting or self._busy())

    def _hand_out(self, batch: Batch) -> None:
        """Give idle workers something to do, and start more of them if there is enough for them."""
        if self._error is not None:
            return
        workers = [worker for worker in self._workers.values() if not worker.leaves]
        for worker in workers:
            if batch.waiting and worker.pid is not None and worker.task is None:
                message = pickle.dumps((batch.work, batch.tasks[batch.waiting[0]]), pickle.HIGHEST_PROTOCOL)
                worker.task, worker.begun = batch.waiting.popleft(), False
                worker.send(message)
        starting = sum(worker.pid is None for worker in workers)
        if self._devices is not None:
            for _ in range(min(len(batch.waiting) - starting, self._jobs - len(workers))):
                self._start()

    def _reports(self, batch: Batch, worker: Handle, kind: str, content: Any) -> Iterator[tuple[Any, Any]]:
        """What a message of a worker amounts to."""
        if kind == "failed" or (kind == "died" and worker.pid is None):
            self._error = self._error or OptrunError(f"a worker cannot start: {content}")
        task, worker.begun = worker.task, kind == "begun" or worker.begun
        if task is None or kind == "begun":
            return
        if kind == "report":
            yield batch.tasks[task], content
            return
        worker.task, worker.leaves = None, kind == "died" or content
        if kind == "died" and not worker.begun:
            batch.waiting.appendleft(task)
        elif kind == "died" and self.stopped is None:
            yield batch.tasks[task], batch.lose(task, content)

    def _last_reports(self, batch: Batch) -> Iterator[tuple[Any, Any]]:
        """Ask the workers that there are to save what they do, and hear them out, for no longer than the grace."""
        until = time.monotonic() + self._grace
        for worker in self._busy():
            worker.send(STOP)
        while (saving := [worker for worker in self._busy() if worker.speaks]) and time.monotonic() < until:
            ready = wait([worker.connection for worker in saving], _TICK)
            for worker in saving:
                for _, kind, content in worker.receive() if worker.connection in ready else []:
                    yield from self._reports(batch, worker, kind, content)

    def _hear(self) -> list[tuple[Handle, str, Any]]:
        """What workers say, and who has died of what; nothing if for a tick there is nothing."""
        template = self._running()
        listening: list[Connection] = [worker.connection for worker in self._workers.values() if worker.speaks]
        ready = wait([template.connection, *listening], _TICK)
        heard = []
        for worker in list(self._workers.values()):
            if worker.connection in ready:
                heard += worker.receive()
        if template.connection in ready:
            try:
                kind, *content = template.receive()
            except OptrunError as error:
                self._error = self._error or error
                return heard
            if kind == "ready":
                self._know(*content)
            elif worker := self._workers.pop(content[0], None):
                while worker.speaks and worker.connection.poll():  # its last words
                    heard += worker.receive()
                worker.connection.close()
                heard.append((worker, "died", f"its process {ending(content[1])}"))
        return heard

    def _know(self, devices: int) -> None:
        """The template is ready, and has told how many CUDA devices there are."""
        self._devices = devices
        if self._chosen is None and devices:
            self._jobs = devices

    def _start(self) -> None:
        """One more worker, on the CUDA device that has the fewest."""
        device = None
        if self._one_device_each and self._devices and self._devices > 1:
            taken = Counter(worker.device for worker in self._workers.values())
            device = min(range(self._devices), key=lambda device: taken[device])
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        name = None if device is None else seen[device] if device < len(seen) and seen[device] else str(device)
        connection = self._running().fork(self._started, self._imports, name)
        self._workers[self._started] = Handle(connection, device)
        self._started += 1

    def _abandon(self) -> None:
        """Kill the workers that are busy, and wait until they are dead."""
        killed = [number for number, worker in self._workers.items() if worker.task is not None]
        for number in killed:
            self._running().kill(number)
        while self._error is None and any(number in self._workers for number in killed):  # or `__exit__` sees to it
            self._hear()

    def _running(self) -> Template:
        if self._template is None:
            raise ValueError("a pool works only within its `with` block")
        return self._template
