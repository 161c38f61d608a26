"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from optrun.components import layers
from optrun.components.data import Data
from optrun.components.suits import features, require

__all__ = ["mlp"]


def mlp(
    data: Data,
    *,
    hidden: Sequence[int] = (64,),
    activation: str = "ReLU",
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> nn.Module:
    """Fully connected layers of `hidden` widths over the flattened input.

    [B, …] → [B, num_outputs]. After each hidden layer come batch normalisation (if asked for), the activation (by its
    name in torch.nn) and dropout. Raises UsageError for text.
    """
    require(data, "mlp", "table", "images", "array")
    parts: list[nn.Module] = [nn.Flatten()]
    width = features(data)
    for size in hidden:
        layers.at_least_one(hidden=size)
        norm = [nn.BatchNorm1d(size)] if batch_norm else []
        parts += [nn.Linear(width, size), *norm, layers.activation(activation), *layers.dropout(dropout)]
        width = size
    return nn.Sequential(*parts, nn.Linear(width, data.num_outputs))
