"""Other optimizers for many members at once: torch's own source, run once, with K numbers where it has one.

`torch.optim.Adagrad(…).step()` is Python that does arithmetic on numbers (`clr = lr / (1 + (step - 1) * lr_decay)`) and
hands them to tensors (`param.addcdiv_(grad, std, value=-clr)`). Here its numbers are `Numbers`, which do their
arithmetic for each member in Python's own floats, and its tensors are `Columns`, [k, P], which take a number for each
row where torch's kernels take one for all. Nothing of an optimizer is written again; a new version of torch brings its
own lines.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from optrun.fused.tensor import CannotFuse
from optrun.training.precision import sent

__all__ = ["REPLAYED", "Numbers", "Rows", "numbers"]

REPLAYED = ("Adadelta", "Adagrad", "Adamax", "RAdam")
"""Optimizers whose steps are bit for bit those of the members (tests/test_fused_optimizers.py)."""


class Numbers(float):
    """A number for each member; to whoever wants one float (argument parsers look at the type) it is the first."""

    each: tuple[float, ...]

    def __new__(cls, each: Sequence[float]) -> Numbers:
        made = super().__new__(cls, each[0])
        made.each = tuple(each)
        return made

    def column(self, like: Tensor) -> Tensor:
        """The numbers as [k, 1, …], rounded as a kernel rounds the one it is given."""
        rounded = torch.tensor(self.each, dtype=torch.float64).to(like.dtype)
        return sent(rounded, like.device).view(-1, *(1,) * (like.dim() - 1))

    def __neg__(self) -> Numbers:
        return Numbers([-number for number in self.each])

    def __hash__(self) -> int:
        return hash(self.each)

    def __float__(self) -> float:
        raise CannotFuse("an optimizer takes one number for all members")


def _arithmetic(function: Callable[[Any, Any], Any], *, reflected: bool) -> Callable[..., Any]:
    def apply(self: Numbers, other: Any) -> Any:
        if isinstance(other, Tensor) or not isinstance(other, int | float):
            return NotImplemented
        others = other.each if isinstance(other, Numbers) else (other,) * len(self.each)
        pairs = zip(others, self.each) if reflected else zip(self.each, others)
        return Numbers([function(one, another) for one, another in pairs])

    return apply


def _comparison(function: Callable[[Any, Any], bool]) -> Callable[..., Any]:
    def apply(self: Numbers, other: Any) -> bool:
        others = other.each if isinstance(other, Numbers) else (other,) * len(self.each)
        answers = {function(one, another) for one, another in zip(self.each, others)}
        if len(answers) > 1:
            raise CannotFuse("members that are updated together take different branches")
        return answers.pop()

    return apply


for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(Numbers, f"__{_name}__", _arithmetic(getattr(operator, _name), reflected=False))
    setattr(Numbers, f"__r{_name}__", _arithmetic(getattr(operator, _name), reflected=True))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Numbers, f"__{_name}__", _comparison(getattr(operator, _name)))


def numbers(each: Sequence[Any]) -> Any:
    """A setting of all members: as it is where they agree, else a number (or a tuple of numbers) for each."""
    first = each[0]
    if all(value == first and type(value) is type(first) for value in each):
        return first
    if isinstance(first, list | tuple):
        return type(first)(numbers(parts) for parts in zip(*each))
    return Numbers([float(value) for value in each])


class Rows(Tensor):
    """Weights, gradients or an optimizer's memory, [k, P], a row for each member."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, arguments: Sequence[Any] = (), settings: Mapping[str, Any] | None = None
    ) -> Any:
        settings = settings or {}
        with torch._C.DisableTorchFunctionSubclass():
            if any(isinstance(value, Numbers) for value in (*arguments, *settings.values())):
                rule = _WITH_NUMBERS.get(getattr(function, "__name__", ""))
                if rule is None:
                    raise CannotFuse(f"there is no rule for {function} with a number for each member")
                result = rule(*arguments, **settings)
            else:
                result = function(*arguments, **settings)
            return result.as_subclass(cls) if isinstance(result, Tensor) and result.dim() > 1 else result


def _column(value: Any, like: Tensor) -> Any:
    return value.column(like) if isinstance(value, Numbers) else value


def _with(name: str) -> Callable[..., Any]:
    """A function of torch that takes a tensor where it takes a number."""

    def apply(x: Tensor, *arguments: Any, **settings: Any) -> Any:
        columns = [_column(value, x) for value in arguments]
        return getattr(Tensor, name)(x, *columns, **{key: _column(value, x) for key, value in settings.items()})

    return apply


def _add(x: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    return x + _column(other, x) if not isinstance(alpha, Numbers) else torch.addcmul(x, other, alpha.column(x))


def _add_(x: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    return x.add_(_column(other, x)) if not isinstance(alpha, Numbers) else x.addcmul_(other, alpha.column(x))


_WITH_NUMBERS: dict[str, Callable[..., Any]] = {
    "add": _add,
    "add_": _add_,
    "addcmul_": lambda x, one, other, *, value=1: x.addcmul_(one * _column(value, x), other),
    "addcdiv_": lambda x, one, other, *, value=1: x.add_((one * _column(value, x)).div_(other)),
    "lerp_": lambda x, end, weight: x.lerp_(end, _column(weight, x).expand_as(x)),
    **{
        name: _with(name)
        for name in ("mul", "mul_", "div", "div_", "__mul__", "__rmul__", "__truediv__", "sub", "sub_")
    },
    "__rdiv__": lambda x, number: x.reciprocal() * _column(number, x),  # as torch's own has it
}
"""By the name of a function of torch: the same with a number for each member, in the kernel's own order."""
