"""A sweep on the disk: its plan, what there is of it, and one call of `optrun sweep`, from both to every trial done."""

from __future__ import annotations

import functools
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from optrun.config.sweep import Objective, Point, SweepSpec
from optrun.errors import ConfigError, Interrupted, UsageError
from optrun.runs import files
from optrun.runs.layout import SweepLayout, is_run
from optrun.runs.lock import Lock, sweep_up
from optrun.sweeps import strategies
from optrun.sweeps.call import Call, Event
from optrun.sweeps.executors.interface import Executor
from optrun.sweeps.ledger import Ledger, Trial
from optrun.sweeps.ranking import Ranked, rank
from optrun.sweeps.search import samplers
from optrun.sweeps.standing import Standing

__all__ = ["Sweep"]


class Sweep:
    """A sweep that is ready to run, in `runs_dir/<its name>`.

        with Sweep(load_sweep("rates.yaml")) as sweep, choose(sweep, "auto", None) as executor:
            for event in sweep.events(executor):
                ...

    Within its block no other process drives it. `events()` runs what is missing or unfinished, and yields what is heard
    of it; `trials`, `counts` and `ranking` say how things stand meanwhile. `imported` are the user's files behind the
    components, as `import_file` returns them.
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
        self.rerun_changed = rerun_changed
        self.layout = SweepLayout(Path(runs_dir) / spec.name)
        self.standing = Standing(spec.objective, retry_failed=retry_failed)
        self.proposed = 0
        """How many points of a search have been begun, or refused."""
        self.impossible: list[ConfigError] = []
        """What is wrong with those of them that cannot be run."""
        self._lock: Lock | None = None
        self._ledger: Ledger | None = None
        self._plan: list[Trial] | None = None

    def __enter__(self) -> Self:
        """Raises RunLocked while another process drives the sweep, UsageError if there is a run in its place."""
        directory = self.layout.directory
        self._ledger = self._plan = None  # what was looked at before may be old
        if is_run(directory):
            raise UsageError(f"{directory} is a run; give the sweep another name, or another --runs-dir")
        if directory.is_dir():
            self.hold()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.release()

    def hold(self) -> None:
        """Make the sweep's directory, and see to it that no other process works there."""
        if self._lock is None:
            with files.reporting("make", self.layout.directory):
                files.make_directory(self.layout.directory, exist_ok=True)
            self._lock = Lock(self.layout.directory)
            sweep_up(self.layout.directory)

    @property
    def ledger(self) -> Ledger:
        """What the directory held when it was first asked about, within the block or before it."""
        if self._ledger is None:
            self._ledger = Ledger(self.layout)
        return self._ledger

    @functools.cached_property
    def drawn(self) -> list[Point | ConfigError]:
        """The points of a random search, or what is wrong with one. Of other samplers none: they propose as it goes.

        Raises UsageError when a sampler needs a package that is not installed.
        """
        if self.spec.search is None:
            return []
        sampler = samplers.sampler(self.spec.search, self.spec.objective.mode)
        proposed = [] if self.learns else sampler.propose(self.spec.search.trials)
        return [self.spec.point_or_error(settings) for settings in proposed]

    @property
    def objective(self) -> Objective:
        """What the trials are judged by."""
        return self.spec.objective

    @property
    def trials(self) -> list[Trial]:
        """The plan so far: all of it for a grid, what has been proposed for a search."""
        return self.standing.trials

    @property
    def open_points(self) -> int:
        """How many points of a search there will still be."""
        return self.spec.search.trials - self.proposed if self.spec.search else 0

    @property
    def planned(self) -> int:
        """How many trials there will be in all, as far as is known."""
        of_grid = 0 if self.trials else sum(len(point.trials) for point in self.spec.points)
        return len(self.trials) + of_grid + self.open_points * len(self.spec.seeds)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials have which status."""
        return self.standing.counts

    @property
    def ranking(self) -> list[Ranked]:
        """The points so far, best first."""
        return rank(self.trials, self.spec.objective)

    @property
    def learns(self) -> bool:
        """Whether what is proposed depends on what came before."""
        return self.spec.search is not None and self.spec.search.sampler != "random"

    def plan(self) -> list[Trial]:
        """The trials that are known before anything runs, with what there is of each; writes nothing. Raises UsageError
        as `drawn` does, and ConfigError if a random search proposes no point that can be."""
        if self._plan is None:
            points = [*self.spec.points, *(point for point in self.drawn if isinstance(point, Point))]
            if self.drawn and not points:
                raise ConfigError([p for error in self.drawn if isinstance(error, ConfigError) for p in error.problems])
            self._plan = list(dict.fromkeys(trial for point in points for trial in self.ledger.trials(point)))
        return self._plan

    @property
    def doubles(self) -> int:
        """How many trials of the plan are equal to another one, and left out."""
        possible = sum(isinstance(point, Point) for point in self.drawn)
        return self.spec.duplicates + (possible * len(self.spec.seeds) - len(self.plan()) if possible else 0)

    def is_due(self, trial: Trial) -> bool:
        """Whether the trial is not done, as far as it alone can tell: of one that was pruned `due` knows more."""
        return self.standing.is_due(trial)

    def due(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those of a plan that must be run, if only to the next rung."""
        running = strategies.in_the_race(self.standing, self.spec, trials) if self.spec.prune else trials
        return [trial for trial in running if self.is_due(trial)]

    def events(self, executor: Executor) -> Generator[Event, None, None]:
        """Run every trial that is not done, within the block. Raises ConfigError before anything is trained,
        Interrupted when a signal asked to stop, RunLocked when another process has begun the same sweep meanwhile."""
        strategy = strategies.grid
        if self.spec.search:
            strategy = strategies.learning_search if self.learns else strategies.random_search
        yield from strategy(Call(self, executor))
        if executor.stopped is not None:
            raise Interrupted(executor.stopped, "the same command goes on from here")
