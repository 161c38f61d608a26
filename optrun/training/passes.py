"""The forward and backward passes of a run that are replayed from tapes: the same bits, without the way to them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from optrun.training.tape import CannotRecord
from optrun.training.tapes import Tapes, can_be_recorded

if TYPE_CHECKING:
    from optrun.training.state import State

__all__ = ["Passes"]

WORTH = 200
"""Passes after which recording one (some milliseconds) has paid, for the smallest models (which gain most)."""


MOST_WEIGHTS = 2**22
"""Models with more weights spend their time in kernels, and recording takes the memory of a second set of gradients."""


class Passes:
    """Those of the run that `state` is of."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._steps = 0
        self._tapes = self._made() if state.device.type == "cpu" and state.parallel is None else None

    def replayed(self, inputs: Tensor, targets: Tensor, share: float, *, first: bool) -> Tensor | None:
        """The loss of a micro-batch, times its share of the step, after its gradients have been added up as `backward`
        does it (the `first` ones of a step stand alone); None if there is no tape for it."""
        if self._tapes is None or not self.state.optimizer.is_settled:
            return None
        state, self._steps = self.state, self._steps + first
        kind = (inputs.shape, inputs.stride(), targets.shape, share, first, state.optimizer.arrangement)
        compute = functools.partial(self._loss_and_gradients, share, first)
        to_come = (state.total_steps - state.step) / self._steps
        results = self._tapes.replayed(kind, compute, (inputs, targets), to_come)
        if results is None:
            return None
        loss, *gradients = results
        state.optimizer.set_gradients(gradients)
        return loss

    def _can_be_recorded(self) -> bool:
        state = self.state
        return (
            state.optimizer.scaler is None
            and isinstance(state.autocast(), contextlib.nullcontext)
            and sum(parameter.numel() for parameter in state.model.parameters()) <= MOST_WEIGHTS
            and can_be_recorded(state.model, state.criterion, state.optimizer.optimizers)
        )

    def _made(self) -> Tapes:
        model, optimizer = self.state.model, self.state.optimizer
        criterion = getattr(self.state.criterion, "buffers", list)()
        changing = [*model.buffers(), *optimizer.vectors()]
        known = [*model.parameters(), *criterion, *changing]
        return Tapes(self._can_be_recorded, known, changing, lambda: [torch.default_generator], WORTH)

    def _loss_and_gradients(self, share: float, first: bool, inputs: Tensor, targets: Tensor) -> Sequence[Tensor]:
        """The loss, and the gradients that have no place yet."""
        state = self.state
        loss = state.criterion(state.model(inputs), targets)
        if share != 1.0:
            loss = loss * share
        gradients = torch.autograd.grad(loss, state.optimizer.parameters, allow_unused=True)
        if not all(map(_is_dense, gradients)) or not (first or state.optimizer.is_flat):
            raise CannotRecord("backward() would leave something else than these gradients")
        return [loss.detach(), *state.optimizer.add_gradients(gradients, first=first)]


def _is_dense(gradient: Tensor | None) -> bool:
    return gradient is not None and gradient.layout is torch.strided
