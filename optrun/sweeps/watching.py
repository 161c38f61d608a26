"""Sweeps and runs that others train, followed by looking at their directories again and again.

`Watched.look` gives what has changed as the events that the sweep itself would have given, so that who shows the one
can show the other. Nothing is written and no lock is kept: it may be done from every machine that sees the directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from optrun.config.sweep import Objective
from optrun.errors import NotARun, OptrunError
from optrun.runs import life
from optrun.runs.finding import runs_in
from optrun.runs.layout import Layout, SweepLayout
from optrun.runs.reader import Run, read
from optrun.sweeps.executors.slurm.claims import Claims
from optrun.sweeps.ledger import Trial
from optrun.sweeps.plan_on_disk import PlanOnDisk, as_trial, sweeps_in, with_name
from optrun.sweeps.ranking import Ranked, rank
from optrun.sweeps.standing import Standing
from optrun.sweeps.tasks import Ended, Progressed, Report

__all__ = ["Watched"]

_FINAL = {"completed", "diverged"}
"""What a trial stays."""


class Watched:
    """The run, the sweep or the directory of such in `directory`.

    It has what `Followed` asks for; the trials of a sweep are those of its plan, as sweep.yaml has it, and of a search
    those that have begun.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.notes: list[str] = []
        """Sentences on what cannot be told, each once."""
        self.rates: dict[Trial, float] = {}
        """Steps a second of those that run, as far as known."""
        self.silent: dict[Trial, float] = {}
        """Those that nobody can tell to be running or dead, with the time of their last sign of life."""
        self._objective: Objective | None = None
        self._plans: dict[Path, PlanOnDisk] = {}
        self._known: dict[Path, Trial] = {}
        self._signs: dict[Trial, float] = {}
        self.standing = Standing(self.objective)

    @property
    def is_sweep(self) -> bool:
        """Whether it is one sweep, and no directory of several."""
        return SweepLayout(self.directory).config.is_file()

    @property
    def objective(self) -> Objective:
        """That of the sweep; else what the first run is judged by."""
        return self._objective or Objective("val/loss", "min")

    @property
    def trials(self) -> list[Trial]:
        return self.standing.trials

    @property
    def planned(self) -> int:
        """How many there will be, as far as is known."""
        return len(self.trials) + sum(max(plan.searched - len(plan.begun), 0) for plan in self._plans.values())

    @property
    def counts(self) -> dict[str, int]:
        """How many have which status; those that are `silent` are not counted as running."""
        counts = self.standing.counts
        counts["running"] = counts.get("running", 0) - len(self.silent)
        counts["silent"] = len(self.silent)
        return {status: number for status, number in counts.items() if number}

    @property
    def ranking(self) -> list[Ranked]:
        return rank(self.trials, self.objective)

    @property
    def due(self) -> int:
        """How many are not done, be they begun or not."""
        return self.planned - self.standing.done

    @property
    def is_over(self) -> bool:
        """Whether nothing runs, and nobody is there to begin anything."""
        if self.standing.running or not self.trials:
            return False
        gone = all(life.driver_of(sweep) == "gone" for sweep in self._plans)
        return gone and not (self.due and self.jobs)

    @property
    def state(self) -> str:
        """`waiting` for the first run, `running`, `silent`, `queued` (jobs of a driver that is gone), `completed`, or
        `stopped`, if something is left to do."""
        if self.is_over:
            return "stopped" if self.due else "completed"
        if not self.trials:
            return "waiting"
        drivers = {life.driver_of(sweep) for sweep in self._plans}
        if "running" in drivers or len(self.standing.running) > len(self.silent):
            return "running"
        return "silent" if self.silent or "silent" in drivers else "queued"

    @property
    def last_sign(self) -> float:
        """When anything was last written there, in seconds since 1970."""
        of_sweeps = [life.last_sign_of_sweep(sweep) for sweep in self._plans]
        return max([*of_sweeps, *(life.last_sign(trial.directory) for trial in self.standing.running)], default=0.0)

    @property
    def jobs(self) -> int:
        """How many jobs of a cluster were submitted and have not said that they have ended."""
        return sum(len(Claims(SweepLayout(sweep).slurm).open()) for sweep in self._plans)

    def look(self) -> Iterator[tuple[Trial, Report]]:
        """What has changed since the last look; the first one finds what there is, and tells of what is running."""
        for sweep in sweeps_in(self.directory):
            self._read_plan(sweep)
        there = set[Path]()
        for directory in runs_in(self.directory):
            there.add(directory)
            if directory not in self._known:
                self._discover(directory)
        for trial in self.trials:
            if trial.directory not in there:
                yield from self._gone(trial)
            elif trial.status not in _FINAL:
                with suppress(NotARun):
                    yield from self._heard(trial, read(trial.directory))

    def _read_plan(self, sweep: Path) -> None:
        """The trials that the sweep plans, if sweep.yaml is new."""
        config = SweepLayout(sweep).config
        with suppress(OSError):
            version = (config.stat().st_mtime_ns, config.stat().st_size)
            before = self._plans.get(sweep)
            if before is not None and before.version == version:
                return
            plan = self._plans[sweep] = PlanOnDisk(sweep, version, begun=before.begun if before else set())
            try:
                trials = plan.read()
            except OptrunError as error:
                self.notes.append(f"{config}: its plan cannot be read, and what it has begun is shown: {error}")
                return
            self._objective = self._objective or plan.objective
            for trial in trials if self.is_sweep else with_name(trials, sweep.name):
                if trial.directory not in self._known:
                    self._add(trial)

    def _discover(self, directory: Path) -> None:
        """A run that no plan names: of a search, of no sweep, or no longer planned, which leaves it out."""
        plan = self._plans.get(directory.parent)
        if plan is not None and not plan.is_open:
            return
        with suppress(NotARun):
            run = read(directory)
            best = run.summary.get("best") or {}
            if self._objective is None and best.get("metric") and best.get("mode") in ("min", "max"):
                self._objective = Objective(best["metric"], best["mode"])
            if plan is not None:
                plan.begun.add(directory)
            self._add(as_trial(run, self.directory, plan.axes if plan else ()))

    def _add(self, trial: Trial) -> None:
        """With what is there of it; what goes on is left to be heard of."""
        with suppress(NotARun):
            status = life.state_of(read(trial.directory))
            trial.status = status if status not in ("running", "silent") else "interrupted"
        trial.given_up = trial.status == "pruned"
        self._known[trial.directory] = trial
        self.standing.objective = self.objective
        self.standing.add([trial])

    def _heard(self, trial: Trial, run: Run) -> Iterator[tuple[Trial, Report]]:
        status, sign = life.state_of(run), life.last_sign(trial.directory)
        self.silent.pop(trial, None)
        if status in ("running", "silent"):
            if status == "silent":
                self.silent[trial] = sign
            if trial.status != "running" or self._signs.get(trial) != sign:
                self._signs[trial] = sign
                yield from self._report(trial, self._progress(trial, run))
        elif trial.status != status:
            self.rates.pop(trial, None)
            said = "paused" if status == "interrupted" and self._is_driven(trial) else status
            yield from self._report(trial, Ended(said, run.summary.get("error")))

    def _is_driven(self, trial: Trial) -> bool:
        """Whether there is somebody to go on with it: at a rung it only waits for others."""
        sweep = trial.directory.parent
        return sweep in self._plans and life.driver_of(sweep) == "running"

    def _gone(self, trial: Trial) -> Iterator[tuple[Trial, Report]]:
        """There is no run, or the directory cannot be read just now; if there was one, it may have been removed."""
        if trial.status == "planned":
            return
        try:
            os.stat(Layout(trial.directory).config)
        except FileNotFoundError:
            self.silent.pop(trial, None)
            self.rates.pop(trial, None)
            yield from self._report(trial, Ended("planned", "its directory is gone"))

    def _report(self, trial: Trial, report: Report) -> Iterator[tuple[Trial, Report]]:
        self.standing.heard(trial, report)
        if trial.status == "pruned":
            self.standing.give_up(trial)
        yield trial, report

    def _progress(self, trial: Trial, run: Run) -> Progressed:
        """How far the run is by its latest rows. Before the first evaluation nobody has said how long an epoch is."""
        rows = run.latest_rows()
        values: dict[str, Any] = {}
        for row in rows:
            values |= row
        step, epoch = values.get("step", 0), values.get("epoch") or 0
        timed = [row for row in rows if isinstance(row.get("time"), float | int)]
        if len(timed) > 1 and timed[-1]["time"] > timed[0]["time"]:
            self.rates[trial] = (timed[-1]["step"] - timed[0]["step"]) / (timed[-1]["time"] - timed[0]["time"])
        total = trial.spec.steps
        if total is None and trial.spec.epochs and epoch:
            ends = [row for row in rows if row.get("epoch") and any(key.startswith("val/") for key in row)]
            total = max(step, round(ends[-1]["step"] / ends[-1]["epoch"] * trial.spec.epochs)) if ends else None
        return Progressed(step, total, epoch, values) if total else Progressed(0, 1, epoch, values)
