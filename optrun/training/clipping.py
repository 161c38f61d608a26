"""Gradient clipping, as torch.nn.utils does it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_, get_total_norm

__all__ = ["clip_gradients"]


def clip_gradients(
    parameters: Sequence[nn.Parameter], clip_norm: float | None, clip_value: float | None
) -> Tensor | None:
    """Clip the gradients in place and return their total 2-norm before clipping, a scalar tensor.

    `clip_norm` None measures nothing and returns None; infinity measures and clips nothing. `clip_value` then limits
    each element. Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks".
    """
    grad_norm = None
    if clip_norm is not None and math.isinf(clip_norm):
        grad_norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
    elif clip_norm is not None:
        grad_norm = clip_grad_norm_(parameters, clip_norm)
    if clip_value is not None:
        clip_grad_value_(parameters, clip_value)
    return grad_norm
