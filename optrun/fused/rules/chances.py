"""Functions that draw random numbers: each member's come from its own stream, in the order of its solo run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from optrun.fused.rules.layers import attention
from optrun.fused.streams import streams
from optrun.fused.tensor import RULES, each_member, physical, rule, stacked


@rule(F.dropout, torch.dropout)
def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """On a CPU and in place torch's own three lines (aten/src/ATen/native/Dropout.cpp): bernoulli_, div_, mul."""
    if not training or p == 0:
        return x
    if p == 1:
        return NotImplemented
    if physical(x).is_cuda and not inplace:
        return stacked(NativeDropout.apply(physical(x), p))
    noise = torch.empty_like(x, memory_format=torch.contiguous_format).as_subclass(Tensor)
    for generator, first, who in streams().each():
        drawn = noise[first].bernoulli_(1 - p, generator=generator)
        if len(who) > 1:
            noise.index_copy_(0, who, drawn.expand(len(who), *drawn.shape))
    noise.div_(1 - p)
    if inplace:
        Tensor.mul_(x, noise)
        return x
    return stacked(x * noise)


class NativeDropout(torch.autograd.Function):
    """What dropout is on a GPU, one kernel: `native_dropout`, which draws in another order than `bernoulli_`, and from
    torch's own generator only. It is asked once for each stream, on ones: they become the noise, with which the kernel
    itself would multiply (aten/src/ATen/native/cuda/Dropout.cu)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        drawn = []
        for generator, first, _ in streams().each():
            with streams().standing_in(generator):
                drawn.append(torch.native_dropout(torch.ones_like(x[first]), p, True))
        noise, mask = map(torch.stack, zip(*streams().by_member(drawn)))
        ctx.save_for_backward(mask)
        ctx.scale = 1 / (1 - p)
        return x * noise

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        return torch.ops.aten.native_dropout_backward(grad, *ctx.saved_tensors, ctx.scale), None


def _one_by_one(function: Any) -> Callable[..., Any]:
    """A call for each member while torch's generator is the member's own."""

    def apply(*arguments: Any, **settings: Any) -> Any:
        with streams().one_by_one() as each:
            return each_member(function, arguments, settings, each)

    return apply


for _function in (
    *(F.alpha_dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.feature_alpha_dropout, F.gumbel_softmax),
    *(torch.bernoulli, torch.rand_like, torch.randn_like, torch.randint_like, torch.poisson),
):
    RULES[_function] = _one_by_one(_function)


@rule(F.rrelu)
def rrelu(x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False) -> Any:
    apply = _one_by_one(F.rrelu) if training else lambda *given: each_member(F.rrelu, given, {})
    return apply(x, lower, upper, training, inplace)


@rule(F.scaled_dot_product_attention)
def attention_with_dropout(*arguments: Any, **settings: Any) -> Any:
    result = attention(*arguments, **settings)
    drops = settings.get("dropout_p") or (len(arguments) > 4 and arguments[4])
    return _one_by_one(F.scaled_dot_product_attention)(*arguments, **settings) if drops else result
