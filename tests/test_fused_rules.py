"""Every rule of the stack's table does for all members what the function does for each: outputs and gradients, bit for
bit. A function that is in the table and in no example here fails the last test."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import optrun.fused.rules
from optrun.fused import tensor as tensors
from optrun.fused.agreement import fastest_way
from optrun.fused.rules import elements
from optrun.fused.rules.chances import NativeDropout
from optrun.fused.rules.layers import convolutions
from optrun.fused.rules.losses import summed_like_nll, whatever_is_ignored
from optrun.fused.streams import Streams
from optrun.fused.tensor import RULES, CannotFuse, leaf, physical, stacked

MEMBERS = 5
Function = Callable[..., Any]


class Example:
    """A function of tensors, the shapes that a member's have, and whether they want gradients."""

    def __init__(
        self, function: Function, *shapes: tuple[int, ...], grads: bool = True, extremes: bool = False
    ) -> None:
        self.function, self.shapes, self.grads, self.extremes = function, shapes, grads, extremes

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", "example")


def by_name(
    places: tuple[Any, ...], names: tuple[str, ...], *shapes: tuple[int, ...], **more: Any
) -> Iterator[tuple[str, Example]]:
    for place in places:
        for name in names:
            if callable(function := getattr(place, name, None)):
                made = Example(_with_bounds(name, function), *shapes, **more)
                yield f"{getattr(place, '__name__', place)}.{name}", made


def _with_bounds(name: str, function: Function) -> Function:
    bounds = {"clamp": (-0.5, 0.5), "clamp_min": (0.1,), "clamp_max": (0.1,), "leaky_relu": (0.2,), "elu": (0.7,)}
    return lambda x, *others: function(x, *others, *bounds.get(name, ()))


def in_place(name: str, place: Any) -> Example:
    def apply(x: Tensor, *others: Tensor) -> Tensor:
        x = x.clone()
        getattr(place, name)(x, *(() if name in ("relu_", "zero_") else others))
        return x

    return Example(apply, (3, 8), (8,))


T, C = Tensor, torch
EXAMPLES: dict[str, Example] = {
    **dict(by_name((C, T, F, C._C._nn), elements.EXACT, (3, 7), extremes=True)),
    **dict(by_name((C, T, F, C._C._nn, C.special), elements.ROUNDED, (3, 7), extremes=True)),
    **{f"blocks.{k}": v for k, v in by_name((C, T, F, C._C._nn), elements.ROUNDED, (4, 8), extremes=True)},
    **dict(by_name((C, T), elements.EXACT_OF_TWO, (3, 7), (7,), extremes=True)),
    "operators": Example(lambda x, y: (x + y, y + x, x - y, x * y, x / y, 1 / x, 2 - x), (3, 7), (2, 3, 7)),
    "operators in place": Example(lambda x, y: operated(x.clone(), y), (3, 7), (7,)),
    **{f"{place.__name__}.{n}": in_place(n, place) for n in elements.IN_PLACE for place in (C, T) if hasattr(place, n)},
    "inplace": Example(lambda x: F.relu(x.clone(), inplace=True), (3, 7)),
    "scalars": Example(lambda x: 1 - 2 * x / 3 + x, (3, 7)),
    "shape": Example(lambda x: x.new_zeros(x.shape[0], x.size(1), x.dim(), x.ndim, x.numel(), len(x)), (3, 7)),
    "queries": Example(
        lambda x: (
            x
            * sum(
                [
                    *(
                        x.dtype == torch.float32,
                        x.device.type == "cpu",
                        x.layout == torch.strided,
                        x.is_leaf,
                        x.is_cuda,
                    ),
                    *(
                        x.requires_grad,
                        x.grad_fn is None,
                        x.is_sparse,
                        x.is_quantized,
                        x.is_mkldnn,
                        x.is_nested,
                        x.is_mps,
                    ),
                    *(
                        x.is_meta,
                        x.is_floating_point(),
                        torch.is_floating_point(x),
                        x.is_complex(),
                        torch.is_complex(x),
                    ),
                    *(x.size() == x.shape, torch.numel(x) == x.numel()),
                ]
            )
        ),
        (3, 7),
    ),
    "view": Example(lambda x: x.view(6, -1).view((2, 3, 7)), (3, 2, 7)),
    "view_as": Example(lambda x, y: x.view_as(y) * x.reshape_as(y), (3, 2, 7), (6, 7)),
    "reshape": Example(lambda x: x.transpose(0, 1).reshape(-1, 7) * torch.reshape(x, (6, 7)), (3, 2, 7)),
    "flatten": Example(lambda x: x.flatten(1) * torch.flatten(x, 1, 2), (3, 2, 7)),
    "flatten nothing": Example(lambda x: x.sum().flatten(), (3, 7), grads=False),
    "transpose": Example(
        lambda x: x.transpose(0, 2) + torch.transpose(x, 0, -1) + x.swapaxes(2, 0) + torch.swapaxes(x, 0, 2), (3, 2, 7)
    ),
    "permute": Example(lambda x: x.permute(2, 0, 1) + torch.permute(x, (-1, 0, 1)), (3, 2, 7)),
    "t": Example(lambda x: x.t() + torch.t(x) + x.mT, (3, 7)),
    "squeeze": Example(
        lambda x: x.unsqueeze(1).squeeze(1) + torch.squeeze(torch.unsqueeze(x, -1), -1) + x.unsqueeze(0).squeeze(),
        (3, 7),
    ),
    "split": Example(
        lambda x: [
            *x.unbind(1),
            *torch.unbind(x),
            *x.chunk(2),
            *torch.chunk(x, 2, 1),
            *x.split(2),
            *torch.split(x, 1, 0),
        ],
        (4, 6),
    ),
    "expand": Example(lambda x: x.expand(2, 3, 7) + x.expand((2, -1, 7)), (3, 7)),
    "cat": Example(
        lambda x, y: (torch.cat([x, y], 1), torch.concat((x, y)), torch.stack([x, y], 1), torch.stack((x, y))),
        (3, 7),
        (3, 7),
    ),
    "getitem": Example(lambda x: (x[0], x[:, 1:], x[..., -1], x[None, 2], x[torch.tensor([0, 2])]), (3, 7)),
    "linear": Example(F.linear, (6, 8), (3, 8), (3,)),
    "linear of much": Example(F.linear, (64, 64), (128, 64), (128,)),
    "linear without bias": Example(lambda x, w: torch._C._nn.linear(x, w), (2, 5, 7), (3, 7)),
    "linear on the same": Example(lambda w, b: F.linear(SAME.to(w.dtype), w, b), (3, 7), (3,)),
    "linear of columns": Example(lambda x, w, b: F.linear(x.transpose(0, 1), w, b), (5, 6, 8), (3, 8), (3,)),
    "linear of one": Example(lambda x, w, b: F.linear(x[0], w, b), (6, 8), (3, 8), (3,)),
    "conv1d": Example(
        lambda x, w, b: F.conv1d(x, w, b, padding=1) + torch.conv1d(x, w, b, 1, 1), (2, 3, 9), (4, 3, 3), (4,)
    ),
    "conv2d": Example(
        lambda x, w, b: F.conv2d(x, w, b, stride=2) + torch.conv2d(x, w, b, 2), (2, 3, 9, 9), (4, 3, 3, 3), (4,)
    ),
    "conv3d": Example(lambda x, w: F.conv3d(x, w) + torch.conv3d(x, w), (2, 3, 5, 5, 5), (4, 3, 3, 3, 3)),
    "embedding": Example(lambda w: F.embedding(torch.tensor([[0, 4], [4, 2]]), w), (5, 7)),
    "batch_norm": Example(
        lambda x, m, v, w, b: (F.batch_norm(x, m.detach(), v.detach().abs(), w, b), normalised(x, m, v, w, b)),
        *((6, 5), (5,), (5,), (5,), (5,)),
    ),
    "batch_norm of images": Example(
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (6, 32, 4, 4), (32,), (32,)
    ),
    "pooling": Example(
        lambda x: (
            *(F.max_pool2d(x, 2), torch.max_pool2d(x, 2), F.avg_pool2d(x, 2), F.adaptive_avg_pool2d(x, 1)),
            *(F.interpolate(x, scale_factor=2.0), F.channel_shuffle(x, 2), torch.channel_shuffle(x, 2)),
            *(F.pixel_shuffle(x, 2), torch.pixel_shuffle(x, 2), torch._C._nn.avg_pool2d(x, 2)),
            *(torch._C._nn.adaptive_avg_pool2d(x, [2, 2]),),
        ),
        (3, 4, 6, 6),
    ),
    "pooling in a row": Example(
        lambda x: (
            *(F.max_pool1d(x, 2), torch.max_pool1d(x, 2), F.avg_pool1d(x, 2), torch.avg_pool1d(x, 2)),
            *(F.adaptive_avg_pool1d(x, 3), torch.adaptive_avg_pool1d(x, 3)),
        ),
        (3, 4, 6),
    ),
    "attention": Example(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        (2, 3, 8, 4),
        (2, 3, 8, 4),
        (2, 3, 8, 4),
    ),
    "layer_norm": Example(lambda x, w, b: F.layer_norm(x, (7,), w, b) + F.layer_norm(x, (7,)), (4, 7), (7,), (7,)),
    "softmax": Example(
        lambda x: (
            *(F.softmax(x, 1), torch.softmax(x, 1), x.softmax(-1)),
            *(F.log_softmax(x, 0), torch.log_softmax(x, 0), x.log_softmax(1)),
        ),
        (4, 7),
    ),
    "cross_entropy": Example(
        lambda x: F.cross_entropy(x, CLASSES) + F.cross_entropy(x, CLASSES, reduction="sum"), (70, 10)
    ),
    "cross_entropy of many classes": Example(lambda x: F.cross_entropy(x, CLASSES), (70, 40)),
    "cross_entropy where some are ignored": Example(lambda x: F.cross_entropy(x, CLASSES, ignore_index=3), (70, 10)),
    "cross_entropy with weights": Example(
        lambda x: F.cross_entropy(x, CLASSES, torch.arange(10.0).to(x.dtype)), (70, 10)
    ),
    "mse_loss": Example(
        lambda x, y: F.mse_loss(x, y.detach()) + F.mse_loss(x, y.detach(), reduction="sum"), (9, 3), (9, 3)
    ),
    "mse_loss that broadcasts": Example(lambda x, y: F.mse_loss(x, y), (9, 3), (9, 3)),
    "loops": Example(
        lambda x: (x.cumsum(1), x.logsumexp(1), x.sort(1).values, x.var(1), torch.fft.rfft(x).abs()), (4, 7)
    ),
}
EXTREMES = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e-40, 1.0, -1.0, 3.0, 6.0, -3.0, 0.5])
SAME = torch.randn(6, 7, generator=torch.Generator().manual_seed(3))
CLASSES = torch.arange(70) * 7 % 10


def operated(x: Tensor, y: Tensor) -> Tensor:
    x += y
    x -= 2 * y
    x *= 3
    x /= y
    return x


def normalised(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> Any:
    mean, var = mean.detach().clone(), var.detach().clone().abs() + 1
    return F.batch_norm(x, mean, var, weight, bias, True, 0.1), mean, var


def given(example: Example, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(MEMBERS, *shape, generator=generator, dtype=dtype) for shape in example.shapes]
    if example.extremes:
        inputs[0].view(-1)[::7] = EXTREMES.repeat(inputs[0].numel())[: len(inputs[0].view(-1)[::7])].to(dtype)
    return inputs


def results(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [each for item in value for each in results(item)]


def with_gradients(example: Example, function: Function, inputs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    found = results(function(*inputs))
    with torch._C.DisableTorchFunctionSubclass():
        plain = [physical(each) for each in found]
        differentiable = [each for each in plain if each.requires_grad and each.is_floating_point()]
        if not (example.grads and differentiable):
            return plain, []
        weights = [torch.linspace(-1, 1, each[0].numel(), dtype=each.dtype).view_as(each[0]) for each in differentiable]
        grads = [weight.expand_as(each).contiguous() for weight, each in zip(weights, differentiable)]
        gradients = torch.autograd.grad(differentiable, inputs, grads, allow_unused=True)
    return plain, [each for each in gradients if each is not None]


def one(example: Example, inputs: list[Tensor], member: int) -> tuple[list[Tensor], list[Tensor]]:
    own = [each[member].clone().requires_grad_() for each in inputs]
    outputs, gradients = with_gradients(
        example, lambda *x: [r.unsqueeze(0) for r in results(example.function(*x))], own
    )
    return [each[0] for each in outputs], gradients


@pytest.fixture(autouse=True)
def hit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which functions of the table have been called."""

    class Heard(dict[Any, Any]):
        def get(self, key: Any, default: Any = None) -> Any:
            HIT.add(key)
            return super().get(key, default)

    monkeypatch.setattr(tensors, "RULES", Heard(RULES))


HIT: set[Any] = set()


def check(example: Example, dtype: torch.dtype) -> None:
    inputs = given(example, dtype)
    leaves = [leaf(each.clone()) for each in inputs]
    found, gradients = with_gradients(example, example.function, leaves)
    for member in range(MEMBERS):
        wanted, wanted_gradients = one(example, inputs, member)
        for result, expected in zip(found, wanted, strict=True):
            assert same(result[member] if result.dim() > expected.dim() else result, expected)
        for gradient, expected in zip(gradients, wanted_gradients, strict=True):
            assert same(physical(gradient)[member], expected)


def same(one: Tensor, other: Tensor) -> bool:
    """The same bits; a square root of -1 too."""
    one, other = one.detach().contiguous(), other.detach().contiguous()
    return one.shape == other.shape and one.numpy().tobytes() == other.numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_rule_is_what_each_member_would_have(name: str, dtype: torch.dtype) -> None:
    check(EXAMPLES[name], dtype)


CHANCES: dict[str, Function] = {
    "dropout": lambda x: F.dropout(x, 0.3) + torch.dropout(x, 0.2, True),
    "no dropout": lambda x: F.dropout(x, 0.3, training=False),
    "dropout in place": lambda x: F.dropout(x.clone(), 0.3, inplace=True),
    "alpha_dropout": lambda x: F.alpha_dropout(x, 0.3, True) + F.feature_alpha_dropout(x, 0.3, True),
    "dropouts": lambda x: F.dropout1d(x, 0.3) + F.dropout2d(x[..., None], 0.3)[..., 0] + F.dropout3d(x[None], 0.3)[0],
    "rrelu": lambda x: F.rrelu(x, training=True) + F.rrelu(x),
    "draws": lambda x: (torch.bernoulli(x.sigmoid()), torch.rand_like(x), torch.randn_like(x), torch.poisson(x.abs())),
    "more draws": lambda x: (torch.randint_like(x, 9), F.gumbel_softmax(x, dim=1)),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.2),
}


@pytest.mark.filterwarnings("ignore:dropout")
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", CHANCES)
def test_members_draw_from_their_own_streams(name: str, shared: bool) -> None:
    """Twice in a row, so that the streams are also left where they would be."""
    example = Example(CHANCES[name], (2, 4, 8))
    states = [torch.Generator().manual_seed(0 if shared else seed).get_state() for seed in range(MEMBERS)]
    streams, inputs = Streams(states), given(example, torch.float32)
    own = torch.get_rng_state()
    found = []
    for _ in range(2):
        with streams.drawn_from():
            found += [physical(each) for each in results(example.function(*map(stacked, inputs)))]
    assert torch.equal(torch.get_rng_state(), own)
    for member, state in enumerate(states):
        torch.set_rng_state(state)
        wanted = [each for _ in range(2) for each in results(example.function(inputs[0][member].clone()))]
        assert all(torch.equal(result[member], expected) for result, expected in zip(found, wanted, strict=True))
        assert torch.equal(streams.state(member), torch.get_rng_state())


@pytest.mark.parametrize("shared", [False, True])
def test_dropout_of_a_gpu_is_drawn_by_its_own_kernel(shared: bool) -> None:
    """Here by the one that a CPU has under that name."""
    inputs = torch.randn(MEMBERS, 6, 7)
    states = [torch.Generator().manual_seed(0 if shared else seed).get_state() for seed in range(MEMBERS)]
    streams, own = Streams(states), torch.get_rng_state()
    stack = inputs.clone().requires_grad_()
    with streams.drawn_from():
        found = [NativeDropout.apply(stack, p) for p in (0.1, 0.3)]
    (found[0] + found[1]).backward(inputs)
    assert torch.equal(torch.get_rng_state(), own)
    for member, state in enumerate(states):
        torch.set_rng_state(state)
        x = inputs[member].clone().requires_grad_()
        wanted = [torch.native_dropout(x, p, True)[0] for p in (0.1, 0.3)]
        (wanted[0] + wanted[1]).backward(inputs[member])
        assert all(torch.equal(result[member], expected) for result, expected in zip(found, wanted))
        assert torch.equal(stack.grad[member], x.grad)
        assert torch.equal(streams.state(member), torch.get_rng_state())


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("channels", [(3, 4, 1), (4, 6, 2)], ids=str)
def test_convolutions_of_a_gpu_are_one_with_groups_or_many(channels: tuple[int, int, int], biased: bool) -> None:
    """Which, is measured; both are the same but for rounding."""
    inside, outside, groups = channels
    x, bias = torch.randn(MEMBERS, 2, inside, 9, 9), torch.randn(MEMBERS, outside) if biased else None
    weight = torch.randn(MEMBERS, outside, inside // groups, 3, 3)
    ways = convolutions((2, [1, 1]), {"groups": groups})
    one, many = (way(x, weight, bias) for way in ways)
    assert len(one) == len(many) == 2 + biased
    for each, other in zip(one, many):
        torch.testing.assert_close(each, other)
    assert fastest_way(("a test", groups, biased), ways, (x, weight, bias)) in ways


@pytest.mark.parametrize("mean", [False, True])
def test_cross_entropy_of_a_gpu_need_not_know_what_is_ignored(mean: bool) -> None:
    scores = torch.randn(MEMBERS, 70, 10, dtype=torch.float64)
    targets = torch.stack([(CLASSES + member) % 10 for member in range(MEMBERS)])
    targets[-1] = 3  # all of them
    found = whatever_is_ignored(scores, targets, 3, mean)
    wanted = [
        F.cross_entropy(*one, ignore_index=3, reduction="mean" if mean else "sum") for one in zip(scores, targets)
    ]
    torch.testing.assert_close(found, torch.stack(wanted), equal_nan=True)


def called(function: Any) -> str:
    """Of one name are functions that pass each other on, as torch.nn.functional.tanh does to Tensor.tanh."""
    return str(getattr(function, "__name__", function))


def test_every_rule_has_an_example() -> None:
    """Whatever is in the table has been called by the examples, here or in another process."""
    for name, example in EXAMPLES.items():
        if "blocks" not in name:
            check(example, torch.float32)
    for function in CHANCES.values():
        states = [torch.Generator().manual_seed(seed).get_state() for seed in range(MEMBERS)]
        x = stacked(torch.randn(MEMBERS, 2, 4, 8))
        with Streams(states).drawn_from():
            function(x)
    assert not {called(key) for key in RULES} - {called(key) for key in HIT}
    assert optrun.fused.rules


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("count", [1, 2, 16, 17, 18, 33, 64, 257, 258, 4113, 4114, 70_000])
def test_sums_in_the_order_of_nll_loss(count: int, dtype: torch.dtype) -> None:
    for members in (1, 3):
        values = torch.randn(members, count, generator=torch.Generator().manual_seed(count), dtype=dtype)
        classes = torch.zeros(count, dtype=torch.int64)
        wanted = [F.nll_loss(row.unsqueeze(1), classes, reduction="sum") for row in values]
        assert torch.equal(-summed_like_nll(values), torch.stack(wanted))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x.numpy(),
        lambda x: x[x > 0],
        lambda x: x.cumsum_(0),
    ],
    ids=["item", "bool", "numpy", "mask", "in place"],
)
def test_what_members_cannot_have_in_common(function: Function) -> None:
    with pytest.raises(CannotFuse):
        function(stacked(torch.randn(MEMBERS, 4)))


def test_one_tensor_stays_one() -> None:
    """Attention of torch.nn asks whether `key is value`, and takes another path then."""
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.randn(MEMBERS, 3, 5, 8)
    found = physical(functools.partial(attention, need_weights=False)(*(stacked(x),) * 3)[0])
    for member in range(MEMBERS):
        own = x[member].clone()
        assert torch.equal(found[member], attention(own, own, own, need_weights=False)[0])
