"""One call of a sweep: trials are judged, begun and trained on an executor, and what is heard of them is passed on."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from optrun.config.semantics import warnings
from optrun.config.writing import to_yaml
from optrun.errors import ConfigError
from optrun.runs import files
from optrun.runs.outcome import conclude
from optrun.sweeps import changes
from optrun.sweeps.executors.interface import Executor, Lost
from optrun.sweeps.ledger import Trial, by_point
from optrun.sweeps.tasks import Ended, Noted, Report, Task
from optrun.sweeps.work import judge, train_trial

if TYPE_CHECKING:
    from optrun.sweeps.driver import Sweep

__all__ = ["Call", "Event"]

Event = tuple[Trial, Report] | Noted | None
"""What a trial reports, a sentence on the whole sweep, or nothing: time to look again."""

_STOPPING = "stopping: what is running is saved first; a second signal ends it at once"


class Call:
    """What the ways through a sweep (`strategies.py`) are made of. Each method yields events as they come."""

    def __init__(self, sweep: Sweep, executor: Executor) -> None:
        self.sweep, self.executor = sweep, executor
        self.standing = sweep.standing
        self._name = os.urandom(8).hex()
        self._noted: set[str] = set()

    @property
    def is_stopped(self) -> bool:
        """Whether a signal has asked everything to stop."""
        return self.executor.stopped is not None

    def judged(self, trials: Sequence[Trial]) -> Generator[Event, None, dict[Trial, ConfigError]]:
        """What only torch and the data can tell: the new trials that cannot be run, and why.

        One of each point is judged, as the seeds make no difference.
        """
        points = {point[0].directory: point for point in by_point(t for t in trials if t.status == "planned")}
        refused: dict[Trial, ConfigError] = {}
        for task, verdict in self.executor.run(judge, [self._task(point[0]) for point in points.values()]):
            if task is not None and isinstance(verdict, ConfigError):
                refused |= dict.fromkeys(points[task.directory], verdict)
            elif verdict is None:
                yield None
        return refused

    def begin(self, trials: Sequence[Trial]) -> Iterator[Event]:
        """Before trials run: what may not be meant, the sweep's directory and file, and what has changed since."""
        if self.is_stopped or not trials:
            return
        yield from self._warn(trials)
        self.sweep.hold()
        self._write_config()
        self.sweep.ledger.look_for_shorter(trials)
        yield from self._renew(trials)
        self.standing.add(trials)

    def train(self, trials: Sequence[Trial], until: int | None = None) -> Iterator[Event]:
        """Run those of the trials that have not come so far yet."""
        due = {trial.directory: trial for trial in trials if self.standing.is_due(trial, until)}
        if self.is_stopped:
            return
        for task, report in self.executor.run(train_trial, [self._task(trial, until) for trial in due.values()]):
            if self.is_stopped:
                yield from self.note(_STOPPING, is_warning=False)
            if task is None or report is None:
                yield None
            elif isinstance(report, Lost):
                yield from self._lost(due[task.directory], report)
            elif isinstance(report, Noted):
                yield from self.note(report.sentence, is_warning=report.is_warning)
            else:
                yield from self._heard(due[task.directory], report)

    def give_up(self, point: Sequence[Trial]) -> Iterator[Event]:
        """Prune a point, with all its seeds."""
        for trial in point:
            self.standing.give_up(trial)
            if trial.status == "interrupted":
                conclude(trial.directory, trial.spec, "pruned")
                yield from self._heard(trial, Ended("pruned"))

    def note(self, sentence: str, *, is_warning: bool = True, about: str | None = None) -> Iterator[Event]:
        """Say a sentence, unless it, or another one about the same, was said before."""
        if (about or sentence) not in self._noted:
            self._noted.add(about or sentence)
            yield Noted(sentence, is_warning)

    def _warn(self, trials: Sequence[Trial]) -> Iterator[Event]:
        """What works and may not be meant: of many trials that differ in numbers alone it is said of the first."""
        found: dict[str, list[str]] = {}
        for trial in trials:
            for about, sentence in warnings(trial.spec):
                found.setdefault(about, []).append(sentence)
        for about, sentences in found.items():
            others = sum(sentence != sentences[0] for sentence in sentences)
            more = f"; so it is, with other values, in {others} more trial{'s' * (others > 1)}" if others else ""
            yield from self.note(f"{sentences[0]}{more}", about=about)

    def _write_config(self) -> None:
        """sweep.yaml, if it is not there as it should be: what is done can be looked at on a full disk, too."""
        path, content = self.sweep.layout.config, to_yaml(self.sweep.spec.resolved()).encode()
        with files.reporting("write", path):
            if not path.exists() or files.read(path) != content:
                files.write_atomically(path, content)

    def _renew(self, trials: Sequence[Trial]) -> Iterator[Event]:
        """Put aside what was made with other code or data and is not to be kept: what is done has a result to keep,
        what is not would mix the two, as would a longer run that goes on from a shorter one."""
        sweep = self.sweep
        changed = changes.changed(self.executor, trials, sweep.imported, self._name)
        of_shorter = {trial: changed.pop(trial) for trial in [*changed] if trial.status == "planned"}
        for trial, what in of_shorter.items():
            changes.begin_anew(trial, what)
        due = set(sweep.due(trials)) if changed else set()
        renewed = [trial for trial in changed if sweep.rerun_changed or trial in due]
        for sentence in changes.sentences(changed, renewed):
            yield from self.note(sentence)
        for trial in renewed:
            changes.put_aside(sweep.layout, trial)
        for sentence in changes.lengthened(trials):
            yield from self.note(sentence, is_warning=False)

    def _heard(self, trial: Trial, report: Report) -> Iterator[Event]:
        self.standing.heard(trial, report)
        yield trial, report

    def _lost(self, trial: Trial, lost: Lost) -> Iterator[Event]:
        if lost.again:
            self.standing.lost(trial)
            yield from self.note(f"{trial.directory.name}: {lost.reason} It is tried once more")
            return
        conclude(trial.directory, trial.spec, "failed", error=lost.reason, trace=lost.trace)
        yield from self._heard(trial, Ended("failed", lost.reason))

    def _task(self, trial: Trial, until: int | None = None) -> Task:
        return Task(trial.spec, trial.directory, self._name, until, trial.shorter, self.sweep.imported)
