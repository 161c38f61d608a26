"""Each member's own stream of random numbers: the generator that torch's global one would be if it trained alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from optrun.fused.tensor import CannotFuse

__all__ = ["Streams", "streams"]


class Streams:
    """The streams of a stack's members, given as states of torch's generator. Members whose streams are in the same
    state (the same seed, the same number of steps) draw the same numbers, hence once for all of them."""

    def __init__(self, states: Sequence[Tensor]) -> None:
        self._share(states)

    def _share(self, states: Sequence[Tensor]) -> None:
        alike: dict[bytes, list[int]] = {}
        for member, state in enumerate(states):
            alike.setdefault(state.numpy().tobytes(), []).append(member)
        self._generators = [torch.Generator().set_state(states[group[0]]) for group in alike.values()]
        self._groups = [torch.tensor(group) for group in alike.values()]
        self._of = {member: number for number, group in enumerate(alike.values()) for member in group}

    def each(self) -> Iterator[tuple[torch.Generator, Tensor]]:
        """The streams, each with the members (int64 [n]) whose stream it is."""
        return zip(self._generators, self._groups)

    def state(self, member: int) -> Tensor:
        """Where a member's stream stands, uint8 [5056]."""
        return self._generators[self._of[member]].get_state()

    @contextlib.contextmanager
    def drawn_from(self) -> Iterator[None]:
        """Within the block rules find these streams; who draws from torch's own generator is found out."""
        global _current
        _current = self
        own = torch.get_rng_state()
        try:
            yield
        finally:
            _current = None
        if not torch.equal(own, torch.get_rng_state()):
            raise CannotFuse("the model draws random numbers in a way that is the same for every member")

    @contextlib.contextmanager
    def one_by_one(self) -> Iterator[Callable[[int], None]]:
        """Within the block, calling what it gives makes torch's own generator that of a member; afterwards everybody's
        stream is where it was left."""
        own = torch.get_rng_state()
        states = [self.state(member) for member in range(len(self._of))]
        turn: list[int] = []

        def leave() -> None:
            for member in turn:
                states[member] = torch.get_rng_state()

        def turn_to(member: int) -> None:
            leave()
            turn[:] = [member]
            torch.set_rng_state(states[member])

        try:
            yield turn_to
            leave()
        finally:
            torch.set_rng_state(own)
        self._share(states)  # how many numbers some functions draw depends on what they are given


_current: Streams | None = None


def streams() -> Streams:
    """Those of the stack that computes at present. Raises CannotFuse outside of one: evaluation draws no numbers."""
    if _current is None:
        raise CannotFuse("the model draws random numbers while it is evaluated")
    return _current
