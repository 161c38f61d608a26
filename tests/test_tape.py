"""What is replayed is what was computed, for any numbers; what could be computed otherwise is not replayed."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch
from experiments import DIGITS_MLP, write_config
from torch import Tensor, nn
from torch.nn import functional as F

from optrun.config.loading import load
from optrun.training.loop import fit
from optrun.training.preparation import prepare_run
from optrun.training.state import State
from optrun.training.tape import CannotRecord, Differs, Tape, decided, opaque, refuse, takes_out
from optrun.training.tapes import can_be_recorded

MLP = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def losses_and_gradients(x: Tensor, y: Tensor) -> list[Tensor]:
    loss = F.cross_entropy(MLP(x), y)
    return [loss.detach(), *torch.autograd.grad(loss, list(MLP.parameters()))]


def batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 6, generator=generator), torch.randint(3, (4,), generator=generator)


def equal(some: object, others: object) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))  # type: ignore[call-overload]


def test_a_tape_computes_the_same_from_other_inputs_and_other_weights() -> None:
    tape, results = Tape.record(losses_and_gradients, batch(0), MLP.parameters())
    assert equal(results, losses_and_gradients(*batch(0)))
    with torch.no_grad():
        for parameter in MLP.parameters():
            parameter.mul_(0.5)
    assert equal(tape(*batch(1)), losses_and_gradients(*batch(1)))


def test_what_nobody_needs_is_not_computed() -> None:
    tape, _ = Tape.record(lambda x: [x.exp().sum() * 0 + 1, x + 1][1:], [torch.ones(2)], [])
    assert tape.source.splitlines()[1:-1] == [line for line in tape.source.splitlines() if " = " in line]
    assert tape.source.count(" = ") == 1


def test_random_numbers_are_drawn_even_if_nobody_needs_them() -> None:
    tape, _ = Tape.record(lambda x: [torch.rand_like(x) * 0, x + torch.rand_like(x)][1:], [torch.ones(2)], [])
    torch.manual_seed(0)
    (found,) = tape(torch.zeros(2))
    torch.manual_seed(0)
    torch.rand(2)
    assert torch.equal(found, torch.rand(2))


def test_buffers_are_written_into() -> None:
    norm = nn.BatchNorm1d(6)
    tape, _ = Tape.record(lambda x: [norm(x)], [batch(0)[0]], [*norm.parameters(), *norm.buffers()])
    tape(batch(1)[0])
    assert int(norm.num_batches_tracked) == 2  # type: ignore[arg-type]
    other = nn.BatchNorm1d(6)
    for seed in (0, 1):
        other(batch(seed)[0])
    assert equal(norm.buffers(), other.buffers())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: [x + 1 if x.sum() > 0 else x],
        lambda x: [x * x.sum().item()],
        lambda x: [x[x > 0]],
        lambda x: [x + torch.tensor([1.0, 2.0])],
        lambda x: [x + torch.from_numpy(numpy.ones(2, "f4"))],
        lambda x: [torch.from_numpy(x.numpy() + 1)],
        lambda x: [x.to_sparse().to_dense()],
        lambda x: [refuse("it is no good")],
        lambda x: [x + decided(lambda t: bool(t.any()), x + 1)],
    ],
)
def test_what_could_be_computed_otherwise_is_refused(function: object) -> None:
    with pytest.raises(CannotRecord):
        Tape.record(function, [torch.ones(2)], [])  # type: ignore[arg-type]


def test_what_python_decides_is_decided_again() -> None:
    tape, _ = Tape.record(lambda x: [x + decided(lambda t: bool((t > 2).any()), x.view(1, 2))], [torch.ones(2)], [])
    assert equal(tape(torch.zeros(2)), [torch.zeros(2)])
    with pytest.raises(Differs):
        tape(torch.full((2,), 3.0))


def test_what_is_computed_outside_of_torch_is_computed_again() -> None:
    def doubled(x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() * 2)

    tape, _ = Tape.record(lambda x: [opaque(doubled, x + 1)], [torch.ones(2)], [])
    assert equal(tape(torch.zeros(2)), [torch.full((2,), 2.0)])


def test_what_is_only_copied_to_a_place_is_computed_there() -> None:
    """A product and a sum are; what is needed elsewhere beside, or cannot be computed into a place, is copied."""
    places = [torch.zeros(3, 3), torch.zeros(3), torch.zeros(3, 3)]

    def compute(x: Tensor) -> list[Tensor]:
        product = x @ x
        torch._foreach_copy_(places, [product, x.sum(0), x.exp()])
        return [product + 1]

    tape, _ = Tape.record(compute, [torch.ones(3, 3)], places)
    assert tape.source.count("out=") == 2
    x = torch.arange(9.0).view(3, 3)
    (found,) = tape(x)
    assert equal([found, *places], [x @ x + 1, x @ x, x.sum(0), x.exp()])


def test_what_is_copied_to_two_places_is_computed_once() -> None:
    places = [torch.zeros(3, 3), torch.zeros(3, 3)]

    @takes_out
    def doubled(x: Tensor, out: Tensor | None = None) -> tuple[Tensor]:
        return (torch.from_numpy(x.numpy() * 2) if out is None else out.copy_(x * 2),)

    def compute(x: Tensor) -> list[Tensor]:
        (product,) = opaque(doubled, x)
        torch._foreach_copy_(places, [product, product])
        return [x + 1]

    tape, _ = Tape.record(compute, [torch.ones(3, 3)], places)
    assert tape.source.count("out=") == 1
    x = torch.arange(9.0).view(3, 3)
    tape(x)
    assert equal(places, [x * 2, x * 2])


class Counting(nn.Module):
    """A user's module: nobody knows what its Python does."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class UsersSGD(torch.optim.SGD):
    """It could put other tensors in the place of weights."""


def hooked() -> nn.Module:
    linear = nn.Linear(1, 1)
    linear.register_forward_hook(lambda *_: None)
    return linear


def overridden() -> nn.Module:
    linear = nn.Linear(1, 1)
    linear.forward = lambda x: x  # type: ignore[method-assign]
    return linear


def expanded() -> nn.Module:
    linear = nn.Linear(1, 1)
    linear.register_buffer("mask", torch.zeros(1).expand(8))
    return linear


class UsersLinear(nn.Linear):
    """Made into a class of torch's by a parametrization."""


UNKNOWN = {
    "a user's module": Counting,
    "a hook": hooked,
    "another forward": overridden,
    "a user's module, parametrized": lambda: nn.utils.parametrizations.weight_norm(UsersLinear(1, 1)),
    "a user's activation": lambda: nn.TransformerEncoderLayer(4, 1, 4, activation=lambda x: x),
    "a scripted module": lambda: torch.jit.script(nn.Linear(1, 1)),
    "weights that are written into": lambda: nn.Embedding(3, 2, max_norm=1.0),
    "a buffer that is no place of its own": expanded,
}


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_not_recorded(name: str) -> None:
    assert not can_be_recorded(nn.Sequential(MLP, UNKNOWN[name]()), nn.CrossEntropyLoss(), [])


def test_what_is_torchs_is_recorded() -> None:
    known = nn.Sequential(MLP, nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))
    assert can_be_recorded(known, nn.CrossEntropyLoss(), [torch.optim.SGD(known.parameters())])
    assert not can_be_recorded(known, lambda outputs, targets: outputs.sum(), [])
    assert not can_be_recorded(known, nn.CrossEntropyLoss(), [UsersSGD(known.parameters())])


def tapes_of(directory: Path, changes: dict[str, object]) -> list[bool]:
    """Whether each kind of batch of a short training was recorded."""
    config = write_config(directory / "config.yaml", {**DIGITS_MLP, "steps": 50, **changes})
    spec, state, batches = prepare_run(load(config))
    for _ in fit(state, batches, spec):
        pass
    return kinds(state)


def kinds(state: State) -> list[bool]:
    tapes = state.passes._tapes
    return [] if tapes is None else [tape is not None for tape in tapes._tapes.values()]


@pytest.mark.parametrize(
    ("changes", "recorded"),
    [
        ({}, {True}),
        ({"optimizer": {"name": "LBFGS", "lr": 0.01}}, {True}),
        ({"accumulate": 3}, {True}),
        ({"accumulate": 2, "optimizer": {"name": "SGD", "lr": 0.1, "foreach": True}}, {True, False}),
        ({"precision": "fp64"}, {True}),
        ({"precision": "bf16"}, {False}),
    ],
)
def test_runs_are_replayed_where_they_can_be(changes: dict[str, object], recorded: set[bool], tmp_path: Path) -> None:
    assert set(tapes_of(tmp_path, changes)) == recorded
