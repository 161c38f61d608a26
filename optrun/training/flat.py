"""Parameters and gradients as views of one vector for each parameter group: a small step then costs half as much.

An elementwise optimizer does to a vector what it does to its pieces, so torch's own optimizer works on the vector, and
the model, whose parameters are views of it, never knows. What can be seen from outside stays as torch has it: `p.grad`
is each parameter's own gradient, and checkpoints hold the optimizer's state parameter by parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from optrun.training.packing import Packing

__all__ = ["ELEMENTWISE", "SMALL", "Flat", "can_be_flat"]

ELEMENTWISE = {
    *("ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax"),
    *("NAdam", "RAdam", "RMSprop", "Rprop", "SGD"),
}
"""torch's optimizers that treat every element alike, whatever tensor it is in."""

SMALL = 2**16
"""Elements of a parameter, on average over a group, up to which calls cost more than arithmetic and flattening pays."""

_MINUS_ZERO = -0.0
"""What gradients are added to: -0.0 + x is x for every x, while 0.0 + -0.0 is 0.0."""


def can_be_flat(optimizer: Optimizer) -> bool:
    """Whether a flat form of the optimizer is exact and pays: decided by classes, settings and sizes alone."""
    name = type(optimizer).__name__
    if name not in ELEMENTWISE or type(optimizer) is not getattr(torch.optim, name):
        return False
    return all(_is_alike(group["params"]) and not _is_special(group) for group in optimizer.param_groups)


def _is_alike(parameters: Sequence[Tensor]) -> bool:
    """Whether the parameters lie in memory as the pieces of one vector would, and are small."""
    return sum(p.numel() for p in parameters) <= SMALL * len(parameters) and all(
        p.device.type == "cpu" and p.dtype == parameters[0].dtype and p.dim() and p.numel() and p.is_contiguous()
        for p in parameters
    )


def _is_special(group: Mapping[str, Any]) -> bool:
    """Whether another implementation than torch's plain one was asked for."""
    return any(group.get(key) for key in ("foreach", "fused", "capturable", "differentiable"))


class Flat:
    """An optimizer whose every parameter group is one vector, as long as every parameter gets a gradient."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.vectors = [_Vector(group["params"]) for group in optimizer.param_groups]
        state = optimizer.state_dict()
        optimizer.state.clear()
        for group, vector in zip(optimizer.param_groups, self.vectors):
            group["params"] = [vector.weights]
        self.load_state_dict(state)  # Adagrad has one from the beginning

    def zero_grad(self) -> None:
        for vector in self.vectors:
            vector.zero_grad()

    @property
    def is_filled(self) -> bool:
        """Whether backward writes into the vectors."""
        return all(vector.is_filled_by_backward for vector in self.vectors)

    def is_whole(self) -> bool:
        """Whether every parameter has been given a gradient, and no sparse one, since `zero_grad`. torch's optimizers
        leave a parameter without one as it is, which a vector cannot."""
        return all(vector.is_whole() for vector in self.vectors)

    def dissolve(self) -> None:
        """Back to an optimizer on the parameters, with its state; those that got no gradient have none."""
        state = self.state_dict()
        self.optimizer.state.clear()
        for group, vector in zip(self.optimizer.param_groups, self.vectors):
            group["params"] = vector.parameters
            for parameter in vector.without_gradient():
                parameter.grad = None
        self.optimizer.load_state_dict(state)

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state parameter by parameter, as it would be without this; of the vectors' memory."""
        packed = self.optimizer.state_dict()
        state: dict[int, dict[str, Any]] = {}
        groups, first = [], 0
        for number, (group, vector) in enumerate(zip(packed["param_groups"], self.vectors)):
            indices = list(range(first, first + len(vector.parameters)))
            groups.append({**group, "params": indices})
            if number in packed["state"]:
                state |= zip(indices, vector.divided(packed["state"][number]))
            first += len(indices)
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take a state parameter by parameter, of a flat optimizer or of torch's own."""
        state, groups = {}, []
        for number, (group, vector) in enumerate(zip(saved["param_groups"], self.vectors)):
            groups.append({**group, "params": [number]})
            pieces = [saved["state"][index] for index in group["params"] if index in saved["state"]]
            if pieces:
                state[number] = vector.joined(pieces)
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


class _Vector:
    """The parameters of one group: `weights` and `gradients`, its `.grad`, hold all of them, one after the other.

    In the first step, parameters get their gradients as always: only then is it known that they are what fits.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.packing = Packing([p.shape for p in self.parameters], self.parameters[0].dtype)
        self.weights = nn.Parameter(self.packing.joined([p.detach() for p in self.parameters]))
        self.gradients = self.weights.grad = torch.full_like(self.weights.detach(), _MINUS_ZERO)
        for parameter, piece in zip(self.parameters, self.packing.pieces(self.weights.detach())):
            parameter.data = piece
        self.is_filled_by_backward = False
        self._counts: list[int] = []
        """How often each gradient had been written to when the latest step began."""

    def zero_grad(self) -> None:
        if self.is_filled_by_backward:
            self.gradients.fill_(_MINUS_ZERO)
            self._counts = self._count()
        else:
            for parameter in self.parameters:
                parameter.grad = None

    def is_whole(self) -> bool:
        if self.is_filled_by_backward:
            return not self.without_gradient()
        if any(p.grad is None or p.grad.layout is not torch.strided for p in self.parameters):
            return False
        for parameter, piece in zip(self.parameters, self.packing.pieces(self.gradients)):
            piece.copy_(parameter.grad)  # type: ignore[arg-type]
            parameter.grad = piece.data  # .data, so that each counts by itself how often it is written to
        self.is_filled_by_backward = True
        return True

    def without_gradient(self) -> list[nn.Parameter]:
        """Those that backward has not written to in this step."""
        if not self.is_filled_by_backward:
            return [p for p in self.parameters if p.grad is None]
        return [p for p, count, now in zip(self.parameters, self._counts, self._count()) if count == now]

    def _count(self) -> list[int]:
        return [p.grad._version for p in self.parameters]  # type: ignore[union-attr]

    def divided(self, state: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The vector's state for each parameter: what has an element for each of the weights is cut, the rest (a count
        of steps, say) is the same for all."""
        whole = self.weights.shape
        cut = {key: self.packing.pieces(value) for key, value in state.items() if _shape(value) == whole}
        return [
            {key: cut[key][i] if key in cut else _copied(value) for key, value in state.items()}
            for i in range(len(self.parameters))
        ]

    def joined(self, pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The state of the vector, from that of each parameter."""
        cut = [key for key in pieces[0] if _shape(pieces[0][key]) == self.parameters[0].shape]
        return {
            key: self.packing.joined([piece[key] for piece in pieces]) if key in cut else _copied(value)
            for key, value in pieces[0].items()
        }


def _shape(value: Any) -> torch.Size | None:
    return value.shape if isinstance(value, Tensor) else None


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
