"""Gradient clipping, as torch.nn.utils does it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from optrun.training.stepping import Gradients

__all__ = ["clip_gradients"]


@torch.no_grad()
def clip_gradients(gradients: Gradients, clip_norm: float | None, clip_value: float | None) -> Tensor | None:
    """Clip the gradients in place and return their total 2-norm before clipping, a scalar tensor.

    `clip_norm` None measures nothing and returns None; infinity measures and clips nothing. `clip_value` then limits
    each element. Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks"; the lines are
    those of `torch.nn.utils.clip_grad_norm_` and `clip_grad_value_`.
    """
    grad_norm = None
    if clip_norm is not None:
        norms = _norms(gradients.each)
        grad_norm = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.tensor(0.0)
        if hasattr(grad_norm, "full_tensor"):  # of gradients that several processes hold together
            grad_norm = grad_norm.full_tensor()
        if not math.isinf(clip_norm):
            factor = clip_norm / (grad_norm + 1e-6)
            # Looking costs less than multiplying by one; on a GPU it would mean waiting. A NaN is multiplied.
            if factor.device.type != "cpu" or not factor.item() >= 1.0:
                torch._foreach_mul_(gradients.whole, factor.clamp(max=1.0))
    if clip_value is not None:
        torch._foreach_clamp_min_(gradients.whole, -clip_value)
        torch._foreach_clamp_max_(gradients.whole, clip_value)
    return grad_norm


def _norms(each: list[Tensor]) -> list[Tensor] | tuple[Tensor, ...]:
    """The 2-norm of each: on a GPU by the call that `clip_grad_norm_` makes there, a kernel for many tensors."""
    if each and each[0].is_cuda:
        return torch._foreach_norm(each, 2.0)
    return [torch.linalg.vector_norm(gradient) for gradient in each]
