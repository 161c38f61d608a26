"""What a run writes down: its events as rows, checkpoints and summaries, and how it ended."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from optrun.config.spec import Spec, Steps
from optrun.errors import Diverged, RunError, in_words
from optrun.experiment.best import Best
from optrun.experiment.summary import summarized
from optrun.experiment.unwritten import Unwritten
from optrun.runs import checkpoint
from optrun.runs.layout import Layout
from optrun.runs.lock import Held
from optrun.runs.record import Record
from optrun.training.batches import Batches
from optrun.training.evaluation import evaluate
from optrun.training.events import Evaluated, Event, Stepped
from optrun.training.ranks import Ranks, is_lost
from optrun.training.state import State

if TYPE_CHECKING:
    from optrun.training.shares import Shares

__all__ = ["CHECKPOINT_SECONDS", "SUMMARY_SECONDS", "Logbook"]

CHECKPOINT_SECONDS = 30.0
"""`checkpoint_every: auto`: seconds of training between two checkpoints."""

SUMMARY_SECONDS = 0.5
"""Between two summaries of a run that goes on. Each replaces a file, which takes some file systems milliseconds."""


class Logbook:
    """The account of a run, kept in a directory that this process has locked.

    Whoever trains the run hands over what it says with `take`, and then how it ended: `finish`, `has_diverged`,
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

    @property
    def processes(self) -> int:
        """How many train the run together."""
        return self.ranks.size if self.ranks else 1

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
