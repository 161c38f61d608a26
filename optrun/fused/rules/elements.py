"""Functions of each element.

What one IEEE operation gives does not depend on where in a tensor an element stands: those of EXACT are the same for a
stack as for its members. A function that takes several operations (`exp`, `gelu`) does: torch computes the bulk of a
tensor in blocks of vector registers and the rest element by element, and the two need not round alike, nor treat what
is not a number alike (`relu6`). A stack then agrees with its members where their tensors consist of whole blocks,
forwards and backwards; else each is asked alone. (On a GPU every element is computed in the same way.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from optrun.fused.tensor import RULES, is_stacked, physical, stacked

__all__ = ["aligned"]

EXACT = (
    *("__neg__", "abs", "ceil", "clamp", "clamp_max", "clamp_min", "clone", "contiguous", "detach", "double", "float"),
    *("floor", "leaky_relu", "neg", "relu", "round", "sign", "sqrt"),
)
ROUNDED = (
    *("celu", "cos", "elu", "erf", "exp", "expm1", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh"),
    *("log", "log1p", "logsigmoid", "mish", "reciprocal", "relu6", "rsqrt", "selu", "sigmoid", "silu", "sin"),
    *("softplus", "softshrink", "softsign", "square", "tanh", "tanhshrink"),
)
EXACT_OF_TWO = ("add", "div", "maximum", "minimum", "mul", "sub", "true_divide")
IN_PLACE = ("add_", "div_", "mul_", "relu_", "sub_", "zero_")

BLOCK = 32
"""Elements that torch computes at a time: two registers of sixteen floats, in AVX-512; other processors have less."""


def consists_of_blocks(x: Tensor) -> bool:
    """Whether the members' tensors are whole blocks, one after the other."""
    return Tensor.is_contiguous(x) and (Tensor.numel(x) // Tensor.size(x, 0)) % BLOCK == 0


def _of_one(function: Any, always: bool) -> Callable[..., Any]:
    def apply(x: Tensor, *arguments: Any, **settings: Any) -> Any:
        if any(isinstance(value, Tensor) for value in (*arguments, *settings.values())):
            return NotImplemented
        if not (always or physical(x).is_cuda or consists_of_blocks(x)):
            return NotImplemented
        in_place = settings.get("inplace") or (function in (F.relu, F.relu6) and True in arguments)
        result = function(x, *arguments, **settings)
        return x if in_place else stacked(result)

    return apply


def _of_two(function: Any) -> Callable[..., Any]:
    def apply(x: Any, y: Any, **settings: Any) -> Any:
        if settings or (isinstance(x, Tensor) and isinstance(y, Tensor) and x.dtype != y.dtype):
            return NotImplemented
        rank = max(_rank(x), _rank(y))
        return stacked(function(aligned(x, rank), aligned(y, rank)))

    return apply


def _in_place(function: Any) -> Callable[..., Any]:
    def apply(x: Tensor, *arguments: Any) -> Any:
        if not is_stacked(x):  # it has room for one result, not for one of each member
            return NotImplemented
        function(x, *(aligned(value, _rank(x)) for value in arguments))
        return x

    return apply


def _rank(value: Any) -> int:
    """The dimensions that a member's tensor has."""
    return Tensor.dim(value) - is_stacked(value) if isinstance(value, Tensor) else 0


def aligned(value: Any, rank: int) -> Any:
    """A stacked tensor with ones after the members, so that it broadcasts from the right as a member's would."""
    if is_stacked(value) and _rank(value) < rank:
        missing = (1,) * (rank - _rank(value))
        return Tensor.view(value, Tensor.size(value, 0), *missing, *Tensor.size(value)[1:])
    return value


def _enter(places: tuple[Any, ...], names: tuple[str, ...], make: Callable[..., Any], *more: Any) -> None:
    for place in places:
        for name in names:
            if callable(function := getattr(place, name, None)):  # torch.float is a type
                RULES[function] = make(function, *more)


_enter((torch, Tensor, F, torch._C._nn), EXACT, _of_one, True)
_enter((torch, Tensor, F, torch._C._nn, torch.special), ROUNDED, _of_one, False)
_enter((torch, Tensor), EXACT_OF_TWO, _of_two)
_enter((Tensor,), ("__rsub__",), _of_two)
_enter((torch, Tensor), IN_PLACE, _in_place)
