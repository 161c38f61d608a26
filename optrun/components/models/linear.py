"""The linear model: linear or softmax regression."""

from __future__ import annotations

from torch import nn

from optrun.components.data import Data
from optrun.components.suits import features, require

__all__ = ["linear"]


def linear(data: Data, *, bias: bool = True) -> nn.Module:
    """One linear layer over the flattened input: linear regression, or softmax regression with cross-entropy.

    [B, …] → [B, num_outputs]. Raises UsageError for text.
    """
    require(data, "linear", "table", "images", "array")
    return nn.Sequential(nn.Flatten(), nn.Linear(features(data), data.num_outputs, bias=bias))
