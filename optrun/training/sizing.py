"""Models and the memory there is: one that does not fit is refused before it takes any, and one that is only to be
judged takes none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from optrun.components.choice import OptimizerChoice
from optrun.components.data import Data, fetch
from optrun.components.memory import machine_memory
from optrun.errors import UsageError

__all__ = ["is_weightless", "room_for", "sized", "unfused"]

MOST_TENSORS = 5_000
"""Parameter tensors of a model: more would take longer to build than anyone waits for."""

LIGHT = 2**27
"""Bytes of weights and gradients (128 MiB, 17 million parameters) up to which a model is quickly built."""


class TooLarge(UsageError):
    """A model has more weights than there is room for."""


@contextlib.contextmanager
def room_for(model: str, memory: int | None = None) -> Iterator[None]:
    """While `model` is being built: refuse it, with TooLarge, before weights and gradients take more than `memory`
    bytes (None: all that the machine has).

    torch registers a parameter before the initialisation touches its memory.
    """
    most = memory or machine_memory()
    taken = tensors = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal taken, tensors
        if parameter is None or isinstance(parameter, nn.UninitializedParameter):
            return
        taken, tensors = taken + 2 * parameter.nbytes, tensors + 1
        if taken > most:
            sizes = f"more than {taken / 2**30:,.0f} GiB of memory, and there are {most / 2**30:,.0f}"
            raise TooLarge(f"{model} with its gradients takes {sizes}; make it smaller")
        if tensors > MOST_TENSORS:
            raise UsageError(f"{model} has more than {MOST_TENSORS:,} parameter tensors; make it smaller")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def sized(name: str, make: Callable[[], nn.Module], data: Data, *, to_train: bool) -> nn.Module:
    """The model that `make` builds, if it fits into memory. If it is large and not `to_train`, it has shapes only.

    Raises UsageError, and whatever `make` raises.
    """
    if not to_train:
        try:
            with room_for(name, LIGHT):
                return make()
        except TooLarge:
            model = _weightless(name, make, data)
            if model is not None:
                return model
    with room_for(name):
        return make()


def _weightless(name: str, make: Callable[[], nn.Module], data: Data) -> nn.Module | None:
    """The model on torch's meta device; None where it cannot be built or called so, since it looks at its numbers."""
    inputs, _ = fetch(data.val, torch.arange(1))
    with room_for(name), torch.device("meta"), torch.no_grad():
        try:
            model = make()
            model.eval()(inputs.to("meta"))
            return model.train()
        except UsageError:
            raise
        except Exception:
            return None


def is_weightless(model: nn.Module) -> bool:
    return any(parameter.is_meta for parameter in model.parameters())


def unfused(choice: OptimizerChoice) -> OptimizerChoice:
    """The same optimizer without `fused`, which torch refuses for weights on the meta device."""
    settings = {key: value for key, value in choice.settings.items() if key != "fused"}
    return replace(choice, settings=settings, fallback=choice.fallback and unfused(choice.fallback))
