"""Gradient clipping, as torch.nn.utils does it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm

__all__ = ["clip_gradients"]


def clip_gradients(
    parameters: Sequence[nn.Parameter], clip_norm: float | None, clip_value: float | None
) -> Tensor | None:
    """Clip the gradients in place and return their total 2-norm before clipping, a scalar tensor.

    `clip_norm` None measures nothing and returns None; infinity measures and clips nothing. `clip_value` then limits
    each element. Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks".
    """
    grad_norm = None
    if clip_norm is not None:
        grad_norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if _must_scale(grad_norm, clip_norm):
            clip_grads_with_norm_(parameters, clip_norm, grad_norm)
    if clip_value is not None:
        clip_grad_value_(parameters, clip_value)
    return grad_norm


def _must_scale(grad_norm: Tensor, clip_norm: float) -> bool:
    """Whether `clip_grad_norm_`, which multiplies always, would multiply by anything but one.

    Its factor is min(1, clip_norm / (norm + 1e-6)), or NaN. On a CPU looking at it costs less than multiplying every
    gradient by one; on a GPU looking would mean waiting.
    """
    if math.isinf(clip_norm):
        return False
    return grad_norm.device.type != "cpu" or not (clip_norm / (grad_norm + 1e-6)).item() >= 1.0
