"""The optimizers of a stack: members whose class and branches are the same are updated together.

A `Run` of members is a range of the stack's rows. Its parameter groups are those of the members' own optimizers, which
their schedulers change; its memory is what torch would keep for each member, side by side.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from optrun.fused.optimizers.replayed import REPLAYED, Rows, numbers
from optrun.fused.optimizers.vectorised import VECTORISED, Group, Number, Scratch
from optrun.fused.tensor import CannotFuse
from optrun.training.precision import sent

__all__ = ["FUSED", "Run", "branches", "run_of"]

FUSED = (*VECTORISED, *REPLAYED)
"""Classes of torch.optim that are updated for many members at once; the others take their steps one by one."""

State = dict[str, Any]
"""What torch keeps for one parameter."""


def branches(optimizer: Optimizer, group: Group) -> tuple[Any, ...]:
    """What members that are updated together have in common, beside the number of steps they have taken."""
    name = type(optimizer).__name__
    if name in VECTORISED:
        return VECTORISED[name].branches(group)
    settings = [group[key] for key in optimizer.defaults]
    common = tuple(value if isinstance(value, bool | None) else bool(value) for value in settings)
    return (*common, group["betas"][1]) if name == "RAdam" else common  # RAdam: which steps are rectified


class Run(Protocol):
    """Members [k] that are updated together: their weights and gradients [k, P], rows of the stack."""

    def refresh(self) -> None:
        """A schedule has changed numbers in the members' parameter groups."""
        ...

    def step(self) -> None:
        """torch's step of every member."""
        ...

    def state(self, member: int) -> State:
        """What torch would keep for the weights of the run's member number `member`; empty before the first step."""
        ...

    def restore(self, states: Sequence[State]) -> None:
        """Take such states, one of each member: all empty, or none."""
        ...


def run_of(optimizer: Optimizer, groups: Sequence[Group], weights: Tensor, gradients: Tensor) -> Run:
    """The members with these parameter groups, of optimizers like the one given."""
    kind = _VectorisedRun if type(optimizer).__name__ in VECTORISED else _ReplayedRun
    return kind(optimizer, groups, weights, gradients)


def _are_one(values: Sequence[float]) -> bool:
    """Whether they are one number (zeros can differ in sign)."""
    first = values[0]
    return first != 0 and all(value == first for value in values)


class _VectorisedRun:
    def __init__(self, like: Optimizer, groups: Sequence[Group], weights: Tensor, gradients: Tensor) -> None:
        self.rule = VECTORISED[type(like).__name__]
        self.groups, self.weights, self.gradients = groups, weights, gradients
        self.memory: dict[str, Tensor] = {}
        self.steps = [0.0] * len(groups)
        self.scratch = Scratch(weights)
        self.refresh()

    def refresh(self) -> None:
        found = set(map(self.rule.branches, self.groups))
        if len(found) > 1:  # a cycle of momentum that touches zero, at different steps
            raise CannotFuse("schedules have led members that are updated together into different branches")
        self.branches = found.pop()
        self.constants = self._numbers(self.rule.constants(self.groups))

    def _numbers(self, given: Mapping[str, list[float]]) -> dict[str, Number]:
        """What members have in common as it is, the rest as columns, rounded to the weights' type."""
        found: dict[str, Number] = {key: float(each[0]) for key, each in given.items() if _are_one(each)}
        apart = {key: each for key, each in given.items() if key not in found}
        if apart:
            rounded = torch.tensor(list(apart.values()), dtype=torch.float64).to(self.weights.dtype)
            table = sent(rounded, self.weights.device)
            found |= zip(apart, table.unsqueeze(2).unbind(0))
        return found

    def step(self) -> None:
        self.steps = [step + 1 for step in self.steps]
        for key in self.rule.memory(self.branches):
            if key not in self.memory:
                self.memory[key] = torch.zeros_like(self.weights)
        numbers = self.constants | self._numbers(self.rule.progressing(self.groups, self.steps))
        self.rule.update(self.weights, self.gradients, self.memory, numbers, self.branches, self.scratch)

    def state(self, member: int) -> State:
        kept: State = {key: value[member] for key, value in self.memory.items()}
        if self.rule.counts_steps and self.steps[member]:
            return {"step": torch.tensor(self.steps[member], dtype=_step_type()), **kept}
        return kept

    def restore(self, states: Sequence[State]) -> None:
        self.steps = [float(state.get("step", 0.0)) for state in states]
        keys = [key for key in states[0] if key != "step"]
        self.memory = {key: torch.stack([state[key] for state in states]) for key in keys}


class _ReplayedRun:
    def __init__(self, like: Optimizer, groups: Sequence[Group], weights: Tensor, gradients: Tensor) -> None:
        self.groups = groups
        self.weights = Tensor._make_subclass(Rows, weights, True)
        self.weights.grad = gradients.as_subclass(Rows)
        kind: Any = type(like)
        self.optimizer = kind([self.weights], **{key: groups[0][key] for key in like.defaults})
        self.bare_step = inspect.unwrap(kind.step)
        self.refresh()

    def refresh(self) -> None:
        own = self.optimizer.param_groups[0]
        own |= {key: numbers([group[key] for group in self.groups]) for key in self.optimizer.defaults}

    @torch.no_grad()
    def step(self) -> None:
        self.bare_step(self.optimizer)

    def state(self, member: int) -> State:
        kept = self.optimizer.state.get(self.weights, {})
        return {key: _of_row(value, member) for key, value in kept.items()}

    def restore(self, states: Sequence[State]) -> None:
        if not states[0]:
            return
        kept = self.optimizer.state[self.weights]
        for key, value in states[0].items():
            is_row = isinstance(value, Tensor) and value.dim() > 0
            kept[key] = torch.stack([state[key] for state in states]).as_subclass(Rows) if is_row else value.clone()


def _of_row(value: Any, member: int) -> Any:
    if isinstance(value, Tensor):
        plain = value.as_subclass(Tensor)
        return plain[member] if plain.dim() > 1 else plain.clone()
    return value


def _step_type() -> torch.dtype:
    return torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
