"""What a tensor is: a member's shape, and whatever is the same for all members."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from optrun.fused.tensor import RULES, attribute, rule


@rule(attribute("shape"))
def shape(x: Tensor) -> torch.Size:
    return torch.Size(Tensor.size(x)[1:])


@rule(Tensor.size)
def size(x: Tensor, dim: int | None = None) -> Any:
    return shape(x) if dim is None else shape(x)[dim]


@rule(attribute("ndim"), Tensor.dim)
def dim(x: Tensor) -> int:
    return Tensor.dim(x) - 1


@rule(Tensor.numel, torch.numel)
def numel(x: Tensor) -> int:
    return Tensor.numel(x) // Tensor.size(x, 0)


@rule(Tensor.__len__)
def length(x: Tensor) -> int:
    return Tensor.size(x, 1)


def _same_for_all(function: Any) -> None:
    RULES[function] = function


for _name in (
    *("dtype", "device", "layout", "requires_grad", "is_leaf", "grad_fn", "is_cuda", "is_mps", "is_meta"),
    *("is_sparse", "is_quantized", "is_mkldnn", "is_nested"),
):
    _same_for_all(attribute(_name))
for _function in (Tensor.is_floating_point, torch.is_floating_point, Tensor.is_complex, torch.is_complex):
    _same_for_all(_function)
