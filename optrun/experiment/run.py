"""One run: the events of the training loop become a run directory.

`Experiment.new` starts a run and `Experiment.resumed` goes on with one; `events()` trains it and passes the events on,
so that whoever shows progress reads them in a plain `for`:

    experiment = Experiment.new(spec, "runs")
    for event in experiment.events():
        ...
"""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import optrun.config.loading as loading
from optrun.components.data import Data
from optrun.config.spec import Spec, Steps
from optrun.config.writing import to_yaml
from optrun.errors import Diverged, Interrupted, RunError, UsageError, in_words
from optrun.experiment.best import Best
from optrun.experiment.changes import (
    as_it_was,
    judged_as_before,
    other_surroundings,
    refuse_any,
    refuse_changes,
    refuse_edits,
)
from optrun.experiment.summary import described, summarized
from optrun.experiment.unwritten import Unlocked, Unwritten
from optrun.runs import checkpoint, environment, files, reader
from optrun.runs.layout import Layout, SweepLayout, new_run_directory
from optrun.runs.lock import Held, Lock
from optrun.runs.record import Record
from optrun.signals import StopRequest
from optrun.training.batches import Batches
from optrun.training.evaluation import evaluate
from optrun.training.events import Evaluated, Event, Stepped
from optrun.training.loop import fit
from optrun.training.numerics import numerics
from optrun.training.preparation import prepare_run
from optrun.training.ranks import Ranks, as_one, is_lost
from optrun.training.state import State

if TYPE_CHECKING:
    from optrun.training.shares import Shares

__all__ = ["CHECKPOINT_SECONDS", "SUMMARY_SECONDS", "Experiment"]

CHECKPOINT_SECONDS = 30.0
"""`checkpoint_every: auto`: seconds of training between two checkpoints."""

SUMMARY_SECONDS = 0.5
"""Between two summaries of a run that goes on. Each replaces a file, which takes some file systems milliseconds."""


class Experiment:
    """A run that is ready to be trained, in a directory that this process has locked.

    `events()` trains it to the end, writing every row, checkpoint and summary on the way. Whoever trains it otherwise,
    together with others, hands over what it says with `take`, and then how it ended: `finish`, `has_diverged`,
    `interrupt` or `fail`. `notes` are sentences for the user: what was found damaged and what was done about it.
    """

    def __init__(
        self,
        spec: Spec,
        state: State,
        batches: Batches | Shares,
        directory: Path,
        lock: Held,
        ranks: Ranks | None = None,
    ) -> None:
        self.spec, self.state, self.batches = spec, state, batches
        self.directory, self.lock, self.ranks = directory, lock, ranks
        self.writes = ranks is None or ranks.rank == 0
        """Whether this process writes the run's files; of several that train it together only the first one does."""
        self.paths = Layout(directory)
        self.best = Best(self.paths, kept=self.writes)
        self.engine: Literal["loop", "fused"] = "loop"
        self.notes: list[str] = []
        self.summary: dict[str, Any] = {}
        self.record: Record | Unwritten
        self._config_hash = spec.config_hash()
        self._environment: dict[str, Any] = {}
        self._started = time.monotonic()
        self._wall_before = 0.0
        self._saved_time = 0.0
        self.summary_seconds = SUMMARY_SECONDS
        self._summarized = -math.inf
        self._final: dict[str, float] = {}
        self._is_time = False

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
            asked = stop.signal
            if self.ranks is not None:
                asked = self._agreed(asked)
            self.take(event)
            yield event
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
    def processes(self) -> int:
        """How many train the run together."""
        return self.ranks.size if self.ranks else 1

    @property
    def _together(self) -> str:
        return f" --nproc {self.ranks.size}" if self.ranks else ""

    def close(self) -> None:
        """Leave the run as it is on the disk, without having trained it."""
        self.record.close()
        self.lock.release()

    # What a run says ------------------------------------------------------------------------------------------------

    def describe(self, **environment: Any) -> None:
        """Write into environment.json what is to be said of how the run is trained, beside what stands there."""
        self._environment |= environment
        self.record.environment(self._environment)

    def take(self, event: Event) -> None:
        """Write down what the run says, and what is due with it. The state must be as it is after the event."""
        if isinstance(event, Stepped):
            self._stepped(event)
        else:
            self._evaluated(event)

    @property
    def has_stopped_early(self) -> bool:
        """Whether early stopping has run out of patience."""
        return self.state.progress.should_stop

    def _stepped(self, event: Stepped) -> None:
        is_last = self.state.step == self.state.total_steps
        if is_last and event.row is not None and event.step % self.spec.log_every:
            before = self.record.position  # a longer run would not have this row
            self.record.row(event.row)
            self.save(before, event.row)
            return
        if event.row is not None:
            self.record.row(event.row)
        if is_last or self._checkpoint_is_due():
            self.save()

    def _evaluated(self, event: Evaluated) -> None:
        state = self.state
        if state.progress.saw(event) and self.spec.keep_checkpoints == "all":
            self.best.keep(state, scheduled=event.scheduled)
        if self.has_stopped_early and state.step % self.spec.log_every and state.step < state.total_steps:
            state.settle()
            self.record.row(state.training_row())
        self.record.row(event.row)
        self._final = event.values
        if time.monotonic() - self._summarized >= self.summary_seconds:
            self._summarize("running")

    def _checkpoint_is_due(self) -> bool:
        every, state = self.spec.checkpoint_every, self.state
        if self.spec.keep_checkpoints == "none":
            return False
        if every == "auto":  # who trains many runs at once saves them together
            if self.ranks is not None:
                return self._is_time
            return self.engine == "loop" and state.time - self._saved_time >= CHECKPOINT_SECONDS
        if isinstance(every, Steps):
            return state.step % every.steps == 0
        return state.batch == 0 and state.epoch % every == 0

    @property
    def _wall_time(self) -> float:
        """Seconds by the clock, those before interruptions included."""
        return self._wall_before + time.monotonic() - self._started

    @property
    def saves_by_time(self) -> bool:
        """Whether checkpoints are due by the clock, and not by steps or epochs."""
        return self.spec.checkpoint_every == "auto" and self.spec.keep_checkpoints != "none"

    def save(self, metrics_bytes: int | None = None, last_row: Mapping[str, Any] | None = None) -> None:
        """Write the checkpoint. `metrics_bytes` leaves out the rows that are there only because the run ends here."""
        self.state.settle()
        self.record.sync()
        held = {
            **self.state.state_dict(),
            "version": 1,
            "config_hash": self._config_hash,
            "config": self.spec.resolved(),
            "wall_time": self._wall_time,
            "metrics_bytes": self.record.position if metrics_bytes is None else metrics_bytes,
            "last_row": last_row,
            "final": self._final,
        }
        if self.ranks is not None and self.spec.distributed != "fsdp":
            self.ranks.demand_equal(self.state.model)
        if self.writes:
            self.best.save()
            checkpoint.save(self.paths, held)
        self._saved_time = self.state.time

    # How it ends ----------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """The run has come to its end: evaluate the test part, and write the last word on it. Raises Diverged when it
        ends with weights whose loss is no number: the last step has no next one that would notice."""
        state = self.state
        if state.step < state.total_steps:  # stopped early: the end is here
            self.save()
        if not math.isfinite(loss := self._final["val/loss"]):
            raise Diverged(state.step, loss, state.epoch, state.optimizer.learning_rates(), key="val/loss")
        if state.data.test is not None:
            values = evaluate(state, state.data.test, "test")
            self.record.row(Evaluated(state.step, state.epoch, state.time, values, scheduled=False).row)
            self._final = {**self._final, **values}
        if self.writes:
            self.best.save()
            checkpoint.tidy(self.paths, self.spec.keep_checkpoints)
        self.record.sync()
        self._summarize("completed")

    def has_diverged(self, diverged: Diverged) -> None:
        """The loss was not finite: its row is the last one."""
        if diverged.key == "train/loss":  # an evaluation has its row already
            when = {"step": diverged.step, "epoch": diverged.epoch, "time": self.state.time}
            self.record.row({**when, "train/loss": diverged.loss, "lr": diverged.lr})
        self._summarize("diverged", error=str(diverged))

    def interrupt(self) -> None:
        """Leave the run as it stands, to be gone on with."""
        if self.state.step < self.state.total_steps:  # else the last step has saved it
            self.save()
        self._summarize("interrupted")

    def fail(self, error: Exception) -> RunError:
        """What is raised has ended the run; returns what to raise instead."""
        why = in_words(error)
        if self.ranks is not None and is_lost(error):
            why = f"another of its {self.ranks.size} processes has ended"
        self.record.error("".join(traceback.format_exception(error)))
        self._summarize("failed", error=why)
        which = f"process {self.ranks.rank} of " if self.ranks and self.ranks.rank else ""
        return RunError(f"{which}{self.directory} failed: {why}")

    def _summarize(self, status: str, *, error: str | None = None) -> None:
        """Write summary.json as things stand."""
        self._summarized = time.monotonic()
        self.summary = {
            "run": self.directory.name,
            "name": self.spec.name,
            "status": status,
            "config_hash": self._config_hash,
            **summarized(self.state, self._wall_time, self._final),
            "engine": self.engine,
            "error": error,
        }
        self.record.summary(self.summary)


def _made(directory: Path) -> Path:
    """The directory a user asked for; one that holds a run already, or is a sweep's, is refused."""
    if Layout(directory).config.exists():
        raise UsageError(f"{directory} holds a run already; resume it, or choose another directory")
    if SweepLayout(directory).config.exists():
        raise UsageError(f"{directory} holds a sweep, which would take the run for itself; choose another directory")
    with files.reporting("make", directory):
        files.make_directory(directory, exist_ok=True)
    return directory
