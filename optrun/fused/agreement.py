"""Several ways to compute the same for a stack: the fastest that gives the bits of the members' own way.

Libraries choose among kernels by the sizes they are given, and kernels differ in the order in which they sum. Which
ways agree for which sizes depends on the processor and on versions, so it is not written down here: each size is tried
once, on random numbers. (Of two orders of summing, random numbers show nearly every element.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import torch
from torch import Tensor

from optrun.training.packing import ALIGNMENT, is_aligned
from optrun.training.tape import unrecorded

__all__ = ["Way", "alone", "best_way", "chosen", "fastest_way", "signature"]

Way = Callable[..., Sequence[Tensor]]

chosen: dict[tuple[object, ...], Way] = {}
"""What was found, by the name of what was tried and the sizes."""

TRIES = 3
"""How often a way is timed; the fastest counts."""


def best_way(key: tuple[object, ...], ways: Sequence[Way], like: Sequence[Tensor | None]) -> Way:
    """The fastest of `ways` to compute on tensors laid out as those of `like`, of those that agree with the last one,
    which is the members' own. On other devices than a CPU bits differ anyway: the first one."""
    if key not in chosen:
        first = next(tensor for tensor in like if tensor is not None)
        chosen[key] = unrecorded(_found, ways, like) if first.device.type == "cpu" else ways[0]
    return chosen[key]


def fastest_way(key: tuple[object, ...], ways: Sequence[Way], like: Sequence[Tensor | None]) -> Way:
    """The fastest of `ways` on tensors laid out as those of `like`, whatever its bits: where they differ anyway."""
    if key not in chosen:
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            given = [None if tensor is None else _random(tensor, generator).to(tensor.device) for tensor in like]
            chosen[key] = min(ways, key=lambda way: _seconds(way, given))
    return chosen[key]


def signature(tensor: Tensor | None) -> tuple[object, ...]:
    """What the choice of a kernel can depend on."""
    return () if tensor is None else (tensor.shape, tensor.stride(), tensor.dtype, tensor.data_ptr() % ALIGNMENT)


def alone(tensor: Tensor) -> Tensor:
    """A member's tensor, at an address that a tensor of its own could have: on a CPU, bits can depend on that."""
    return tensor if is_aligned(tensor.data_ptr()) else tensor.clone()


def _found(ways: Sequence[Way], like: Sequence[Tensor | None]) -> Way:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        given = [None if tensor is None else _random(tensor, generator) for tensor in like]
        wanted = ways[-1](*given)
        agreeing = [way for way in ways[:-1] if _equal(way(*given), wanted)]
        return min([*agreeing, ways[-1]], key=lambda way: _seconds(way, given)) if agreeing else ways[-1]


def _equal(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def _seconds(way: Way, given: Sequence[Tensor | None]) -> float:
    times = []
    for _ in range(TRIES):
        started = perf_counter()
        way(*given)
        _finish(given)
        times.append(perf_counter() - started)
    return min(times)


def _finish(given: Sequence[Tensor | None]) -> None:
    """Wait for the device that has computed on these."""
    for tensor in given:
        if tensor is not None and tensor.is_cuda:
            torch.cuda.synchronize(tensor.device)
            return


def _random(like: Tensor, generator: torch.Generator) -> Tensor:
    """Normal numbers [K, …] that lie in memory as the tensor does; each member has its own."""
    strides, unit = like.stride(), ALIGNMENT // like.element_size()
    extent = 1 + sum((size - 1) * stride for size, stride in zip(like.shape[1:], strides[1:]))
    apart = strides[0] or -(-extent // unit) * unit
    begin = like.data_ptr() % ALIGNMENT // like.element_size()
    total = begin + (len(like) - 1) * apart + extent
    numbers = torch.randn(total, generator=generator, dtype=like.dtype)
    return numbers.as_strided(like.shape, (apart, *strides[1:]), begin)
