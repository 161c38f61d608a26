"""One run: the events of the training loop become a run directory.

`Experiment.new` starts a run and `Experiment.resumed` goes on with one; `events()` trains it and passes the events on,
so that whoever shows progress reads them in a plain `for`:

    experiment = Experiment.new(spec, "runs")
    for event in experiment.events():
        ...
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optrun.config.loading as loading
from optrun.components.data import Data
from optrun.config.spec import Spec
from optrun.config.writing import to_yaml
from optrun.errors import Diverged, Interrupted, UsageError
from optrun.experiment.changes import (
    as_it_was,
    judged_as_before,
    other_surroundings,
    refuse_any,
    refuse_changes,
    refuse_edits,
)
from optrun.experiment.logbook import CHECKPOINT_SECONDS, Logbook
from optrun.experiment.summary import described
from optrun.experiment.unwritten import Unlocked, Unwritten
from optrun.runs import checkpoint, environment, files, reader
from optrun.runs.layout import Layout, SweepLayout, new_run_directory
from optrun.runs.lock import Held, Lock
from optrun.runs.record import Record
from optrun.signals import StopRequest
from optrun.training.events import Event
from optrun.training.loop import fit
from optrun.training.numerics import numerics
from optrun.training.preparation import prepare_run
from optrun.training.ranks import Ranks, as_one

__all__ = ["Experiment"]


class Experiment(Logbook):
    """A run that is ready to be trained, in a directory that this process has locked.

    `events()` trains it to the end, writing every row, checkpoint and summary on the way; whoever trains it otherwise,
    together with others, keeps its `Logbook`.
    """

    @classmethod
    def new(
        cls,
        spec: Spec,
        runs_dir: str | Path = "runs",
        *,
        directory: str | Path | None = None,
        imported: Sequence[Mapping[str, str]] = (),
        data: Data | None = None,
        around: Mapping[str, Any] | None = None,
        lock: Callable[[Path], Held] = Lock,
        apart: bool = False,
        ranks: Ranks | None = None,
    ) -> Experiment:
        """Build what `spec` describes and make its run directory: `directory`, or a new one below `runs_dir`.

        `data` and `around` (`environment.surroundings`) are given by who trains many runs and has them already, `lock`
        and `apart` (`prepare_run`) by who trains many at once, `ranks` by one of the processes that train it together.
        Nothing is written before the whole configuration has been judged. Raises ConfigError, RunError, RunLocked.
        """
        with as_one(ranks):
            spec, state, batches = prepare_run(spec, data, apart=apart, ranks=ranks)
        with as_one(ranks):
            if ranks is not None and ranks.rank:
                run = cls(spec, state, batches, Path(), Unlocked(), ranks)
                run.record = Unwritten()
            else:
                made = _made(Path(directory)) if directory else None
                where = made or new_run_directory(Path(runs_dir), spec.name, datetime.now())
                run = cls(spec, state, batches, where, lock(where), ranks)
                run.record = Record(where, config=to_yaml(spec.resolved()))
            run.describe(**described(spec, state, batches, imported, around), processes=run.processes)
            run._summarize("running")
        if ranks is not None:
            run.directory = ranks.told(run.directory)
        return run

    @classmethod
    def resumed(
        cls,
        directory: Path,
        overrides: Sequence[str] | Mapping[str, Any] = (),
        *,
        same_as: Spec | None = None,
        imported: Sequence[Mapping[str, str]] = (),
        data: Data | None = None,
        force: bool = False,
        lock: Callable[[Path], Held] = Lock,
        apart: bool = False,
        ranks: Ranks | None = None,
    ) -> Experiment | None:
        """The run in `directory`, put back to its last checkpoint (to its beginning if it has none).

        Returns None for a completed run that is not to become longer. Raises ConfigError when an override, or the
        config `same_as`, would change what was trained so far; UsageError where data or imported files are others
        than before, unless `force` says to go on; RunLocked while another process works on the run; CheckpointError.
        """
        with as_one(ranks):
            before = as_it_was(directory)
            spec = same_as or loading.load(Layout(directory).config, overrides)
            if spec.threads == "auto":
                spec = spec.model_copy(update={"threads": before.threads})
            refuse_changes(before, spec)
            longer = (spec.epochs, spec.steps) != (before.epochs, before.steps)
            held = lock(directory) if ranks is None or ranks.rank == 0 else Unlocked()
        try:
            with as_one(ranks):
                stored = reader.read(directory)
                is_complete = stored.summary.get("status") == "completed" and not longer
                if is_complete:
                    refuse_any(before, spec)
            if is_complete if ranks is None else ranks.told(is_complete):
                held.release()
                return None
            with as_one(ranks):
                spec = judged_as_before(spec, stored.environment)
                spec, state, batches = prepare_run(spec, data, apart=apart, ranks=ranks)
                run = cls(spec, state, batches, directory, held, ranks)
                changes = run._changes(stored.environment, imported, force)
            run._restore()
            now = environment.resumed(stored.environment, state.step, sys.argv, changes)
            now |= {"imports": list(imported)} if imported else {}
            run.describe(**now | {"processes": run.processes})
            run._summarize("running")
        except BaseException:
            held.release()
            raise
        return run

    def _changes(self, stored: Mapping[str, Any], imported: Sequence[Mapping[str, str]], force: bool) -> list[str]:
        """What is not as it was when the run was trained last: told, or refused."""
        now = (self.state.data.fingerprint, imported, str(self.state.device))
        grave, slight = other_surroundings(stored, *now)
        if (before := stored.get("processes")) not in (None, self.processes):
            slight.append(f"the number of processes was {before} and is {self.processes}")
        if grave and not force:
            raise UsageError(f"{self.directory}: {' and '.join(grave)}; --force goes on with it nevertheless")
        self.notes += [f"{sentence}: forced" for sentence in grave]
        self.notes += [f"{sentence}: bits may differ from those of a run that was never stopped" for sentence in slight]
        return [*(f"{sentence}: forced" for sentence in grave), *slight]

    def _restore(self) -> None:
        with as_one(self.ranks):
            saved = self._last_checkpoint() if self.writes else None
        if self.ranks is not None:
            saved = self.ranks.told(saved)
        if saved is None:
            self.record = self._recording(0)
            return
        if saved["step"] > self.state.total_steps:
            raise UsageError(f"the run has taken {saved['step']} steps already, more than {self.state.total_steps}")
        self.state.load_state_dict(saved)
        self._wall_before, self._final = saved["wall_time"], saved["final"]
        self._saved_time = self.state.time
        self.record = self._recording(saved["metrics_bytes"])
        self.notes += self.record.notes
        if self.state.step < self.state.total_steps:
            self.best.take_back()
        elif saved["last_row"] is not None:
            self.record.row(saved["last_row"])

    def _last_checkpoint(self) -> dict[str, Any] | None:
        if not checkpoint.exists(self.paths):
            if files.size(self.paths.metrics):
                self.notes.append("there is no checkpoint: the run starts over")
            return None
        saved, notes = checkpoint.load(self.paths)
        refuse_edits(self.paths.config, saved.get("config"), self.spec)
        self.notes += notes
        return saved

    def _recording(self, metrics_bytes: int) -> Record | Unwritten:
        if not self.writes:
            return Unwritten()
        return Record(self.directory, config=to_yaml(self.spec.resolved()), metrics_bytes=metrics_bytes)

    def events(self) -> Generator[Event, None, None]:
        """Train to the end of the run. Raises Diverged, Interrupted, RunError; each is in the summary by then."""
        spec = self.spec
        settings = numerics(threads=int(spec.threads), deterministic=spec.deterministic, tf32=spec.precision == "tf32")
        with self.lock, self.record, settings, StopRequest() as stop:
            try:
                yield from self._train(stop)
                self.finish()
            except Diverged as diverged:
                self.has_diverged(diverged)
                raise
            except Interrupted:
                raise
            except GeneratorExit:  # whoever reads the events has stopped reading
                if self.ranks is None:  # several processes can only stop together
                    with contextlib.suppress(Diverged):
                        self.interrupt()
                raise
            except Exception as error:
                raise self.fail(error) from error

    def _train(self, stop: StopRequest) -> Iterator[Event]:
        if self.has_stopped_early:
            return
        for event in fit(self.state, self.batches, self.spec):
            agreed = None if self.ranks is None else self._agreed(stop.signal)
            self.take(event)
            yield event
            asked = stop.signal if self.ranks is None else agreed
            if asked is not None and self.state.step < self.state.total_steps:
                self.interrupt()
                raise Interrupted(asked, f"go on with `optrun resume {self.directory}{self._together}`")
            if self.has_stopped_early:
                return

    def _agreed(self, asked: int | None) -> int | None:
        """The signal that any process has been sent; the death of its parent counts as one. Whether a checkpoint is due
        by the clock, the first one says."""
        assert self.ranks is not None
        if asked is None and self.ranks.is_orphan:
            asked = signal.SIGTERM
        due = self.writes and self.state.time - self._saved_time >= CHECKPOINT_SECONDS
        asked, due = self.ranks.largest(asked or 0, due)
        self._is_time = bool(due)
        return asked or None

    @property
    def _together(self) -> str:
        return f" --nproc {self.ranks.size}" if self.ranks else ""


def _made(directory: Path) -> Path:
    """The directory a user asked for; one that holds a run already, or is a sweep's, is refused."""
    if Layout(directory).config.exists():
        raise UsageError(f"{directory} holds a run already; resume it, or choose another directory")
    if SweepLayout(directory).config.exists():
        raise UsageError(f"{directory} holds a sweep, which would take the run for itself; choose another directory")
    with files.reporting("make", directory):
        files.make_directory(directory, exist_ok=True)
    return directory
