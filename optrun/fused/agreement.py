"""Whether the way of a stack gives the bits of its members' own way: tried once for each size, on random numbers.

Libraries choose among kernels by the sizes they are given, and kernels differ in the order in which they sum. Which
sizes agree depends on the processor and the library's version, so it is not written down here but found out. (Of two
orders of summing, random numbers show nearly every element.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from optrun.training.packing import ALIGNMENT, is_aligned

__all__ = ["agree", "alone", "seen"]

Way = Callable[..., Sequence[Tensor]]

seen: dict[tuple[object, ...], bool] = {}
"""What was found, by the name of what was tried and the sizes."""


def agree(key: tuple[object, ...], whole: Way, each: Way, like: Sequence[Tensor | None]) -> bool:
    """Whether `whole(*tensors)` equals `each(*tensors)` for tensors that are laid out as those of `like`.

    Only on a CPU: elsewhere bits differ anyway, and the way of the stack is taken.
    """
    if key not in seen:
        first = next(tensor for tensor in like if tensor is not None)
        seen[key] = first.device.type != "cpu" or _same(whole, each, like)
    return seen[key]


def _same(whole: Way, each: Way, like: Sequence[Tensor | None]) -> bool:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        given = [None if tensor is None else _random(tensor, generator) for tensor in like]
        return all(torch.equal(one, other) for one, other in zip(whole(*given), each(*given)))


def _random(like: Tensor, generator: torch.Generator) -> Tensor:
    """Normal numbers [K, …] that lie in memory as the tensor does; each member has its own."""
    strides = like.stride()
    extent = 1 + sum((size - 1) * stride for size, stride in zip(like.shape[1:], strides[1:]))
    apart = strides[0] or -(-extent * like.element_size() // ALIGNMENT) * ALIGNMENT // like.element_size()
    begin = like.data_ptr() % ALIGNMENT // like.element_size()
    total = begin + (len(like) - 1) * apart + extent
    numbers = torch.randn(total, generator=generator, dtype=like.dtype)
    return numbers.as_strided(like.shape, (apart, *strides[1:]), begin)


def alone(tensor: Tensor) -> Tensor:
    """A member's tensor, at an address that a tensor of its own could have: on a CPU, bits can depend on that."""
    return tensor if is_aligned(tensor.data_ptr()) else tensor.clone()
