"""A member of a stack, to those who look at it: its optimizer and its generators, whose numbers are in the stack."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from optrun.fused.streams import Streams, with_state
from optrun.training.randomness import Generators
from optrun.training.state import State
from optrun.training.stepping import Stepper

if TYPE_CHECKING:
    from optrun.fused.stack import Stack

__all__ = ["Row", "Stream", "is_row"]


class Stream(Generators):
    """A member's generators: those as they were, but torch's where its stream stands."""

    def __init__(self, before: Mapping[str, Any], streams: Streams, row: int) -> None:
        self.before, self.streams, self.row = before, streams, row

    def state_dict(self) -> dict[str, Any]:
        return with_state(self.before, self.streams.device, self.streams.state(self.row))


class Row(Stepper):
    """A member's optimizer: its parameter groups are its own, what it remembers is in the stack."""

    def __init__(self, state: State, stack: Stack, row: int) -> None:
        own = state.optimizer
        self._own = own
        self.optimizers, self.parameters, self.scaler = own.optimizers, own.parameters, own.scaler
        self.stack, self.row = stack, row
        named = {parameter: name for name, parameter in state.model.named_parameters()}
        self.names = [
            [named[parameter] for group in optimizer.param_groups for parameter in group["params"]]
            for optimizer in own.optimizers
        ]
        for optimizer in self.optimizers:
            optimizer.state.clear()
        self.count_as_stepped()  # the stack steps before any schedule does

    def own(self) -> Stepper:
        """The member's own optimizer, with a copy of what the stack remembers."""
        self._own.load_state_dict(copy.deepcopy(self.state_dict()))
        return self._own

    def state_dict(self) -> dict[str, Any]:
        """As the member's own optimizers would have it, of the stack's memory."""
        remembered = {}
        for bundle in self.stack.bundles:
            rows, run = next((rows, run) for rows, run in bundle.runs if self.row in rows)
            state = run.state(self.row - rows.start)
            cut = {key: bundle.pieces(value) for key, value in state.items() if is_row(value)}
            for number, name in enumerate(bundle.names):
                own = {key: cut[key][number] if key in cut else value for key, value in state.items()}
                if own:
                    remembered[name] = own
        states = [
            {index: remembered[name] for index, name in enumerate(names) if name in remembered} for names in self.names
        ]
        packed = [optimizer.state_dict() for optimizer in self.optimizers]
        return {"optimizers": [{**whole, "state": state} for whole, state in zip(packed, states)]}


def is_row(value: Any) -> bool:
    """Whether it is of a parameter's numbers, and not one for all of them."""
    return isinstance(value, Tensor) and value.dim() > 0
