"""Whether a stack does what its members would do alone, and how much faster: seen, and not believed.

A few members take the stack's first steps once more, each alone, by the loop that `optrun train` has, and an
evaluation. On a CPU everything that a checkpoint would hold must be the same, bit for bit; on other devices it must be
near.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from optrun.components.data import Examples, Part
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

TOLERANCE = 1e-3
"""The difference that is accepted where bits differ anyway, relative to the largest number of a tensor."""

TIMED = 6
"""Steps that are timed, of which the fastest counts."""


class Probe:
    """The members of a stack to be, as they stand before its first step."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.rows = _chosen(members)
        self.alone = [_Alone(members[row]) for row in self.rows]
        on_cpu = all(alone.state.device.type == "cpu" for alone in self.alone)
        self.tolerance, self.error = 0.0 if on_cpu else TOLERANCE, 0.0
        """The largest relative difference found; 0 where bits are the same."""

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
        present = {row: alone for row, alone in zip(self.rows, self.alone) if row in left}
        for row, alone in present.items():
            stack.standing.settle(row)
            state = stack.members[row].state
            self._compare(alone.after(state.step), state.state_dict())
        part = _beginning(stack.members[0].state.data.val)
        for alone, values in zip(present.values(), evaluate(stack, list(present), part, "val")):
            self._compare(alone.evaluated(part), values)
        return held

    def seconds_alone(self) -> float:
        """What a step of a member takes alone, on average over those that were chosen."""
        return sum(alone.seconds() for alone in self.alone) / len(self.alone)

    def _compare(self, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        leaves = dict(_leaves(found))
        for path, value in _leaves(wanted):
            error = 0.0 if path == ("time",) else _difference(value, leaves.get(path))
            if error > self.tolerance:
                where = ".".join(map(str, path))
                raise CannotFuse(f"{where} differs from that of a run alone, by {error:.1e}")
            self.error = max(self.error, error)


class _Alone:
    """A member that trains as `optrun train` would."""

    def __init__(self, member: Member) -> None:
        spec, self.state, batches = prepare_run(member.spec, member.state.data)
        self.state.load_state_dict({**member.state.state_dict(), "random": member.random})
        self.random = member.random
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


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value


def _difference(wanted: Any, found: Any) -> float:
    """0 for equal values (a NaN equals a NaN), infinity for values that cannot be compared."""
    if isinstance(wanted, Tensor) and isinstance(found, Tensor) and wanted.shape == found.shape:
        if torch.equal(wanted, found):
            return 0.0
        one, other = wanted.double(), found.double()
        scale = one.abs().max().item() or 1.0
        return (
            float((one - other).abs().nan_to_num(0.0 if one.isnan().equal(other.isnan()) else math.inf).max()) / scale
        )
    if wanted == found or repr(wanted) == repr(found):
        return 0.0
    both = isinstance(wanted, float) and isinstance(found, float)
    return abs(wanted - found) / (abs(wanted) or 1.0) if both else math.inf
