"""Other views of the same numbers: dimensions are counted after the members', and nothing is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from optrun.fused.rules.elements import aligned
from optrun.fused.tensor import attribute, is_stacked, physical, rule, stacked


def shifted(dim: int) -> int:
    """A dimension of a member as one of the stack."""
    return dim + 1 if dim >= 0 else dim


def _sizes(given: Sequence[Any]) -> tuple[int, ...]:
    """`view(2, 3)` and `view((2, 3))`."""
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], list | tuple) else tuple(given)


@rule(Tensor.view)
def view(x: Tensor, *shape: Any) -> Any:
    if isinstance(shape[0], torch.dtype):
        return NotImplemented
    # A grouped convolution, on a GPU, leaves a stack in another order than its members would be in.
    change = Tensor.reshape if physical(x).is_cuda else Tensor.view
    return stacked(change(x, (Tensor.size(x, 0), *_sizes(shape))))


@rule(Tensor.view_as, Tensor.reshape_as)
def view_as(x: Tensor, other: Tensor) -> Any:
    return reshape(x, Tensor.size(other)[1:] if is_stacked(other) else Tensor.size(other))


@rule(Tensor.reshape, torch.reshape)
def reshape(x: Tensor, *shape: Any, **named: Any) -> Any:
    return stacked(Tensor.reshape(x, (Tensor.size(x, 0), *_sizes(shape or (named["shape"],)))))


@rule(Tensor.flatten, torch.flatten)
def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Any:
    if Tensor.dim(x) == 1:
        return stacked(Tensor.unsqueeze(x, 1))
    return stacked(Tensor.flatten(x, shifted(start_dim), shifted(end_dim)))


@rule(Tensor.transpose, torch.transpose, Tensor.swapaxes, torch.swapaxes)
def transpose(x: Tensor, dim0: int, dim1: int) -> Any:
    return stacked(Tensor.transpose(x, shifted(dim0), shifted(dim1)))


@rule(Tensor.permute, torch.permute)
def permute(x: Tensor, *dims: Any, **named: Any) -> Any:
    rank = Tensor.dim(x) - 1
    return stacked(Tensor.permute(x, 0, *(dim % rank + 1 for dim in _sizes(dims or (named["dims"],)))))


@rule(Tensor.t, torch.t, attribute("mT"))
def t(x: Tensor) -> Any:
    return stacked(Tensor.transpose(x, -1, -2)) if Tensor.dim(x) > 2 else x


@rule(Tensor.unsqueeze, torch.unsqueeze)
def unsqueeze(x: Tensor, dim: int) -> Any:
    return stacked(Tensor.unsqueeze(x, shifted(dim)))


@rule(Tensor.squeeze, torch.squeeze)
def squeeze(x: Tensor, dim: int | None = None) -> Any:
    if dim is not None:
        return stacked(Tensor.squeeze(x, shifted(dim)))
    kept = [size for size in Tensor.size(x)[1:] if size != 1]
    return stacked(Tensor.reshape(x, (Tensor.size(x, 0), *kept)))


@rule(Tensor.unbind, torch.unbind)
def unbind(x: Tensor, dim: int = 0) -> Any:
    return tuple(stacked(piece) for piece in Tensor.unbind(x, shifted(dim)))


@rule(Tensor.chunk, torch.chunk)
def chunk(x: Tensor, chunks: int, dim: int = 0) -> Any:
    return tuple(stacked(piece) for piece in Tensor.chunk(x, chunks, shifted(dim)))


@rule(Tensor.split, torch.split)
def split(x: Tensor, split_size: Any, dim: int = 0) -> Any:
    return tuple(stacked(piece) for piece in Tensor.split(physical(x), split_size, shifted(dim)))


@rule(Tensor.expand)
def expand(x: Tensor, *sizes: Any) -> Any:
    wanted = _sizes(sizes)
    return stacked(Tensor.expand(aligned(x, len(wanted)), -1, *wanted))


@rule(torch.cat, torch.concat)
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Any:
    if not all(map(is_stacked, tensors)):
        return NotImplemented
    return stacked(torch.cat([physical(tensor) for tensor in tensors], shifted(dim)))


@rule(torch.stack)
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Any:
    if not all(map(is_stacked, tensors)):
        return NotImplemented
    return stacked(torch.stack([physical(tensor) for tensor in tensors], shifted(dim)))


@rule(Tensor.__getitem__)
def getitem(x: Tensor, index: Any) -> Any:
    parts = index if isinstance(index, tuple) else (index,)
    if not all(part is None or part is Ellipsis or isinstance(part, int | slice) for part in parts):
        return NotImplemented
    return stacked(Tensor.__getitem__(x, (slice(None), *parts)))
