"""log_softmax of the scores of K members, [K, N, C], and the loss picked from it, forwards and backwards.

torch's kernel for the last dimension takes as long for ten classes as for sixteen times as many, since it fills one
register a row. Along the first dimension it fills registers with rows, and has the same bits as long as a row fits
into a register: up to sixteen numbers it adds one after the other either way (aten/src/ATen/cpu/vec/functional_base.h).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from optrun.fused.agreement import best_way, signature

__all__ = ["softmax_for"]

BLOCK = 32
"""Columns that torch computes with registers alone are a multiple of this; those left over round otherwise."""


class _Softmax(Protocol):
    def forward(self, scores: Tensor) -> Tensor:
        """The logarithms of the softmax of [K, N, C], laid out as it suits."""
        ...

    def pick(self, logarithms: Tensor, targets: Tensor) -> Tensor:
        """Those of the classes [K, N], as [K, N]."""
        ...

    def backward(self, logarithms: Tensor, targets: Tensor, grads: Tensor) -> Tensor:
        """The gradient of the scores, [K, N, C], from that of what was picked, [K, N]."""
        ...


class _ClassesLast:
    def forward(self, scores: Tensor) -> Tensor:
        return torch.log_softmax(scores, 2)

    def pick(self, logarithms: Tensor, targets: Tensor) -> Tensor:
        return logarithms.gather(2, targets.unsqueeze(2)).squeeze(2)

    def backward(self, logarithms: Tensor, targets: Tensor, grads: Tensor) -> Tensor:
        of_picked = torch.zeros_like(logarithms).scatter_(2, targets.unsqueeze(2), grads.unsqueeze(2))
        return _backward(of_picked, logarithms, 2)


class _ClassesFirst:
    def forward(self, scores: Tensor) -> Tensor:
        columns = scores.shape[0] * scores.shape[1]
        padded = scores.new_zeros(scores.shape[2], -(-columns // BLOCK) * BLOCK)
        padded[:, :columns].copy_(scores.flatten(0, 1).t())
        return torch.log_softmax(padded, 0)

    def pick(self, logarithms: Tensor, targets: Tensor) -> Tensor:
        return logarithms.gather(0, targets.reshape(1, -1)).view(targets.shape)

    def backward(self, logarithms: Tensor, targets: Tensor, grads: Tensor) -> Tensor:
        of_picked = torch.zeros_like(logarithms).scatter_(0, targets.reshape(1, -1), grads.reshape(1, -1))
        found = _backward(of_picked, logarithms, 0)[:, : targets.numel()]
        return found.t().contiguous().view(*targets.shape, -1)  # laid out as a member's gradient would be


def _backward(grad: Tensor, logarithms: Tensor, dim: int) -> Tensor:
    return torch.ops.aten._log_softmax_backward_data(grad, logarithms, dim, logarithms.dtype)


_LAYOUTS: tuple[_Softmax, ...] = (_ClassesFirst(), _ClassesLast())


class _Tried:
    """A layout, on random scores of several spreads."""

    def __init__(self, layout: _Softmax) -> None:
        self.layout = layout

    def __call__(self, scores: Tensor) -> Sequence[Tensor]:
        targets = scores.argsort(2)[:, :, 0].contiguous()
        found = []
        for spread in (0.3, 1.0, 3.0, 10.0):
            logarithms = self.layout.forward(scores * spread)
            picked = self.layout.pick(logarithms, targets)
            found += [picked, self.layout.backward(logarithms, targets, picked)]
        return found


_TRIED = tuple(map(_Tried, _LAYOUTS))


def softmax_for(scores: Tensor) -> _Softmax:
    """The faster of two layouts that have the same bits for scores of this size."""
    way = best_way(("softmax", signature(scores)), _TRIED, (scores,))
    return _LAYOUTS[_TRIED.index(way)]  # type: ignore[arg-type]
