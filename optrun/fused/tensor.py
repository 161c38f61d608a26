"""A tensor of K members that looks like one member's: what an unmodified `nn.Module` computes with in a stack.

    weights = leaf(torch.randn(3, 10, 64))          # three members' weights [10, 64]
    outputs = F.linear(stacked(x), weights)         # one call for all three; `outputs.shape` is [N, 10]

Whatever torch is asked to do with it goes by a rule (`rules/`) that repeats, for all members at once, the arithmetic
of the call for one: the same operations on the same numbers in the same order, hence the same bits. Where there is no
rule the call is made once for each member. What would need one Python value for all (`if loss > 1:`) raises CannotFuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from optrun.fused.agreement import alone

__all__ = [
    "RULES",
    "CannotFuse",
    "Stacked",
    "attribute",
    "each_member",
    "is_stacked",
    "leaf",
    "members",
    "physical",
    "rule",
    "stacked",
]

Rule = Callable[..., Any]

RULES: dict[Any, Rule] = {}
"""From a function of torch to the function that does the same for a whole stack, called with the same arguments. A rule
sees the tensors as they lie in memory, with the members as their first dimension; where it does not fit what it is
given it returns NotImplemented, and the call is made member by member."""


class CannotFuse(Exception):
    """The runs cannot train as one, and why: a sentence that goes on after "cannot fuse: "."""


def rule(*functions: Any) -> Callable[[Rule], Rule]:
    """Decorator: write a function into the table as the rule of these functions of torch."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(functions, function))
        return function

    return register


def attribute(name: str) -> Any:
    """What torch calls, and looks up in the table, when somebody reads this attribute of a tensor."""
    return getattr(Tensor, name).__get__


class Stacked(Tensor):
    """K tensors of one shape as one, [K, *shape]; `shape`, `dim()` and the like tell of one member."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, arguments: Sequence[Any] = (), settings: Mapping[str, Any] | None = None
    ) -> Any:
        settings = settings or {}
        with torch._C.DisableTorchFunctionSubclass():
            known = RULES.get(function)
            if known is not None:
                done = known(*arguments, **settings)
                if done is not NotImplemented:
                    return done
            return each_member(function, arguments, settings)


def stacked(tensor: Tensor) -> Stacked:
    """A tensor [K, *shape] as that of K members."""
    return tensor.as_subclass(Stacked)


def leaf(tensor: Tensor) -> Stacked:
    """The same for parameters: it shares the tensor's memory and wants a gradient."""
    return Tensor._make_subclass(Stacked, tensor, True)


def physical(tensor: Tensor) -> Tensor:
    """The tensor as it lies in memory, [K, *shape]; an ordinary tensor as it is."""
    return tensor.as_subclass(Tensor) if isinstance(tensor, Stacked) else tensor


def is_stacked(value: Any) -> bool:
    return isinstance(value, Stacked)


def members(tensor: Tensor) -> list[Tensor]:
    """Each member's tensor, as its own would be."""
    return [alone(each) for each in Tensor.unbind(tensor)]


_NEEDS_ONE_VALUE = {"item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__"}


def each_member(
    function: Any,
    arguments: Sequence[Any],
    settings: Mapping[str, Any],
    turn_to: Callable[[int], None] | None = None,
) -> Any:
    """Call the function once for each member and stack what it returns: right for whatever has no side effects.

    `turn_to` is told each time whose turn it is.
    """
    name = getattr(function, "__name__", str(function))
    if name in _NEEDS_ONE_VALUE:
        raise CannotFuse(f"the model looks at a number with {name.strip('_')}, which is not the same for every member")
    if name.endswith("_") and not name.startswith("__"):
        raise CannotFuse(f"there is no rule for {name}, which writes into its argument")
    # What was one tensor stays one: some functions ask whether `key is value`.
    apart = {id(value): members(value) for value in _tensors((arguments, settings))}
    results = []
    for member in range(len(next(iter(apart.values())))):
        if turn_to is not None:
            turn_to(member)
        results.append(function(*_of(arguments, member, apart), **_of(settings, member, apart)))
    return _together(name, results)


def _tensors(value: Any) -> Iterator[Stacked]:
    if isinstance(value, Stacked):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))


def _of(value: Any, member: int, apart: Mapping[int, Sequence[Tensor]]) -> Any:
    """An argument as one member has it."""
    if isinstance(value, Stacked):
        return apart[id(value)][member]
    if isinstance(value, list | tuple):
        return type(value)(_of(item, member, apart) for item in value)
    if isinstance(value, Mapping):
        return {key: _of(item, member, apart) for key, item in value.items()}
    return value


def _together(name: str, results: list[Any]) -> Any:
    """One result of all members' results."""
    first = results[0]
    if isinstance(first, Tensor):
        if any(result.shape != first.shape for result in results):
            raise CannotFuse(f"{name} gives members tensors of different shapes")
        return stacked(torch.stack(results))
    if isinstance(first, list | tuple):
        return type(first)(_together(name, list(parts)) for parts in zip(*results))
    if any(result != first for result in results):
        raise CannotFuse(f"{name} gives members different values")
    return first
