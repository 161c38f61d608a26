"""torch's compiler: for runs that use it, and left where it is by all others, as importing it takes as long as torch.

torch itself imports it whenever an optimizer is made or operations are counted, to keep a few methods from being
compiled, and when algorithms are to be deterministic, to hand that on.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils import flop_counter

__all__ = ["compile_model", "set_deterministic", "without_compiler"]


def compile_model(model: nn.Module, mode: str | Literal[True]) -> None:
    """Have the model compiled, in that mode of `torch.compile`, when it is called first."""
    import torch._inductor.config  # noqa: F401  # so that it is told what is to be deterministic

    model.compile(mode=None if mode is True else mode)


def set_deterministic(wanted: bool) -> None:
    """What `torch.use_deterministic_algorithms` does, which also tells the compiler: here only if it is there."""
    torch.set_deterministic_debug_mode(2 if wanted else 0)
    if "torch._inductor" in sys.modules:
        torch.use_deterministic_algorithms(wanted)


def without_compiler(*others: type) -> None:
    """Mark the methods of `Optimizer`, of the counter of operations and of `others` that torch keeps from its compiler
    as kept: while nothing is compiled there is nothing to keep them from.

    `torch._compile._disable_dynamo`, which wraps such methods, looks for the mark before it imports anything.
    """
    if "torch._dynamo" not in sys.modules:
        for kind in (Optimizer, *filter(inspect.isclass, vars(flop_counter).values()), *others):
            _mark(kind)


@functools.cache
def _mark(kind: type) -> None:
    for method in filter(inspect.isfunction, vars(kind).values()):
        if "disable_fn" in method.__code__.co_varnames:
            kept = method.__wrapped__  # type: ignore[attr-defined]
            kept.__dynamo_disable = kept
