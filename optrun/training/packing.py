"""Several tensors as one vector, each beginning where a tensor of its own would: at a multiple of 64 bytes.

That is more than tidiness: the matrix products of MKL give other bits for other alignments (of some sizes), and torch
allocates every tensor at a multiple of 64 bytes (c10/core/alignment.h).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["ALIGNMENT", "Packing", "is_aligned"]

ALIGNMENT = 64
"""Bytes."""


def is_aligned(size: int) -> bool:
    """Whether what lies so many bytes behind a tensor's beginning is aligned as a tensor of its own would be."""
    return size % ALIGNMENT == 0


class Packing:
    """The places of tensors of some shapes in a vector of `length` elements. What lies between them is zero."""

    def __init__(self, shapes: Sequence[torch.Size], dtype: torch.dtype) -> None:
        self.shapes = list(shapes)
        unit = ALIGNMENT // dtype.itemsize
        self._sizes = [size for shape in self.shapes for size in (shape.numel(), -shape.numel() % unit)]
        self.length = sum(self._sizes)

    def pieces(self, vectors: Tensor) -> list[Tensor]:
        """Views of [..., length] in the shapes of the tensors, [..., *shape]."""
        cut = vectors.split(self._sizes, dim=-1)[::2]
        return [piece.view((*piece.shape[:-1], *shape)) for piece, shape in zip(cut, self.shapes)]

    def joined(self, tensors: Sequence[Tensor]) -> Tensor:
        """A new vector of these tensors."""
        vector = tensors[0].new_zeros(self.length)
        for piece, tensor in zip(self.pieces(vector), tensors):
            piece.copy_(tensor)
        return vector
