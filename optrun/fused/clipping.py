"""Gradient clipping for a stack: the lines of `optrun.training.clipping` with a bound for each member."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Bounds"]


class Bounds:
    """The bounds of K members. `clip_norms` and `clip_values` are those of their configs; None clips nothing."""

    def __init__(self, clip_norms: Sequence[float | None], clip_values: Sequence[float | None], like: Tensor) -> None:
        def column(values: Sequence[float | None]) -> Tensor:
            return torch.tensor([math.inf if each is None else each for each in values], dtype=torch.float64).to(like)

        self.measures = any(bound is not None for bound in clip_norms)
        self.norms, self.values = column(clip_norms), column(clip_values)
        self._unclipped = self.norms.isinf()
        self._clips_norms, self._clips_values = not self._unclipped.all(), bool(self.values.isfinite().any())
        self._clips_all = not self._unclipped.any()

    @torch.no_grad()
    def clip(self, each: Sequence[Tensor], whole: Sequence[Tensor]) -> Tensor | None:
        """Clip gradients in place; returns the members' total 2-norms before clipping, [K], if any are asked for.

        `each` are the gradients of the parameters, each as [K, p], in the order of the model's; `whole` the same memory
        in as few tensors as it lies in, [K, P].
        """
        norms = None
        if self.measures:
            of_each = [torch.linalg.vector_norm(gradient, dim=1) for gradient in each]
            norms = torch.linalg.vector_norm(torch.stack(of_each, 1), dim=1)
            if self._clips_norms:
                self._scale(norms, whole)
        if self._clips_values:
            bounds = self.values.unsqueeze(1)
            for gradients in whole:
                torch.clamp(gradients, -bounds, bounds, out=gradients)
        return norms

    def _scale(self, norms: Tensor, whole: Sequence[Tensor]) -> None:
        """`clip_norm / (norm + 1e-6)`, which torch takes for a reciprocal and a product, where it is below one."""
        factors = ((norms + 1e-6).reciprocal() * self.norms).clamp_(max=1.0)
        if not self._clips_all:
            factors = factors.masked_fill_(self._unclipped, 1.0)
        if norms.device.type != "cpu" or not bool((factors == 1.0).all()):
            for gradients in whole:
                gradients.mul_(factors.unsqueeze(1))
