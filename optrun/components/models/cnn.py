"""A small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from optrun.components import layers
from optrun.components.data import Data
from optrun.components.suits import require
from optrun.errors import UsageError

__all__ = ["cnn"]


def cnn(
    data: Data,
    *,
    channels: Sequence[int] = (32, 64),
    activation: str = "ReLU",
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> nn.Module:
    """3×3 convolutions, each followed by the activation and a halving max-pool, then one linear layer.

    [B, C, H, W] → [B, num_outputs]; one convolution for each of `channels`, batch normalisation before the activation
    if asked for, dropout before the linear layer. Raises UsageError for anything but images, and for images that
    cannot be halved that often.
    """
    require(data, "cnn", "images")
    width, height, breadth = data.input_shape
    stages = len(channels)
    if min(height, breadth) >> stages < 1:
        raise UsageError(f"channels: images of {height}×{breadth} cannot be halved {stages} times; give fewer channels")
    parts: list[nn.Module] = []
    for size in channels:
        layers.at_least_one(channels=size)
        norm = [nn.BatchNorm2d(size)] if batch_norm else []
        parts += [nn.Conv2d(width, size, 3, padding=1), *norm, layers.activation(activation), nn.MaxPool2d(2)]
        width = size
    flat = width * (height >> stages) * (breadth >> stages)
    return nn.Sequential(*parts, nn.Flatten(), *layers.dropout(dropout), nn.Linear(flat, data.num_outputs))
