"""Each member's own stream of random numbers: the generator that torch's global one would be if it trained alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from optrun.fused.tensor import CannotFuse
from optrun.training.tape import refuse, unrecorded

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
        self._groups = [(group[0], torch.tensor(group)) for group in alike.values()]
        self._of = {member: number for number, group in enumerate(alike.values()) for member in group}

    def each(self) -> Iterator[tuple[torch.Generator, int, Tensor]]:
        """The streams, each with the first of the members whose stream it is, and all of them (int64 [n])."""
        return ((generator, *group) for generator, group in zip(self._generators, self._groups))

    def generators(self) -> list[torch.Generator]:
        return self._generators

    @property
    def tensors(self) -> list[Tensor]:
        """What rules are given of the streams."""
        return [group for _, group in self._groups]

    def state(self, member: int) -> Tensor:
        """Where a member's stream stands, uint8 [5056]."""
        return self._generators[self._of[member]].get_state()

    @contextlib.contextmanager
    def drawn_from(self) -> Iterator[None]:
        """Within the block rules find these streams; who draws from torch's own generator is found out."""
        global _current
        _current = self
        own = unrecorded(_state)
        try:
            yield
        finally:
            _current = None
        if own != unrecorded(_state):
            raise CannotFuse("the model draws random numbers in a way that is the same for every member")

    @contextlib.contextmanager
    def one_by_one(self) -> Iterator[Callable[[int], None]]:
        """Within the block, calling what it gives makes torch's own generator that of a member; afterwards everybody's
        stream is where it was left."""
        refuse("random numbers are drawn member by member")
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


def _state() -> bytes:
    """Where torch's own generator stands."""
    return torch.default_generator.get_state().numpy().tobytes()


_current: Streams | None = None


def streams() -> Streams:
    """Those of the stack that computes at present. Raises CannotFuse outside of one: evaluation draws no numbers."""
    if _current is None:
        raise CannotFuse("the model draws random numbers while it is evaluated")
    return _current
