"""Each member's own stream of random numbers: the generator that torch's global one would be if it trained alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from optrun.fused.tensor import CannotFuse
from optrun.training.precision import sent
from optrun.training.randomness import default_generator
from optrun.training.tape import refuse, unrecorded

__all__ = ["Streams", "state_of", "streams", "with_state"]


CPU = torch.device("cpu")


def state_of(random: Mapping[str, Any], device: torch.device) -> Tensor:
    """Where torch's generator of the device stands (uint8, on the CPU), of `generator_states()`."""
    return random["cuda"][default_generator(device).device.index] if device.type == "cuda" else random["torch"]


def with_state(random: Mapping[str, Any], device: torch.device, state: Tensor) -> dict[str, Any]:
    """The same, with that generator somewhere else."""
    if device.type != "cuda":
        return {**random, "torch": state}
    states = list(random["cuda"])
    states[default_generator(device).device.index] = state
    return {**random, "cuda": states}


class Streams:
    """The streams of a stack's members, given as states of torch's generator of the `device` that they train on.

    Members whose streams are in the same state (the same seed, the same number of steps) draw the same numbers, hence
    once for all of them.
    """

    def __init__(self, states: Sequence[Tensor], device: torch.device = CPU) -> None:
        self.device, self._own = device, default_generator(device)
        self._share(states)

    def _share(self, states: Sequence[Tensor]) -> None:
        alike: dict[bytes, list[int]] = {}
        for member, state in enumerate(states):
            alike.setdefault(state.numpy().tobytes(), []).append(member)
        self._generators = [torch.Generator(self._own.device).set_state(states[group[0]]) for group in alike.values()]
        self._groups = [(group[0], sent(torch.tensor(group), self.device)) for group in alike.values()]
        self._of = {member: number for number, group in enumerate(alike.values()) for member in group}

    def each(self) -> Iterator[tuple[torch.Generator, int, Tensor]]:
        """The streams, each with the first of the members whose stream it is, and all of them (int64 [n])."""
        return ((generator, *group) for generator, group in zip(self._generators, self._groups))

    def by_member(self, values: Sequence[Any]) -> list[Any]:
        """Of values of the streams, in the order of `each`, that of each member."""
        return [values[self._of[member]] for member in range(len(self._of))]

    def generators(self) -> list[torch.Generator]:
        return self._generators

    @property
    def tensors(self) -> list[Tensor]:
        """What rules are given of the streams."""
        return [group for _, group in self._groups]

    def state(self, member: int) -> Tensor:
        """Where a member's stream stands: uint8, [5056] of a CPU's, [16] of a GPU's."""
        return self._generators[self._of[member]].get_state()

    @contextlib.contextmanager
    def drawn_from(self) -> Iterator[None]:
        """Within the block rules find these streams; who draws from torch's own generator is found out."""
        global _current
        _current = self
        own = unrecorded(self._global)
        try:
            yield
        finally:
            _current = None
        if own != unrecorded(self._global):
            raise CannotFuse("the model draws random numbers in a way that is the same for every member")

    @contextlib.contextmanager
    def one_by_one(self) -> Iterator[Callable[[int], None]]:
        """Within the block, calling what it gives makes torch's own generator that of a member; afterwards everybody's
        stream is where it was left."""
        refuse("random numbers are drawn member by member")
        own = self._own.get_state()
        states = [self.state(member) for member in range(len(self._of))]
        turn: list[int] = []

        def leave() -> None:
            for member in turn:
                states[member] = self._own.get_state()

        def turn_to(member: int) -> None:
            leave()
            turn[:] = [member]
            self._own.set_state(states[member])

        try:
            yield turn_to
            leave()
        finally:
            self._own.set_state(own)
        self._share(states)  # how many numbers some functions draw depends on what they are given

    @contextlib.contextmanager
    def standing_in(self, generator: torch.Generator) -> Iterator[None]:
        """Within the block torch's own generator draws for one of the streams: for functions that take no other.

        On a GPU this costs nothing: its generators are two numbers on the CPU, a seed and how much was drawn.
        """
        own = self._own.get_state()
        self._own.set_state(generator.get_state())
        try:
            yield
            generator.set_state(self._own.get_state())
        finally:
            self._own.set_state(own)

    def _global(self) -> list[bytes]:
        """Where torch's own generators stand, the CPU's too."""
        return [each.get_state().numpy().tobytes() for each in dict.fromkeys((torch.default_generator, self._own))]


_current: Streams | None = None


def streams() -> Streams:
    """Those of the stack that computes at present. Raises CannotFuse outside of one: evaluation draws no numbers."""
    if _current is None:
        raise CannotFuse("the model draws random numbers while it is evaluated")
    return _current
