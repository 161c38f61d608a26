"""Tapes of a pass through a model, one for each kind of batch: made when that pays, used when it is right.

A tape (see `tape`) is made only where everything that takes part is torch's or optrun's, whose Python does the same at
every step; and it is used only after it has computed, from the same batch and the same states of all generators, the
same bits as the model itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules
from torch.optim import Optimizer

from optrun.training.tape import CannotRecord, Differs, Tape

__all__ = ["Compute", "Tapes", "can_be_recorded"]

WARM = 2
"""Batches of a kind before it is recorded: the first ones find out which kernels to use, and make gradients."""

_KNOWN = ("torch.nn.", "optrun.components.")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

Compute = Callable[..., Sequence[Tensor]]


def can_be_recorded(model: nn.Module, criterion: Any, optimizers: Iterable[Optimizer]) -> bool:
    """Whether the Python of all of them is known, and nobody has hooked into it; on a CPU, where a kernel is done when
    its call returns. (Optimizers must not replace weights by others.)"""
    parts = [*model.modules(), *(criterion.modules() if isinstance(criterion, nn.Module) else ())]
    tensors = [*model.parameters(), *model.buffers()]
    return (
        all(map(_is_known, parts))
        and (isinstance(criterion, nn.Module) or str(criterion.__module__).startswith(_KNOWN))
        and all(type(each) is getattr(torch.optim, type(each).__name__, None) for each in optimizers)
        and not torch_modules._has_any_global_hook()
        and not any(p._backward_hooks or p._post_accumulate_grad_hooks for p in model.parameters())
        and all(tensor.device.type == "cpu" and tensor.layout is torch.strided for tensor in tensors)
        and not any(0 in tensor.stride() for tensor in tensors)
    )


def _is_known(part: nn.Module) -> bool:
    own = vars(part)
    return (
        all(kind.__module__.startswith(_KNOWN) for kind in type(part).__mro__[:-1])
        and "forward" not in own
        and part._compiled_call_impl is None
        and not any(own[hooks] for hooks in _HOOKS)
        and own.get("max_norm") is None  # an embedding that writes into its weights
        and all(map(_is_torchs, filter(callable, own.values())))
    )


def _is_torchs(function: Any) -> bool:
    """Of what a module is given to call, such as an activation."""
    return inspect.isbuiltin(function) or str(getattr(function, "__module__", "")).startswith("torch.")


@dataclass
class Tapes:
    """Tapes of computations for which `known` are the tensors that always lie in the same place, `changing` those among
    them that are written into, and `generators` gives what is drawn from. A kind of batch is recorded if `allowed`, and
    if at least `worth` of it are still to come."""

    allowed: Callable[[], bool]
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
        """What `compute` returns and leaves behind; then it is recorded, replayed, and held against that."""
        self._tapes[kind] = None
        if not self.allowed():
            return None
        places = [*self.changing, *(tensor for tensor in inputs if 0 not in tensor.stride())]
        before = self._standing(places)
        try:
            results = compute(*inputs)
            after = self._standing(places)
            self._put_back(before, places)
            tape, _ = Tape.record(compute, inputs, self.known)
        except CannotRecord:
            self._put_back(before, places)
            return None
        self._put_back(before, places)
        del before
        again = tape(*inputs)
        if _have_same_bits([*again, *self._standing(places)], [*results, *after]):
            self._tapes[kind] = tape
        else:
            self._put_back(after, places)
        return results

    def _standing(self, places: Iterable[Tensor]) -> list[Tensor]:
        """Where all stands that is drawn from or written into."""
        return [*(each.get_state() for each in self.generators()), *(each.detach().clone() for each in places)]

    def _put_back(self, standing: Iterable[Tensor], places: Iterable[Tensor]) -> None:
        states = iter(standing)
        for generator in self.generators():
            generator.set_state(next(states))
        with torch.no_grad():
            for tensor, value in zip(places, states):
                tensor.copy_(value)


def _have_same_bits(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return all(torch.equal(_bits(one), _bits(other)) for one, other in zip(some, others, strict=True))


def _bits(tensor: Tensor) -> Tensor:
    """Zeros of different signs differ, a NaN equals itself."""
    whole = {4: torch.int32, 8: torch.int64}.get(tensor.element_size() if tensor.is_floating_point() else 0)
    return tensor if whole is None else tensor.contiguous().view(whole)
