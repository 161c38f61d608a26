"""Whether a stack does what its members would do alone, and how much faster: seen, and not believed.

A few members take the stack's first steps once more, each alone, by the loop that `optrun train` has, and an
evaluation. On a CPU everything that a checkpoint would hold must be the same, bit for bit; on other devices it must be
as near as rounding allows (`differences`).
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optrun.components.data import Examples, Part
from optrun.fused.differences import allowed, difference, leaves, relative_error, shake, unit
from optrun.fused.evaluation import evaluate
from optrun.fused.loop import Told
from optrun.fused.member import Member
from optrun.fused.stack import Stack
from optrun.fused.tensor import CannotFuse
from optrun.training.clock import Clock
from optrun.training.evaluation import SLICE
from optrun.training.evaluation import evaluate as evaluate_alone
from optrun.training.loop import fit as fit_alone
from optrun.training.preparation import prepare_run
from optrun.training.randomness import restore_generators

__all__ = ["Probe"]

STEPS = 3
"""Steps that are compared; fewer if something has to be written down before."""

MEMBERS = 4
"""Members that are compared: of each optimizer the first, as far as there are so many."""

METRICS = 0.01
"""The difference of an evaluation that is accepted where bits differ anyway: a metric may count an example differently.
"""

TIMED = 6
"""Steps that are timed, of which the fastest counts."""


class Probe:
    """The members of a stack to be, as they stand before its first step. By default they must agree `exactly` on a CPU
    and nowhere else."""

    def __init__(self, members: Sequence[Member], *, exactly: bool | None = None) -> None:
        self.rows = _chosen(members)
        self.alone = [_Alone(members[row]) for row in self.rows]
        if exactly is None:
            exactly = members[0].state.device.type == "cpu"
        self.shaken = [] if exactly else [_Alone(members[row], shaken=True) for row in self.rows]
        self.error = 0.0
        """0 where bits are the same; else the relative error of a member's weights."""

    def verify(self, stack: Stack, training: Iterator[Told]) -> list[Told]:
        """Take the first steps of `training`, by `fit`, and compare; returns what was told meanwhile. Raises CannotFuse
        when the members differ."""
        held = []
        for told in itertools.islice(training, STEPS):
            held.append(told)
            if told:
                break
        stack.standing.gather()
        left = stack.present.keys() - stack.standing.lost.keys()
        present = [number for number, row in enumerate(self.rows) if row in left]
        for number in present:
            state = stack.members[self.rows[number]].state
            stack.standing.settle(self.rows[number])
            wanted, found = self.alone[number].after(state.step), state.state_dict()
            self._compare(wanted, found, self.shaken[number].after(state.step) if self.shaken else None)
            if self.error:
                self.error = max(self.error, relative_error(wanted["model"], found["model"]))
        part = _beginning(stack.members[0].state.data.val)
        rows = [self.rows[number] for number in present]
        for number, values in zip(present, evaluate(stack, rows, part, "val")):
            wanted = self.alone[number].evaluated(part)
            self._compare(wanted, values, self.shaken[number].evaluated(part) if self.shaken else None, METRICS)
        self.shaken = []  # the memory
        return held

    def seconds_alone(self) -> float:
        """What a step of a member takes alone, on average over those that were chosen."""
        return sum(alone.seconds() for alone in self.alone) / len(self.alone)

    def _compare(
        self, wanted: Mapping[str, Any], found: Mapping[str, Any], shaken: Mapping[str, Any] | None, least: float = 0.0
    ) -> None:
        """Raises CannotFuse where `found` is further from `wanted` than what was `shaken` is; None allows nothing."""
        others, noisy = dict(leaves(found)), dict(leaves(shaken or {}))
        for path, value in leaves(wanted):
            error = 0.0 if path == ("time",) else difference(value, others.get(path))
            if error == 0.0:
                continue
            most = 0.0
            if shaken is not None:
                most = max(least, allowed(difference(value, noisy.get(path)), self.shaken[0].unit))
            if not error <= most:
                where = ".".join(map(str, path))
                beside = f"; rounding explains {most:.1e}" if most else ""
                raise CannotFuse(f"{where} differs from that of a run alone, by {error:.1e}{beside}")
            self.error = self.error or sys.float_info.epsilon


class _Alone:
    """A member that trains as `optrun train` would; or nearly so, from weights that were `shaken`."""

    def __init__(self, member: Member, *, shaken: bool = False) -> None:
        spec, self.state, batches = prepare_run(member.spec, member.state.data)
        self.state.load_state_dict({**member.state.state_dict(), "random": member.random})
        self.random, self.unit = member.random, unit(self.state)
        if shaken:
            shake(self.state.model, self.unit)
        self.events = fit_alone(self.state, batches, spec)

    def after(self, step: int) -> dict[str, Any]:
        """What a checkpoint would hold after that step."""
        restore_generators(self.random)
        while self.state.step < step:
            next(self.events)
        self.state.settle()
        found = self.state.state_dict()
        self.random = found["random"]
        return found

    def evaluated(self, part: Part) -> dict[str, float]:
        """The loss and the metrics of a part of the data."""
        values = evaluate_alone(self.state, part, "val")
        self.state.train()
        return values

    def seconds(self) -> float:
        """The fastest of some steps."""
        restore_generators(self.random)
        times, clock = [], Clock(self.state.device)
        for _ in range(TIMED):
            started, before = clock.start(), self.state.step
            if next(self.events, None) is None:
                break
            clock.stop(started)
            seconds = clock.seconds()
            if self.state.step > before:
                times.append(seconds)
        return min(times, default=math.inf)


def _chosen(members: Sequence[Member]) -> list[int]:
    """The first and the last member, and between them one of each kind of optimizer."""
    kinds: dict[str, int] = {}
    for row, member in enumerate(members):
        kinds.setdefault(member.spec.optimizer.name, row)
    rows = [len(members) - 1, *kinds.values()]
    return sorted(set(rows[:MEMBERS]))


def _beginning(part: Part) -> Part:
    """What is evaluated at once."""
    assert isinstance(part, Examples)
    return Examples(part.inputs[:SLICE], part.targets[:SLICE])
