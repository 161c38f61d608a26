"""Tapes of a pass through a model, one for each kind of batch: made when that pays, used when it is right.

A tape (see `tape`) is made only of models that consist of torch's own modules and optrun's, whose Python does the same
at every step; and it is used only after it has computed, from the same batch and the same states of all generators, the
same bits as the model itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from optrun.training.tape import CannotRecord, Differs, Tape

__all__ = ["Tapes", "can_be_recorded"]

WARM = 2
"""Batches of a kind before it is recorded: the first ones find out which kernels to use, and make gradients."""

_STATIC = ("torch.", "optrun.components.")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

Compute = Callable[..., Sequence[Tensor]]


def can_be_recorded(model: nn.Module, criterion: Any) -> bool:
    """Whether the Python of the model and of its loss is known, and nobody has hooked into it; on a CPU, where a kernel
    is done when its call returns."""
    parts = [*model.modules(), *(criterion.modules() if isinstance(criterion, nn.Module) else ())]
    return (
        all(type(part).__module__.startswith(_STATIC) for part in parts)
        and getattr(criterion, "__module__", type(criterion).__module__).startswith(_STATIC)
        and not any(getattr(part, hooks) for part in parts for hooks in _HOOKS)
        and not any(p._backward_hooks or p._post_accumulate_grad_hooks for p in model.parameters())
        and all(p.device.type == "cpu" for p in model.parameters())
    )


@dataclass
class Tapes:
    """Tapes of computations for which `known` are the tensors that always lie in the same place, `changing` those among
    them that are written into, and `generators` gives what is drawn from. A kind of batch is recorded if at least
    `worth` of it are still to come."""

    known: Sequence[Tensor]
    changing: Sequence[Tensor]
    generators: Callable[[], Sequence[torch.Generator]]
    worth: int
    _seen: dict[Hashable, int] = field(default_factory=dict)
    _tapes: dict[Hashable, Tape | None] = field(default_factory=dict)

    def replayed(
        self, kind: Hashable, compute: Compute, inputs: Sequence[Tensor], to_come: float
    ) -> Sequence[Tensor] | None:
        """What `compute` returns for inputs of a kind, or None if that is to be found out without a tape. `to_come` is
        how many batches there will be for each that there has been."""
        if kind not in self._tapes:
            seen = self._seen[kind] = self._seen.get(kind, 0) + 1
            return self._recorded(kind, compute, inputs) if seen > WARM and seen * to_come >= self.worth else None
        tape = self._tapes[kind]
        try:
            return None if tape is None else tape(*inputs)
        except Differs:
            return None

    def _recorded(self, kind: Hashable, compute: Compute, inputs: Sequence[Tensor]) -> Sequence[Tensor] | None:
        """Record; what is returned and left behind is what `compute` has computed."""
        before = self._standing()
        self._tapes[kind] = None
        try:
            tape, results = Tape.record(compute, inputs, self.known)
        except CannotRecord:
            self._put_back(before)
            return None
        after = self._standing()
        self._put_back(before)
        del before
        again = tape(*inputs)
        if _equal([*again, *self._standing()], [*results, *after]):
            self._tapes[kind] = tape
        else:
            self._put_back(after)
        return results

    def _standing(self) -> list[Tensor]:
        """Where all stands that `compute` changes."""
        return [*(each.get_state() for each in self.generators()), *(each.detach().clone() for each in self.changing)]

    def _put_back(self, standing: Iterable[Tensor]) -> None:
        states = iter(standing)
        for generator in self.generators():
            generator.set_state(next(states))
        with torch.no_grad():
            for tensor, value in zip(self.changing, states):
                tensor.copy_(value)


def _equal(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))
