"""The driver's side: tasks become jobs, and what the jobs write becomes reports."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from optrun.errors import UsageError
from optrun.runs.layout import SweepLayout
from optrun.signals import StopRequest
from optrun.sweeps.executors.interface import Executor, Lost
from optrun.sweeps.executors.slurm.claims import Claim, Claims, key_of
from optrun.sweeps.executors.slurm.cluster import Cluster
from optrun.sweeps.executors.slurm.job import Job
from optrun.sweeps.executors.slurm.reports import Began, Over, Requeued, Stopped
from optrun.sweeps.tasks import GroupTask, Noted, Task
from optrun.sweeps.together import train_group
from optrun.sweeps.work import train_trial

__all__ = ["Slurm"]

_TICK = 0.1
"""Seconds between two looks at whether a signal has come."""

_LOOK = 1.0
"""Seconds between two looks at the reports of all jobs."""

_ASK = 5.0
"""Seconds between two questions to submitit whether a job is over that has not said so; of many jobs more, as each
question is also one to the file server."""

_QUESTIONS = 4
"""In a second, of all jobs."""


class Slurm:
    """An executor (see `Executor`) whose training is done by jobs; other work, such as judging configs, by `here`.

    `sweep` is the directory of the sweep, on a file system that the nodes share; what belongs to the jobs is in its
    `.slurm`. `settings` are submitit's (see `Cluster`), `jobs` is how many of them run at a time, by default as many as
    submitit lets. Nothing is done before it is entered.

    Jobs outlive a driver that is killed, and the next one waits for them instead of submitting others. A signal to the
    driver stops them all: those that run save what they did. A job that ends without having said so is submitted once
    more, unless it was cancelled.
    """

    def __init__(
        self,
        sweep: Path,
        here: Executor,
        *,
        settings: Mapping[str, Any],
        jobs: int | None = None,
        imports: Sequence[str | Path] = (),
    ) -> None:
        layout = SweepLayout(sweep)
        given = {"name": f"optrun-{sweep.name}", **settings}
        if jobs is not None:
            if "slurm_array_parallelism" in given:
                raise UsageError("--jobs is slurm_array_parallelism; give one of them")
            given["slurm_array_parallelism"] = jobs
        self.here = here
        self.cluster = Cluster(layout.slurm, given)
        self.jobs = jobs or self.cluster.parallelism
        self.neighbours = 1  # a job has the memory that it asked for to itself
        self.stopped: int | None = None
        self._claims = Claims(layout.slurm.absolute())
        self._imports = [str(Path(file).absolute()) for file in imports]

    def __enter__(self) -> Self:
        self.here.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.here.__exit__(kind, error, trace)

    def run(self, work: Callable[[Any], Iterator[Any]], tasks: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Work on every task, and yield each report with the task it is about (see `Executor.run`)."""
        if work not in (train_trial, train_group):
            yield from self._run_here(work, tasks)
            return
        batch = _Batch(self, work, tasks if self.stopped is None else ())
        with StopRequest() as stop:
            try:
                yield from batch.adopted()
                while batch.goes_on:
                    if stop.signal is not None and self.stopped is None:
                        self.stopped = stop.signal
                        batch.stop()
                    yield from batch.submitted()
                    heard = False
                    for heard_of in batch.heard():
                        heard = True
                        yield heard_of
                    if not heard:
                        time.sleep(_TICK)
                        yield None, None
            finally:
                batch.abandon()

    def _run_here(self, work: Callable[[Any], Iterator[Any]], tasks: Sequence[Task]) -> Iterator[tuple[Any, Any]]:
        """What costs seconds is not worth a place in a queue. The machine that submits may have no GPU: what is judged
        for one is judged for whatever there is."""
        anywhere = {"device": "auto"}
        given = [dataclasses.replace(task, spec=task.spec.model_copy(update=anywhere)) for task in tasks]
        meant = {id(each): task for each, task in zip(given, tasks)}
        for each, report in self.here.run(work, given):
            yield (None, None) if each is None else (meant[id(each)], report)
        self.stopped = self.here.stopped

    def _job(self, work: Callable[[Any], Iterator[Any]], task: Task | GroupTask, claim: Claim) -> Job:
        """Its paths are absolute: who knows where a job begins?"""
        return Job(work, _absolute(task), self._claims, claim, self._imports, sys.argv)


@dataclasses.dataclass(eq=False)
class _Placed:
    """A job that is queued or runs."""

    task: Task | GroupTask | None
    """None for a job of an earlier call that works on runs of tasks here, but is not one of them."""
    claim: Claim
    inbox: Any
    was_lost: bool = False
    """Whether the task has lost a job before."""
    began: bool = False
    asked: float = 0.0
    is_over: bool = False
    """Whether the cluster says so; its last words may still be on their way."""

    @property
    def job(self) -> str:
        assert self.claim.job is not None
        return self.claim.job


class _Batch:
    """The tasks of one `run`: those that wait, and the jobs of the others."""

    def __init__(self, slurm: Slurm, work: Callable[[Any], Iterator[Any]], tasks: Sequence[Any]) -> None:
        self.slurm, self.work = slurm, work
        self.cluster, self.claims = slurm.cluster, slurm._claims
        self.waiting = [(task, False) for task in tasks]
        self.placed: dict[_Placed, None] = {}
        self._looked = -_LOOK

    @property
    def goes_on(self) -> bool:
        """Whether there is something to wait for."""
        return bool(self.waiting or self.placed)

    def adopted(self) -> Iterator[tuple[Any, Any]]:
        """The jobs of earlier calls that still are: those of tasks here, and those that work on runs of tasks here."""
        given = [task for task, _ in self.waiting]
        tasks = {key_of(task): task for task in given}
        runs = {run for task in tasks.values() for run in task.runs}
        left = self.claims.left() if given else []
        there = self.cluster.still_has([claim.job for claim in left if claim.job is not None])
        for claim in left:
            if claim.job not in there:
                self.claims.end(claim)
            elif runs & set(claim.runs):
                task = tasks.pop(claim.key, None)
                self.placed[_Placed(task, claim, self.claims.inbox(claim))] = None
        self.waiting = [(task, False) for task in tasks.values()]
        if self.placed:
            number = "1 job is" if len(self.placed) == 1 else f"{len(self.placed)} jobs are"
            about = given[0]
            yield about, _note(about, f"{number} there from an earlier call, and waited for")

    def submitted(self) -> Iterator[tuple[Any, Any]]:
        """Submit the tasks whose runs nobody else works on."""
        taken = {run for each in self.placed for run in each.claim.runs}
        ready = [(task, lost) for task, lost in self.waiting if taken.isdisjoint(task.runs)]
        self.waiting = [(task, lost) for task, lost in self.waiting if not taken.isdisjoint(task.runs)]
        if not ready:
            return
        claims = [self.claims.make(key_of(task), task.runs) for task, _ in ready]
        try:
            ids = self.cluster.submit(
                [self.slurm._job(self.work, task, claim) for (task, _), claim in zip(ready, claims)]
            )
        except BaseException:
            for claim in claims:
                self.claims.end(claim)
            raise
        for (task, lost), claim, job in zip(ready, claims, ids):
            claim = self.claims.submitted(claim, job)
            self.placed[_Placed(task, claim, self.claims.inbox(claim), lost, asked=time.monotonic())] = None
        first, last = ids[0], ids[-1]
        which = f"job {first}" if len(ids) == 1 else f"{len(ids)} jobs, {first} to {last}"
        yield ready[0][0], _note(ready[0][0], f"submitted {which}; their logs are in {self.cluster.folder}")

    def heard(self) -> Iterator[tuple[Any, Any]]:
        """What jobs have written since the last look, and which of them are no more."""
        if time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        between = max(_ASK, len(self.placed) / _QUESTIONS)
        for each in list(self.placed):
            was_over = each.is_over
            for report in each.inbox.new():
                yield from self._reports(each, report)
                if each not in self.placed:
                    break
            if each not in self.placed:
                continue
            if was_over:
                yield from self._lost(each)
            elif time.monotonic() - each.asked >= between:
                each.asked = time.monotonic()
                each.is_over = self.cluster.is_over(each.job)

    def _reports(self, each: _Placed, report: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(report, Began):
            each.began = True
        elif isinstance(report, Over):
            self._leave(each)
        elif isinstance(report, Stopped | Requeued) and self.slurm.stopped is not None:
            self.cluster.cancel([each.job])
            self._leave(each)
        elif isinstance(report, Requeued):
            each.began = False
            if each.task is not None:
                sentence = f"job {each.job} was stopped by the cluster, saved, and is queued again"
                yield each.task, _note(each.task, sentence)
        elif each.task is not None and not isinstance(report, Stopped):
            yield each.task, report

    def _lost(self, each: _Placed) -> Iterator[tuple[Any, Any]]:
        """The job is over, and has not said so."""
        self._leave(each)
        if each.task is None or self.slurm.stopped is not None:
            return
        ending = self.cluster.ending(each.job)
        again = not each.was_lost and not ending.startswith("CANCELLED")
        if again:
            self.waiting.append((each.task, True))
        yield each.task, Lost(f"its job {each.job} ended as {ending}; see {self.cluster.log(each.job)}.", again)

    def _leave(self, each: _Placed) -> None:
        del self.placed[each]
        self.claims.end(each.claim)

    def stop(self) -> None:
        """No job begins any more, and those that run save what they did."""
        self.waiting.clear()
        queued = [each for each in self.placed if not each.began]
        self.cluster.cancel([each.job for each in queued])
        for each in queued:
            self._leave(each)
        self.cluster.stop([each.job for each in self.placed])

    def abandon(self) -> None:
        """Cancel what there is."""
        self.cluster.cancel([each.job for each in self.placed])
        for each in list(self.placed):
            self._leave(each)


def _absolute(task: Task | GroupTask) -> Task | GroupTask:
    if isinstance(task, GroupTask):
        return dataclasses.replace(task, tasks=tuple(map(_absolute_paths, task.tasks)))
    return _absolute_paths(task)


def _absolute_paths(task: Task) -> Task:
    shorter = None if task.shorter is None else task.shorter.absolute()
    return dataclasses.replace(task, directory=task.directory.absolute(), shorter=shorter)


def _note(task: Task | GroupTask, sentence: str) -> Any:
    """A sentence as what work on the task would report."""
    noted = Noted(sentence, is_warning=False)
    return (0, noted) if isinstance(task, GroupTask) else noted
