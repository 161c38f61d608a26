"""Workers on the nodes of a Ray cluster, or of one that is started here and ends with the sweep."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from optrun.errors import OptrunError, UsageError
from optrun.signals import StopRequest
from optrun.sweeps.executors.batch import Batch
from optrun.sweeps.executors.ray_cluster import Cluster, Needs, Unreachable
from optrun.sweeps.executors.ray_worker import Ready, Worker, installed, ring
from optrun.sweeps.executors.worker import ENVIRONMENT, MALLOC
from optrun.sweeps.freight import Freight, Piece, pieces

__all__ = ["Ray"]

_TICK = 0.1
"""Seconds between two looks at whether a signal has come."""

_LOOK = 5.0
"""Seconds between two looks at how many workers the cluster has room for: nodes come and go."""

_AHEAD = 16
"""Reports that a worker makes before the driver has taken the first of them."""

_SILENCE = 60.0
"""Seconds for Ray to find out whether the node of a worker is lost that cannot be reached: by default it takes 15."""

_FAILURES = 3
"""Generations of workers that die before they are ready, one after the other, after which there is no hope."""


@dataclass(eq=False)
class _Handle:
    """What the driver knows of a worker."""

    actor: Any
    awaited: Any
    """What it is to say next: that it is ready, or the reports on its task. None while it is idle."""
    node: str | None = None
    pid: int = 0
    coming: Iterator[Piece] | None = None
    """The data that it receives for its node."""
    task: int | None = None
    generation: int = 0
    """How many before it have died before they were ready."""
    silent_until: float | None = None
    """It cannot be reached; then it is given up, unless its node turns out to be lost before."""


class Ray:
    """An executor (see `Executor`) of actors, each of which reserves what `needs` says of the node it is on.

    `address` is the cluster's (`auto`, or `host:port`); without one a cluster is started that listens on the loopback
    interface only, and ended with the executor. `jobs` is how many tasks run at a time, by default as many as there is
    room for. `imports` are files of the user, which are sent to each worker, `freight` their data, which
    is sent to each node that does not have it.

    A task that loses its worker is tried a second time; one that loses its whole node is tried again whenever that
    happens. Raises UsageError when Ray is not installed, when there is no such cluster, or when no node has room.
    """

    def __init__(
        self,
        jobs: int | None = None,
        *,
        address: str | None = None,
        needs: Needs,
        imports: Sequence[str | Path] = (),
        freight: Sequence[Freight] = (),
    ) -> None:
        self.jobs = self.neighbours = jobs or 1
        self.stopped: int | None = None
        self._chosen, self._needs = jobs, needs
        self._imports = {str(Path(file).absolute()): Path(file).read_bytes() for file in imports}
        self._freight = list(freight)
        self._receiving: dict[str, _Handle] = {}
        """The worker on each node that receives the data."""
        self._cluster = Cluster(address, needs, jobs)
        self._workers: list[_Handle] = []
        self._looked = 0.0
        self._failures = 0

    def __enter__(self) -> Self:
        self._cluster.open()
        self._look()
        if not self.neighbours:
            room = self._cluster.largest()
            self._cluster.close()
            raise UsageError(f"no node of the Ray cluster has {self._needs}; the largest has {room}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            self._cluster.kill(worker.actor)
        self._workers.clear()
        self._cluster.close()

    def run(self, work: Callable[[Any], Iterator[Any]], tasks: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Work on every task, and yield each report with the task it is about; `(None, None)` when there is none for a
        tenth of a second. Raises OptrunError if workers cannot start."""
        batch = Batch(work, tasks)
        with StopRequest() as stop:
            try:
                while self._goes_on(stop, batch):
                    self._hand_out(batch)
                    speaking = self._cluster.ready([w.awaited for w in self._workers if w.awaited is not None], _TICK)
                    if not speaking:
                        yield None, None
                    for worker in [w for w in self._workers if w.awaited in speaking]:
                        yield from self._heard(batch, worker)
                    yield from self._missed(batch)
            finally:
                self._abandon()

    def _busy(self) -> list[_Handle]:
        return [worker for worker in self._workers if worker.task is not None]

    def _goes_on(self, stop: StopRequest, batch: Batch) -> bool:
        """Whether there is something to wait for. Once a signal has come no task begins, and the wish is passed on."""
        if stop.signal is not None and self.stopped is None:
            self.stopped = stop.signal
            for node in {worker.node for worker in self._busy()}:
                pids = [worker.pid for worker in self._busy() if worker.node == node]
                self._cluster.run_on(str(node), ring, pids)
        if self.stopped is not None:
            batch.waiting.clear()
        return bool(batch.waiting or self._busy())

    def _hand_out(self, batch: Batch) -> None:
        """Give idle workers something to do, and start more of them if there is enough for them."""
        self._look()
        for worker in self._workers:
            if batch.waiting and worker.awaited is None and worker.task is None:
                worker.task = batch.waiting.popleft()
                work = worker.actor.work.options(num_returns="streaming", _generator_backpressure_num_objects=_AHEAD)
                worker.awaited = work.remote(batch.work, batch.tasks[worker.task])
        starting = sum(worker.node is None for worker in self._workers)
        for _ in range(min(len(batch.waiting) - starting, self.jobs - len(self._workers))):
            self._start()

    def _start(self) -> None:
        """One more worker, on whichever node has room."""
        actor = self._cluster.actor(Worker, {"GLIBC_TUNABLES": MALLOC, **ENVIRONMENT}, self._freight)
        ready = actor.prepare.remote(self._imports, sys.argv, installed())
        self._workers.append(_Handle(actor, ready, generation=self._failures))

    def _heard(self, batch: Batch, worker: _Handle) -> Iterator[tuple[Any, Any]]:
        """What a worker that has something to say says."""
        if worker.task is None:
            self._prepared(worker)
            return
        try:
            report = self._cluster.next(worker.awaited)
        except StopIteration:
            worker.task = worker.awaited = None
        except Unreachable:
            worker.awaited, worker.silent_until = None, time.monotonic() + _SILENCE
        except OptrunError as death:
            yield from self._lost(batch, worker, str(death))
        else:
            yield batch.tasks[worker.task], report

    def _missed(self, batch: Batch) -> Iterator[tuple[Any, Any]]:
        """Give up workers that cannot be reached, once it is known why, or was waited for long enough."""
        silent = [worker for worker in self._workers if worker.silent_until is not None]
        nodes = self._cluster.nodes() if silent else {}
        for worker in silent:
            is_over = worker.silent_until is not None and worker.silent_until < time.monotonic()
            if is_over or self.stopped is not None or worker.node not in nodes:
                yield from self._lost(batch, worker, "its process was not to be reached any more.")

    def _lost(self, batch: Batch, worker: _Handle, reason: str) -> Iterator[tuple[Any, Any]]:
        """The worker has died, and its task waits again if it may."""
        task, with_node = worker.task, self._gone(worker)
        if self.stopped is None and task is not None:
            reason = "its node left the cluster." if with_node else reason
            yield batch.tasks[task], batch.lose(task, reason, node=with_node)

    def _prepared(self, worker: _Handle) -> None:
        """It can work, or cannot yet, or has died. Raises OptrunError when others will fare no better."""
        try:
            ready = self._cluster.get(worker.awaited)
        except OptrunError as death:
            self._gone(worker)
            self._failures = max(self._failures, worker.generation + 1)
            if self._failures >= _FAILURES:
                raise OptrunError(f"workers cannot start: {death}") from death
            return
        if isinstance(ready, Ready):
            if ready.trouble is not None:
                raise OptrunError(f"a worker cannot start: {ready.trouble}")
            self._failures = 0
            worker.node, worker.pid, worker.awaited = ready.node, ready.pid, None
            if ready.lacks and ready.node not in self._receiving:
                self._receiving[ready.node] = worker
                worker.coming = pieces(self._freight, ready.lacks)
                worker.awaited = worker.actor.begin_to_receive.remote()
            elif ready.lacks:
                worker.awaited = worker.actor.wait.remote()
        elif worker.coming is not None and (piece := next(worker.coming, None)) is not None:
            worker.awaited = worker.actor.receive.remote(*piece)
        else:
            worker.coming, worker.awaited = None, worker.actor.stocked.remote()
            self._receiving.pop(str(worker.node), None)

    def _gone(self, worker: _Handle) -> bool:
        """Forget a worker that has died; whether its whole node has."""
        self._workers.remove(worker)
        self._cluster.kill(worker.actor)
        if self._receiving.get(str(worker.node)) is worker:
            del self._receiving[str(worker.node)]
        return worker.node is not None and worker.node not in self._cluster.nodes()

    def _look(self) -> None:
        """How many workers there is room for."""
        if time.monotonic() - self._looked >= _LOOK:
            room = self._cluster.room()
            self.jobs, self.neighbours = self._chosen or max(1, sum(room)), max(room, default=0)
            self._looked = time.monotonic()

    def _abandon(self) -> None:
        """Kill the workers that are busy."""
        for worker in self._busy():
            self._cluster.kill(worker.actor)
            self._workers.remove(worker)
