"""Layers: linear, convolution, normalisation, embedding, attention, pooling."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from optrun.fused.agreement import Way, best_way, fastest_way, signature
from optrun.fused.products import product, sum_of_rows
from optrun.fused.tensor import RULES, each_member, is_stacked, members, physical, rule, stacked


class _Linear(torch.autograd.Function):
    """x [K, N, I], weight [K, O, I], bias [K, O] or None → [K, N, O].

    The products of a solo layer: forwards `addmm(bias, x, weight.t())`, backwards `grad.mm(weight)`, `grad.t().mm(x)`
    and `grad.sum(0)`, as torch's derivatives.yaml has them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return product(x, weight.transpose(1, 2), bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            product(grad, weight) if for_x else None,
            product(grad.transpose(1, 2), x) if for_weight else None,
            sum_of_rows(grad) if ctx.has_bias and for_bias else None,
        )


@rule(F.linear, torch._C._nn.linear)
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    if not is_stacked(weight) or Tensor.dim(weight) != 3 or (bias is not None and not is_stacked(bias)):
        return NotImplemented
    count, features = Tensor.size(weight, 0), Tensor.size(x, -1)
    one = physical(x)[0] if is_stacked(x) else x
    if one.dim() < 2 or (one.dim() > 2 and not one.is_contiguous()):
        return NotImplemented  # torch then multiplies in another way (aten/src/ATen/native/Linear.cpp)
    leading = one.shape[:-1]
    if is_stacked(x):
        rows = Tensor.reshape(x, (count, -1, features))
    else:
        rows = x.reshape(1, -1, features).expand(count, -1, -1)
    result = _Linear.apply(rows, physical(weight), physical(bias) if bias is not None else None)
    return stacked(result.view(count, *leading, -1))


@rule(F.conv1d, F.conv2d, F.conv3d, torch.conv1d, torch.conv2d, torch.conv3d)
def convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None, *arguments: Any, **settings: Any) -> Any:
    if not is_stacked(weight) or physical(weight).device.type == "cpu":
        return NotImplemented  # on a CPU the kernel of a grouped convolution sums in another order
    if not is_stacked(x) or _is_one_for_all(physical(x)):
        one = physical(x)[0] if is_stacked(x) else x
        return _grouped(one, weight, bias, *arguments, **settings)
    ways = convolutions(arguments, settings)
    given = (physical(x), physical(weight), None if bias is None else physical(bias))
    key = ("convolution", *map(signature, given), repr(arguments), repr(settings))
    way = fastest_way(key, ways, given)
    return _grouped(x, weight, bias, *arguments, **settings) if way is ways[0] else NotImplemented


def _is_one_for_all(x: Tensor) -> bool:
    """Whether all members have the same examples, [K, …], of which none wants a gradient."""
    return x.stride(0) == 0 and not x.requires_grad


@functools.cache
def _convolution(grouped: bool, arguments: tuple[Any, ...], settings: tuple[tuple[str, Any], ...]) -> Way:
    """A convolution of all members, forwards and backwards, to be timed: as one whose groups they are, or as many."""

    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> list[Tensor]:
        with torch.enable_grad(), torch._C.DisableTorchFunctionSubclass():
            wanted = [t.detach().requires_grad_() for t in (x, weight, bias) if t is not None]
            x, weight, bias = (*map(stacked, wanted), None)[:3]
            if grouped:
                result = physical(_grouped(x, weight, bias, *arguments, **dict(settings)))
            else:
                function = (F.conv1d, F.conv2d, F.conv3d)[Tensor.dim(weight) - 4]
                result = physical(each_member(function, (x, weight, bias, *arguments), dict(settings)))
            return list(torch.autograd.grad(result, wanted, torch.ones_like(result)))

    return apply


def convolutions(arguments: Sequence[Any], settings: Mapping[str, Any]) -> tuple[Way, Way]:
    """The two ways: one kernel has fewer calls, but cuDNN's kernels for groups are the slower ones for large layers."""
    frozen = tuple(map(_frozen, arguments)), tuple((key, _frozen(value)) for key, value in settings.items())
    return _convolution(True, *frozen), _convolution(False, *frozen)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _grouped(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """One convolution whose groups are the members: [K, N, C, …] as [N, K·C, …]."""
    count, spatial = Tensor.size(weight, 0), Tensor.dim(weight) - 3
    if is_stacked(x):
        inputs, groups = Tensor.transpose(x, 0, 1).flatten(1, 2), groups * count
    elif groups == 1:
        inputs = x  # all members see the same examples
    else:
        return NotImplemented
    convolve = (F.conv1d, F.conv2d, F.conv3d)[spatial - 1]
    biases = None if bias is None else physical(bias).flatten()
    result = convolve(inputs, physical(weight).flatten(0, 1), biases, stride, padding, dilation, groups)
    return stacked(result.view(len(result), count, -1, *result.shape[2:]).transpose(0, 1))


@rule(F.embedding)
def embedding(
    ids: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """One table of all members' rows; each member's indices begin where its rows do."""
    if not is_stacked(weight) or max_norm is not None or scale_grad_by_freq or sparse or padding_idx is not None:
        return NotImplemented
    count, rows, width = Tensor.size(weight)
    first = torch.arange(count, device=physical(weight).device) * rows
    inner = Tensor.dim(ids) - is_stacked(ids)
    return stacked(F.embedding(physical(ids) + first.view(-1, *(1,) * inner), physical(weight).reshape(-1, width)))


@rule(F.batch_norm)
def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """The channels of all members side by side: each channel has its own statistics anyway."""
    given = (running_mean, running_var, weight, bias)
    if not is_stacked(x) or any(tensor is not None and not is_stacked(tensor) for tensor in given):
        return NotImplemented
    mean, var, *affine = (None if tensor is None else physical(tensor) for tensor in given)
    way = _by_members  # evaluation is rare, and large
    if training:
        key = ("batch norm", signature(x), *(tensor is None for tensor in given))
        way = _WAYS[_TRIED.index(best_way(key, _TRIED, (physical(x), *affine)))]
    return stacked(way(physical(x), (mean, var), affine, (training, momentum, eps)))


_Pair = Sequence[Tensor | None]
"""Something of each channel, [K, C], and something else; either may be missing."""


def _side_by_side(x: Tensor, statistics: _Pair, affine: _Pair, settings: tuple[bool, float, float]) -> Tensor:
    """[K, N, C, …] as [N, K·C, …]."""
    whole = x.transpose(0, 1).flatten(1, 2)
    mean, var = (None if tensor is None else tensor.view(-1) for tensor in statistics)
    weight, bias = (None if tensor is None else tensor.reshape(-1) for tensor in affine)
    result = F.batch_norm(whole, mean, var, weight, bias, *settings)
    # Laid out as the members' results would be: the bits of what comes next can depend on it.
    return result.view(len(result), len(x), -1, *result.shape[2:]).transpose(0, 1).contiguous()


def _by_members(x: Tensor, statistics: _Pair, affine: _Pair, settings: tuple[bool, float, float]) -> Tensor:
    none = [None] * len(x)
    means, variances = (none if tensor is None else tensor.unbind() for tensor in statistics)
    weights, biases = (none if tensor is None else members(tensor) for tensor in affine)
    each = zip(members(x), means, variances, weights, biases)
    return torch.stack([F.batch_norm(*one, *settings) for one in each])


def _tried(way: Callable[..., Tensor]) -> Callable[..., list[Tensor]]:
    """What batch normalisation gives, forwards and backwards, with fresh statistics."""

    def apply(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> list[Tensor]:
        statistics = (x.new_zeros(len(x), x.shape[2]), x.new_ones(len(x), x.shape[2]))
        with torch.enable_grad():
            wanted = [t.detach().clone().requires_grad_() for t in (x, weight, bias) if t is not None]
            result = way(wanted[0], statistics, wanted[1:] or (None, None), (True, 0.1, 1e-5))
            found = torch.autograd.grad(result, wanted, x.detach().roll(1, 0))
        return [result.detach(), *statistics, *found]

    return apply


_WAYS = (_side_by_side, _by_members)
_TRIED = tuple(map(_tried, _WAYS))


def _example_by_example(function: Any) -> Callable[..., Any]:
    """A function that treats examples alone: those of all members are one batch."""

    def apply(x: Tensor, *arguments: Any, **settings: Any) -> Any:
        if any(isinstance(value, Tensor) for value in (*arguments, *settings.values())):
            return NotImplemented
        result = function(Tensor.flatten(x, 0, 1), *arguments, **settings)
        return stacked(result.view(Tensor.size(x, 0), -1, *result.shape[1:]))

    return apply


for _name in (
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "avg_pool1d", "avg_pool2d", "max_pool1d", "max_pool2d"),
    *("interpolate", "channel_shuffle", "pixel_shuffle"),
):
    for _place in (F, torch, torch._C._nn):
        if (_function := getattr(_place, _name, None)) is not None:
            RULES[_function] = _example_by_example(_function)


@rule(F.scaled_dot_product_attention)
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **settings: Any,
) -> Any:
    """[K, B, H, T, D] as [K·B, H, T, D]: every example and head is alone with itself."""
    if dropout_p or not all(map(is_stacked, (query, key, value))) or is_stacked(attn_mask):
        return NotImplemented
    q, k, v = (Tensor.flatten(tensor, 0, 1) for tensor in (query, key, value))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask, 0.0, is_causal, **settings)
    return stacked(mixed.view(Tensor.size(query, 0), -1, *mixed.shape[1:]))


@rule(F.layer_norm)
def layer_norm(
    x: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    """Without weights rows are alone with themselves; with them the kernel multiplies while it normalises."""
    if weight is None and bias is None:
        return stacked(F.layer_norm(physical(x), normalized_shape, None, None, eps))
    if not is_stacked(x):
        return NotImplemented
    affine = ([None] * Tensor.size(x, 0) if tensor is None else members(tensor) for tensor in (weight, bias))
    each = zip(members(x), *affine)
    return stacked(torch.stack([F.layer_norm(one, normalized_shape, w, b, eps) for one, w, b in each]))  # type: ignore[arg-type]


def _softmax(function: Any) -> Callable[..., Any]:
    def apply(x: Tensor, dim: int | None = None, *arguments: Any, **settings: Any) -> Any:
        if dim is None or arguments:
            return NotImplemented
        return stacked(function(physical(x), dim + 1 if dim >= 0 else dim, **settings))

    return apply


for _name in ("softmax", "log_softmax"):
    for _place in (F, torch, Tensor):
        _function = getattr(_place, _name)
        RULES[_function] = _softmax(_function)
