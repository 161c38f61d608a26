"""Where the members of a stack stand, counted once for all of them, and written into a member's state when it matters.

Members take every step together, so what grows by the same amount for each is counted here. `settle` makes a member's
`State` what it would be if the member had counted by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from optrun.errors import Diverged
from optrun.fused.member import Member
from optrun.training.clock import Clock
from optrun.training.recent import Rates

__all__ = ["JUDGED", "WARM", "Standing"]

WARM = 4
"""Steps after which a stack is as fast as it will be."""


JUDGED = WARM + 12
"""Steps that are timed one by one. Afterwards nobody waits for a device only to know how long a step took."""


class Standing:
    """Counts since the stack was built; the losses and norms of the latest steps, left where they were computed."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)
        first = self.members[0].state
        self.batch, self.steps_per_epoch = first.batch, first.steps_per_epoch
        self.taken, self.samples, self.time = 0, 0, 0.0
        self.clock, self._sharing = Clock(first.device), 1
        self.fastest = math.inf
        """Seconds of the fastest step, for each member; without the first few, which try out which kernels to use."""
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._last_losses: list[float] = []
        self._last_norms: list[float] = []
        self._clipped = [0] * len(self.members)
        bounds = [float("inf") if m.spec.clip_norm is None else m.spec.clip_norm for m in self.members]
        self._bounds = torch.tensor(bounds, dtype=torch.float64)
        self._before = [(s.step, s.samples, s.time, s.recent.clipped) for s in (m.state for m in self.members)]
        self._rates_noted = [-1] * len(self.members)
        self._checks_every_loss = first.checks_every_loss
        self._rates: list[list[tuple[int, Rates]]] = [[] for _ in self.members]
        """Since the latest `gather`: the number of a step, and what it used."""
        self.lost: dict[int, Diverged] = {}
        """Members with a loss that was not finite, as found when values are gathered; by their rows."""
        self._longest = max(m.state.total_steps - m.state.step for m in self.members)

    def add(self, losses: Tensor, norms: Tensor | None, samples: int) -> None:
        """A step of every member: its losses and gradient norms, [K]; epochs are not advanced."""
        self._losses.append(losses)
        if norms is not None:
            self._norms.append(norms)
        self.taken += 1
        self.samples += samples
        self.batch = (self.batch + 1) % self.steps_per_epoch

    def took(self, started: Any, members: int) -> None:
        """The step just taken began when the `clock` said so; so many members have each their share of its time."""
        self.clock.stop(started)
        self._sharing = members
        if self.taken <= JUDGED or self._checks_every_loss:
            share = self._timed()
            if self.taken > WARM:
                self.fastest = min(self.fastest, share)

    def _timed(self) -> float:
        """A member's share of the seconds since this was asked last, which are counted now."""
        share = self.clock.seconds() / self._sharing
        self.time += share
        return share

    @property
    def to_come(self) -> float:
        """How many steps there will be, at most, for each that has been taken."""
        return (self._longest - self.taken) / (self.taken or 1)

    def step_of(self, row: int) -> int:
        """Optimizer steps that a member has taken."""
        return self._before[row][0] + self.taken

    def gather(self) -> None:
        """Fetch what the latest steps left, in one transfer."""
        if not self._losses:
            return
        if not self._checks_every_loss:
            self._look_for_lost()
        self._last_losses = self._losses[-1].tolist()
        if self._norms:
            norms = torch.stack(self._norms).double().cpu()
            self._last_norms = norms[-1].tolist()
            clipped = (norms > self._bounds).sum(0).tolist()
            self._clipped = [before + now for before, now in zip(self._clipped, clipped)]
        self._losses, self._norms = [], []

    def _look_for_lost(self) -> None:
        """Find those with a loss that is not finite among the latest steps, which are of one epoch."""
        losses = torch.stack(self._losses).cpu()
        is_lost = ~losses.isfinite()
        for row in is_lost.any(0).nonzero().flatten().tolist():
            index = int(is_lost[:, row].nonzero()[0])
            taken = self.taken - len(losses) + 1 + index
            state = self.members[row].state
            used = next((rates for at, rates in self._rates[row] if at >= taken), state.optimizer.learning_rates())
            epoch = state.epoch - (self.batch == 0)
            found = Diverged(self._before[row][0] + taken, losses[index, row].item(), epoch, used)
            self.lost.setdefault(row, found)
        self._rates = [[] for _ in self.members]

    def note_rates(self, row: int) -> None:
        """A schedule is about to change what the member's latest step used."""
        if self._rates_noted[row] != self.taken:
            state = self.members[row].state
            state.recent.last_lr = state.optimizer.learning_rates()
            self._rates_noted[row] = self.taken
            if not self._checks_every_loss:
                self._rates[row].append((self.taken, state.recent.last_lr))

    def settle(self, row: int) -> None:
        """The member's state as of its latest step, whose values have been gathered."""
        self._timed()
        member = self.members[row]
        state, recent = member.state, member.state.recent
        step, samples, time, clipped = self._before[row]
        state.step, state.samples, state.time = step + self.taken, samples + self.samples, time + self.time
        state.batch = self.batch
        if self.taken:
            self.note_rates(row)
            recent.last_epoch = state.epoch - (self.batch == 0)
            recent.last_loss = self._last_losses[row]
            if member.spec.clip_norm is not None:
                recent.last_norm, recent.clipped = self._last_norms[row], clipped + self._clipped[row]
