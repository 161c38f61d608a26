"""One call of `optrun sweep`: from the plan and what the directory holds to every trial done."""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optrun.config.semantics import warnings
from optrun.config.sweep import Point, SweepSpec
from optrun.config.writing import to_yaml
from optrun.errors import ConfigError, Interrupted, Problem, UsageError
from optrun.runs import files
from optrun.runs.layout import SweepLayout, is_run
from optrun.runs.lock import Lock, sweep_up
from optrun.runs.outcome import conclude
from optrun.sweeps import changes
from optrun.sweeps.executors.interface import Executor, Lost
from optrun.sweeps.ledger import Ledger, Trial, by_point
from optrun.sweeps.ranking import Ranked, best_value, rank, value_at
from optrun.sweeps.search import halving, samplers
from optrun.sweeps.tasks import Ended, Noted, Progressed, Report, Task
from optrun.sweeps.work import judge, train_trial

__all__ = ["Sweep"]

Event = tuple[Trial, Report] | Noted | None
"""What a trial reports, a sentence on the whole sweep, or nothing: time to look again."""


_STOPPING = "stopping: what is running is saved first; a second signal ends it at once"


class Sweep:
    """A sweep that is ready to run, in `runs_dir/<its name>`.

    `events()` runs what is missing or unfinished, and yields what is heard of it; `trials`, `counts` and `ranking` say
    how things stand meanwhile. `imported` are the user's files behind the components, as `import_file` returns them.
    """

    def __init__(
        self,
        spec: SweepSpec,
        runs_dir: str | Path = "runs",
        *,
        imported: Sequence[Mapping[str, str]] = (),
        retry_failed: bool = False,
        rerun_changed: bool = False,
    ) -> None:
        self.spec, self.imported = spec, tuple(imported)
        self.retry_failed, self.rerun_changed = retry_failed, rerun_changed
        self.layout = SweepLayout(Path(runs_dir) / spec.name)
        self.trials: list[Trial] = []
        """The plan so far: all of it for a grid, what has been proposed for a search."""
        self._call = os.urandom(8).hex()
        self._noted: set[str] = set()

    @property
    def planned(self) -> int:
        """How many trials there will be in all."""
        if self.spec.search:
            return self.spec.search.trials * len(self.spec.seeds)
        return sum(len(point.trials) for point in self.spec.points)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials have which status."""
        statuses = [trial.status for trial in self.trials]
        return {status: statuses.count(status) for status in dict.fromkeys(statuses)}

    @property
    def ranking(self) -> list[Ranked]:
        """The points so far, best first."""
        return rank(self.trials, self.spec.objective)

    def plan(self) -> list[Trial]:
        """The trials that are known before anything runs, with what there is of each; writes nothing.

        Raises UsageError when the sampler of a search needs a package that is not installed.
        """
        points = self.spec.points
        if self.spec.search:
            sampler = samplers.sampler(self.spec.search, self.spec.objective.mode)
            proposed = [] if self.learns else sampler.propose(self.spec.search.trials)
            points = tuple(self.spec.point(settings) for settings in proposed)
        return _distinct(Ledger(self.layout).trials(points))

    def events(self, executor: Executor) -> Generator[Event, None, None]:
        """Run every trial that is not done. Raises ConfigError before anything is trained, Interrupted when a signal
        asked to stop, RunLocked while another process drives the sweep."""
        directory = self.layout.directory
        if is_run(directory):
            raise UsageError(f"{directory} is a run; give the sweep another name, or another --runs-dir")
        with files.reporting("make", directory):
            files.make_directory(directory, exist_ok=True)
        with Lock(directory):
            sweep_up(directory)
            yield from self._model_based(executor) if self.learns else self._planned(executor)
        if executor.stopped is not None:
            raise Interrupted(executor.stopped, "the same command goes on from here")

    @property
    def learns(self) -> bool:
        return self.spec.search is not None and self.spec.search.sampler != "random"

    def _planned(self, executor: Executor) -> Iterator[Event]:
        """A grid or a random search: every point is known before the first one runs."""
        trials = self.plan()
        yield from self._begin(executor, trials)
        self.trials = trials
        if self.spec.prune:
            yield from self._halve(executor)
        yield from self._train(executor, [trial for trial in self.trials if not trial.given_up])

    def _model_based(self, executor: Executor) -> Iterator[Event]:
        """A search that learns: it is told what a batch of points came to before it proposes the next one.

        What the directory holds is told first, by proposing the same points again: they turn out to be done.
        """
        search, objective = self.spec.search, self.spec.objective
        assert search is not None
        sampler = samplers.sampler(search, objective.mode)
        proposed = 0
        while proposed < search.trials and executor.stopped is None:
            batch = sampler.propose(min(search.batch, search.trials - proposed))
            points = yield from self._points(batch)
            known = {trial.directory: trial for trial in self.trials}
            possible = [point for point in points if point is not None]
            found = [known.get(trial.directory, trial) for trial in Ledger(self.layout).trials(possible)]
            new = [trial for trial in _distinct(found) if trial.directory not in known]
            yield from self._begin(executor, new)
            self.trials += new
            yield from self._train(executor, new)
            if executor.stopped is None:
                outcome = {trial.spec.config_hash(): self._outcome(trial) for trial in found}
                for settings, point in zip(batch, points):
                    trials = point.trials if point is not None else ()
                    value = halving.point_value(outcome[spec.config_hash()] for spec in trials)
                    sampler.tell(settings, value)
            proposed += len(batch)

    def _points(self, batch: Sequence[Mapping[str, Any]]) -> Generator[Event, None, list[Point | None]]:
        """The points that a sampler proposes; None for a combination that cannot be, which counts as failed."""
        points: list[Point | None] = []
        for settings in batch:
            try:
                points.append(self.spec.point(settings))
            except ConfigError as error:
                yield from self._note(f"a proposed point cannot be run: {error}")
                points.append(None)
        return points

    def _outcome(self, trial: Trial) -> float | None:
        """What a search learns of a trial: its best evaluation, NaN if it diverged, None if it failed."""
        if trial.status == "diverged":
            return math.nan
        return best_value(trial.run, self.spec.objective) if trial.status == "completed" else None

    def _halve(self, executor: Executor) -> Iterator[Event]:
        """Successive halving: all train to a rung, the best of them go on."""
        prune, objective = self.spec.prune, self.spec.objective
        assert prune is not None
        alive = dict(enumerate(by_point(self.trials)))
        for rung in halving.rungs(prune, max(trial.spec.epochs or 0 for trial in self.trials)):
            yield from self._train(executor, [trial for point in alive.values() for trial in point], until=rung)
            if executor.stopped is not None:
                return
            values = {
                number: halving.point_value(value_at(trial, objective.metric, rung) for trial in point)
                for number, point in alive.items()
            }
            kept = set(halving.survivors(values, prune.eta, objective.mode))
            for number in sorted(alive.keys() - kept):
                yield from self._give_up(alive.pop(number))

    def _give_up(self, point: Sequence[Trial]) -> Iterator[Event]:
        """Prune a point, with all its seeds."""
        for trial in point:
            trial.given_up = True
            if trial.status == "interrupted":
                conclude(trial.directory, trial.spec, "pruned")
                yield from self._heard(trial, Ended("pruned"))

    def _begin(self, executor: Executor, trials: Sequence[Trial]) -> Iterator[Event]:
        """Before trials run: what has changed since, what only torch can judge, and the sweep's own file."""
        for sentence in dict.fromkeys(sentence for trial in trials for sentence in warnings(trial.spec)):
            yield from self._note(sentence)
        yield from self._judge(executor, trials)
        if executor.stopped is not None:
            return
        with files.reporting("write", self.layout.config):
            files.write_atomically(self.layout.config, to_yaml(self.spec.resolved()).encode())
        yield from self._renew(executor, trials)

    def _renew(self, executor: Executor, trials: Sequence[Trial]) -> Iterator[Event]:
        """Put aside what was made with other code or data and is not to be kept: what is done has a result to keep,
        what is not would mix the two."""
        changed = changes.changed(executor, trials, self.imported, self._call)
        renewed = [trial for trial in changed if self.rerun_changed or self.is_due(trial)]
        for sentence in changes.sentences(changed, renewed):
            yield from self._note(sentence)
        for trial in renewed:
            changes.put_aside(self.layout, trial)
        for sentence in changes.lengthened(trials):
            yield from self._note(sentence, is_warning=False)

    def _judge(self, executor: Executor, trials: Sequence[Trial]) -> Iterator[Event]:
        """One new trial of each point, as the seeds make no difference. Raises ConfigError with what all have."""
        new = [point[0] for point in by_point(trial for trial in trials if trial.status == "planned")]
        problems: list[Problem] = []
        for _, verdict in executor.run(judge, [self._task(trial) for trial in new]):
            if isinstance(verdict, ConfigError):
                problems += verdict.problems
            elif verdict is None:
                yield None
        if problems:
            raise ConfigError(problems)

    def _train(self, executor: Executor, trials: Sequence[Trial], until: int | None = None) -> Iterator[Event]:
        """Run those of the trials that have not come so far yet."""
        waiting = {trial.directory: trial for trial in trials if self.is_due(trial, until)}
        tasks = [self._task(trial, until) for trial in waiting.values()]
        if executor.stopped is not None:
            return
        for task, report in executor.run(train_trial, tasks):
            if executor.stopped is not None:
                yield from self._note(_STOPPING, is_warning=False)
            if task is None or report is None:
                yield None
            elif isinstance(report, Lost):
                yield from self._lost(waiting[task.directory], report)
            elif isinstance(report, Noted):
                yield from self._note(report.sentence, is_warning=report.is_warning)
            else:
                yield from self._heard(waiting[task.directory], report)

    def _heard(self, trial: Trial, report: Report) -> Iterator[Event]:
        if isinstance(report, Progressed):
            trial.progress, trial.status = report, "running"
        elif isinstance(report, Ended):
            # Not what the disk says: on a full one it may still be `running`.
            trial.status = "interrupted" if report.status == "paused" else report.status
            trial.error = report.error
        yield trial, report

    def _lost(self, trial: Trial, lost: Lost) -> Iterator[Event]:
        name = trial.directory.name
        if lost.again:
            trial.status = "interrupted"
            yield from self._note(f"{name}: {lost.reason} It is tried once more")
            return
        conclude(trial.directory, trial.spec, "failed", error=lost.reason, trace=lost.trace)
        yield from self._heard(trial, Ended("failed", lost.reason))

    def is_due(self, trial: Trial, until: int | None = None) -> bool:
        """Whether the trial must be run, to the end or to the evaluation of epoch `until`."""
        if trial.status in ("completed", "diverged") or (trial.status == "failed" and not self._retries(trial)):
            return False
        return until is None or value_at(trial, self.spec.objective.metric, until) is None

    def _retries(self, trial: Trial) -> bool:
        """Whether a failed trial is tried again: once in a call."""
        return self.retry_failed and trial.progress is None

    def _task(self, trial: Trial, until: int | None = None) -> Task:
        return Task(trial.spec, trial.directory, self._call, until, trial.shorter, self.imported)

    def _note(self, sentence: str, *, is_warning: bool = True) -> Iterator[Event]:
        """Each sentence once."""
        if sentence not in self._noted:
            self._noted.add(sentence)
            yield Noted(sentence, is_warning)


def _distinct(trials: Sequence[Trial]) -> list[Trial]:
    """Points of a random search may be equal: each trial once."""
    return list({trial.directory: trial for trial in reversed(trials)}.values())[::-1]
