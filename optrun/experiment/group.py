"""Many runs trained as one stack, each leaving what it leaves when it trains alone.

group = Group(directory)
for …:
    group.add(Experiment.new(…, lock=…, apart=True))
for experiment, said in group.events():
    ...                        # an event of that run, or how it has left
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optrun.errors import Diverged, RunError
from optrun.experiment.logbook import CHECKPOINT_SECONDS, SUMMARY_SECONDS
from optrun.experiment.run import Experiment
from optrun.fused.loop import Told, fit
from optrun.fused.member import Member
from optrun.fused.probe import Probe
from optrun.fused.stack import Stack
from optrun.fused.standing import JUDGED, WARM
from optrun.fused.tensor import CannotFuse
from optrun.runs import files
from optrun.signals import StopRequest
from optrun.training.batches import Batches
from optrun.training.events import Evaluated, Event, Stepped
from optrun.training.numerics import numerics
from optrun.training.randomness import generator_states, restore_generators

__all__ = ["Group", "Left", "Verdict"]

KEPT = 0.75
"""The part of a stack that must be left, or else it is built anew from those that are."""

SAVING = 0.05
"""The part of the time that may go into checkpoints of `checkpoint_every: auto`."""


@dataclass(frozen=True)
class Left:
    """A run has left the group: completed, diverged, failed, interrupted, or paused at the epoch it was to reach."""

    status: str
    error: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The stack does what its members do alone. `speed` is how many times faster: their steps a second over its own;
    `error` the largest relative difference, 0 for the same bits."""

    members: int
    speed: float
    error: float

    def described(self) -> dict[str, Any]:
        """The verdict as environment.json has it."""
        verified = "bitwise" if self.error == 0 else self.error
        return {"members": self.members, "speed": self.speed, "verified": verified}


Said = tuple[Experiment, Event | Left] | Verdict


class Group:
    """Runs ready to be trained as one stack, in the `directory` of their sweep.

    Those that have come to the evaluation of epoch `until` are saved and leave. With `race` a stack that is slower
    than its members one after the other is given up.
    """

    def __init__(self, directory: Path, *, until: int | None = None, race: bool = True) -> None:
        self.directory, self.until, self.race = directory, until, race
        self.members: dict[Member, Experiment] = {}
        self._saved, self._saving = time.monotonic(), 0.0
        self._verdict: Verdict | None = None

    def add(self, experiment: Experiment) -> None:
        """A run that was made last of all, so that the generators stand where it starts."""
        experiment.engine = "fused"
        assert isinstance(experiment.batches, Batches)  # of one process
        first = next(iter(self.members), None)
        if first is not None and experiment.state.device.type != "cpu":
            # Their data are the same: one copy of them on the device.
            experiment.state.data, experiment.batches.part = first.state.data, first.batches.part
        member = Member(experiment.spec, experiment.state, experiment.batches, generator_states())
        self.members[member] = experiment

    def only(self) -> Experiment | None:
        """The run, if it is the only one and is to train alone, with the generators where they stood."""
        if len(self.members) > 1:
            return None
        ((member, experiment),) = self.members.items()
        restore_generators(member.random)
        experiment.engine = "loop"
        return experiment

    def events(self) -> Generator[Said, None, None]:
        """Train all of them. Raises CannotFuse; what was trained until then is saved, unless nothing was."""
        members = list(self.members)
        for experiment in self.members.values():
            experiment.summary_seconds = SUMMARY_SECONDS * max(1, len(members) / 10)
        settings = numerics(threads=1, deterministic=members[0].spec.deterministic)
        with settings, StopRequest() as stop, contextlib.ExitStack() as left:
            for experiment in self.members.values():
                left.callback(experiment.close)
            with _raising_what_it_cannot():
                probe, stack = Probe(members), Stack(members)
                training = fit(stack)
                held = probe.verify(stack, training)
            while True:
                yield from self._trained(stack, itertools.chain(held, training), probe, stop)
                if stop.signal is not None or not stack.present:
                    return
                stack = Stack(stack.release())
                held, training = [], fit(stack)

    def _trained(
        self, stack: Stack, training: Iterator[Told], probe: Probe, stop: StopRequest
    ) -> Generator[Said, None, None]:
        """Train the stack until all have left, or so many that it should be a smaller one."""
        try:
            while stack.present and (len(stack.present) > KEPT * len(stack.members) or not stack.standing.taken):
                with _raising_what_it_cannot():
                    told = next(training)
                with files.together(self.directory):
                    said = [each for row, event in told for each in self._taken(stack, row, event)]
                    said += self._due(stack, probe, stop)
                yield from said  # also that members have left, before those that stay are given up
                if stack.present and self.race and self._verdict is not None and self._verdict.speed < 1:
                    raise CannotFuse(f"one after the other is {1 / self._verdict.speed:.1f} times as fast")
        except (CannotFuse, GeneratorExit):
            with files.together(self.directory), contextlib.suppress(RunError):
                list(self._interrupted(stack))
            raise

    def _taken(self, stack: Stack, row: int, event: Stepped | Evaluated | Diverged | None) -> Iterator[Said]:
        """What a member says goes to its run; and whether it leaves with it."""
        experiment = self.members[stack.members[row]]
        try:
            if isinstance(event, Diverged):
                experiment.has_diverged(event)
                yield experiment, Left("diverged", str(event))
            elif event is None:
                yield experiment, _finished(experiment)
            else:
                experiment.take(event)
                yield experiment, event
                if isinstance(event, Evaluated) and self._is_far_enough(experiment):
                    stack.leave(row)
                    experiment.interrupt()
                    yield experiment, Left("paused")
                elif experiment.has_stopped_early:
                    stack.leave(row)
                    yield experiment, _finished(experiment)
        except RunError as error:  # its disk, say; the others go on
            if row in stack.present:
                stack.leave(row)
            with contextlib.suppress(RunError):
                experiment.fail(error)
            yield experiment, Left("failed", str(error))

    def _is_far_enough(self, experiment: Experiment) -> bool:
        state = experiment.state
        return self.until is not None and self.until <= state.epoch and state.step < state.total_steps

    def _due(self, stack: Stack, probe: Probe, stop: StopRequest) -> Iterator[Said]:
        """What is not due to a member's own steps: a signal, a checkpoint of all, the end of the race."""
        if stop.signal is not None:
            yield from self._interrupted(stack)
        elif time.monotonic() - self._saved >= max(CHECKPOINT_SECONDS, self._saving / SAVING):
            self._save(stack)
        standing = stack.standing
        if self._verdict is None and (standing.taken >= JUDGED or not stack.present):
            speed = probe.seconds_alone() / standing.fastest if standing.taken > WARM else math.nan
            self._verdict = Verdict(len(stack.members), speed, probe.error)
            for experiment in self.members.values():
                experiment.describe(fused=self._verdict.described())
            yield self._verdict

    def _interrupted(self, stack: Stack) -> Iterator[Said]:
        """All that are there are saved and leave."""
        stack.standing.gather()
        for row in list(stack.present):
            stack.standing.settle(row)
            experiment = self.members[stack.members[row]]
            stack.leave(row)
            if (lost := stack.standing.lost.get(row)) is not None:
                experiment.has_diverged(lost)
                yield experiment, Left("diverged", str(lost))
            else:
                experiment.interrupt()
                yield experiment, Left("interrupted")

    def _save(self, stack: Stack) -> None:
        """A checkpoint of every member that saves whenever it is time."""
        began = time.monotonic()
        stack.standing.gather()
        for row in stack.present:
            stack.standing.settle(row)
            experiment = self.members[stack.members[row]]
            if experiment.saves_by_time and row not in stack.standing.lost:
                experiment.save()
        self._saved, self._saving = time.monotonic(), time.monotonic() - began


def _finished(experiment: Experiment) -> Left:
    """A member has come to the end of its run."""
    try:
        experiment.finish()
    except Diverged as diverged:
        experiment.has_diverged(diverged)
        return Left("diverged", str(diverged))
    return Left("completed")


@contextlib.contextmanager
def _raising_what_it_cannot() -> Iterator[None]:
    """Whatever a stack raises may be due to a member, which will say so when it trains alone."""
    try:
        yield
    except (CannotFuse, StopIteration):
        raise
    except Exception as error:
        raise CannotFuse(f"{type(error).__name__}: {error}") from error
