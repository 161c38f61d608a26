"""What the settings of several models have in common."""

from __future__ import annotations

from torch import nn

from optrun.errors import UsageError

__all__ = ["activation", "at_least_one", "dropout"]

# The activations of torch.nn that work element by element and need no argument.
_ACTIVATIONS = [
    "CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU", "LogSigmoid",
    "Mish", "PReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh",
    "Tanhshrink",
]  # fmt: skip


def activation(name: str) -> nn.Module:
    """The activation with this name in torch.nn, whatever its case. Raises UsageError for another name."""
    known = {each.lower(): each for each in _ACTIVATIONS}
    if name.lower() not in known:
        raise UsageError(f"activation: there is no {name!r} among {', '.join(_ACTIVATIONS)}")
    return getattr(nn, known[name.lower()])()


def dropout(p: float) -> list[nn.Module]:
    """A dropout layer, or none when `p` is 0. Raises UsageError unless 0 ≤ p < 1."""
    if not 0 <= p < 1:
        raise UsageError(f"dropout is {p}; it must be at least 0 and below 1")
    return [nn.Dropout(p)] if p else []


def at_least_one(**sizes: int) -> None:
    """Raises UsageError for a size below 1, naming it."""
    for key, size in sizes.items():
        if size < 1:
            raise UsageError(f"{key} is {size}; it must be at least 1")
