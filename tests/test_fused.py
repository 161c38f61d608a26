"""Runs that train as one do what each of them does alone, bit for bit. What they are compared with is held to the
hand-written loop by test_truth.py.

Parametrized over the registries: an optimizer or a scheduler that a new torch brings is tried without being listed.
`python tests/fused_matrix.py` tries everything with everything.
"""

from __future__ import annotations

from typing import Any

import pytest
from experiments import DIGITS_MLP
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from stacking import alone, as_one, differences, members_of, specs
from test_truth import SCHEDULERS

from optrun.components import registry
from optrun.fused.grouping import ALONE, TOGETHER
from optrun.fused.loop import fit
from optrun.fused.probe import Probe
from optrun.fused.stack import Stack
from optrun.fused.tensor import CannotFuse
from optrun.training.numerics import numerics
from optrun.training.preparation import load_data
from optrun.training.state import State

Config = dict[str, Any]

MLP: Config = {
    **DIGITS_MLP,
    "epochs": 2,
    "dataset": {"name": "digits", "batch_size": 200},
    "model": {"name": "mlp", "hidden": [33, 16], "dropout": 0.2, "batch_norm": True},
    "metrics": ["accuracy"],
}
"""16 steps; a width that fills no register, and a last batch of 37."""

OPTIMIZERS: dict[str, list[Config]] = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.07, "momentum": 0.9, "weight_decay": 0.001},
        {"lr": 0.05, "momentum": 0.8, "nesterov": True},
        {"lr": 0.05, "momentum": 0.8, "dampening": 0.3},
        {"lr": 1e-4, "maximize": True},
    ],
    "Adam": [{"lr": 0.01}, {"betas": [0.8, 0.95], "weight_decay": 0.01}, {"amsgrad": True, "eps": 1e-6}],
    "AdamW": [{"lr": 0.01}, {"betas": [0.8, 0.95]}, {"amsgrad": True, "weight_decay": 0}, {"maximize": True}],
    "RMSprop": [{"lr": 0.003}, {"alpha": 0.9, "weight_decay": 0.01}, {"lr": 0.001, "centered": True, "momentum": 0.9}],
    "Adagrad": [{"lr": 0.02}, {"lr": 0.02, "lr_decay": 0.01}, {"weight_decay": 0.01, "initial_accumulator_value": 0.1}],
    "Adadelta": [{}, {"lr": 0.5, "rho": 0.8}, {"weight_decay": 0.01}],
    "Adamax": [{}, {"lr": 0.01, "betas": [0.8, 0.99]}, {"weight_decay": 0.01}],
    "RAdam": [{}, {"lr": 0.02, "betas": [0.8, 0.99]}, {"weight_decay": 0.01, "decoupled_weight_decay": True}],
    "NAdam": [{}, {"lr": 0.01, "momentum_decay": 0.01}],
    "ASGD": [{}, {"lr": 0.1, "t0": 5}],
    "Rprop": [{}, {"lr": 0.02}],
    "Adafactor": [{}, {"lr": 0.05}],
    "Muon": [{"lr": 0.02, "fallback": {"name": "AdamW", "lr": 0.003}}],
}
"""Settings of the members of a stack."""

CLIPS: list[Config] = [
    {},
    {"clip_norm": 0.3},
    {"clip_norm": float("inf")},
    {"clip_value": 0.01},
    {"clip_norm": 0.7, "clip_value": 0.02},
]


def changed(optimizers: list[Config], **more: Any) -> list[Config]:
    """A member for each optimizer and each kind of clipping, with seeds in turn."""
    every = [(optimizer, clip) for optimizer in optimizers for clip in CLIPS]
    return [{"optimizer": optimizer, "seed": i % 3, **clip, **more} for i, (optimizer, clip) in enumerate(every)]


def test_every_optimizer_of_torch_is_fused_or_said_not_to_be() -> None:
    names = {name for name in registry.optimizers.names() if "." not in name}
    assert set(OPTIMIZERS) == {*TOGETHER, *ALONE}
    assert names - set(OPTIMIZERS) == {"LBFGS", "SparseAdam"}


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str, precision: str) -> None:
    chosen = [{"name": name, **settings} for settings in OPTIMIZERS[name]]
    assert differences({**MLP, "precision": precision}, changed(chosen)) == []


def test_all_optimizers_in_one_stack() -> None:
    chosen = [{"name": name, **settings} for name, every in OPTIMIZERS.items() for settings in every]
    changes = [{"optimizer": optimizer, "seed": i % 2, **CLIPS[i % 5]} for i, optimizer in enumerate(chosen)]
    assert differences(MLP, changes) == []


def test_groups_of_parameters() -> None:
    def grouped(**group: Any) -> Config:
        return {"optimizer": {"name": "AdamW", "lr": 0.01, "param_groups": [group]}}

    changes = [
        {"optimizer": {"name": "AdamW", "lr": 0.01}},
        grouped(match="bias", weight_decay=0),
        grouped(match="1d", lr=0.1),
        {"optimizer": {"name": "SGD", "lr": 0.1, "param_groups": [{"match": "bias", "momentum": 0.9}]}},
    ]
    assert differences(MLP, [{**change, "clip_norm": 0.5} for change in changes]) == []


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers(name: str) -> None:
    chosen = [{"name": name, **settings} for settings, _ in SCHEDULERS[name]]
    optimizers = [{"name": "SGD", "lr": 0.1, "momentum": 0.9}, {"name": "Adam", "lr": 0.01}, {"name": "NAdam"}]
    changes = [
        {"optimizer": optimizer, "scheduler": scheduler, "seed": seed}
        for optimizer in optimizers
        for scheduler in [*chosen, None]
        for seed in (0, 1)
    ]
    assert differences({**MLP, "epochs": 5, "dataset": {"name": "digits", "batch_size": 256}}, changes) == []


FEW = [
    {"optimizer": {"name": "SGD", "lr": 0.05, "momentum": 0.9}, "clip_norm": 0.3, "seed": 0},
    {"optimizer": {"name": "Adam", "lr": 0.01}, "seed": 1},
    {"optimizer": {"name": "Adam", "lr": 0.003}, "clip_value": 0.01, "seed": 1},
    {"optimizer": {"name": "RAdam", "lr": 0.01}, "clip_norm": 1.0, "seed": 0},
]
TEXT = {"epochs": None, "steps": 6, "dataset": {"name": "pydocs", "batch_size": 16}}
MODELS: dict[str, Config] = {
    "linear": {"model": "linear"},
    "mlp": {"model": {"name": "mlp", "hidden": [7]}},
    "mlp of one": {"model": {"name": "mlp", "hidden": [1]}},
    "wide mlp": {"model": {"name": "mlp", "hidden": [128, 64], "dropout": 0.1, "batch_norm": True}},
    "cnn": {"model": {"name": "cnn", "channels": [4, 8], "dropout": 0.1}},
    "cnn with batch norm": {"model": {"name": "cnn", "channels": [4, 8], "batch_norm": True}},
    "transformer": {**TEXT, "model": {"name": "transformer", "dim": 16, "depth": 1, "heads": 2}},
    "transformer with dropout": {**TEXT, "model": {"name": "transformer", "dim": 16, "heads": 2, "dropout": 0.1}},
    "embedding_bag": {
        "epochs": None,
        "steps": 6,
        "dataset": {"name": "pydocs_topics", "batch_size": 64},
        "model": {"name": "embedding_bag", "dim": 16, "dropout": 0.1},
    },
    "regression": {
        "dataset": {"name": "diabetes", "batch_size": 30},
        "model": {"name": "mlp", "hidden": [5]},
        "loss": "mse",
        "metrics": ["mae"],
    },
    "wine": {"dataset": {"name": "wine", "batch_size": 7}, "model": {"name": "mlp", "hidden": [33]}},
    "moons": {"dataset": {"name": "moons", "batch_size": 32}, "model": {"name": "mlp", "hidden": [32, 32]}},
}


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, precision: str) -> None:
    assert differences({**MLP, "precision": precision, **MODELS[name]}, FEW) == []


@pytest.mark.parametrize("activation", ["GELU", "Tanh", "SiLU", "Softplus", "PReLU", "Hardswish", "LogSigmoid"])
def test_activations(activation: str) -> None:
    assert differences({**MLP, "model": {"name": "mlp", "hidden": [33], "activation": activation}}, FEW) == []


LOSSES: list[Any] = [
    {"name": "cross_entropy", "label_smoothing": 0.1},
    {"name": "cross_entropy", "weight": [1, 2, 3, 1, 1, 1, 1, 1, 1, 0.5]},
    {"name": "cross_entropy", "reduction": "sum"},
    "multi_margin",
    "bce_with_logits",
    "mse",
]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_losses(loss: Any) -> None:
    few = [{**change, "optimizer": {**change["optimizer"], "lr": 1e-3}} for change in FEW]
    assert differences({**MLP, "loss": loss}, few) == []


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_sizes_of_stacks(count: int) -> None:
    names = ["SGD", "Adam", "RMSprop"]
    changes = [
        {"optimizer": {"name": names[i % 3], "lr": 0.001 * (i + 1)}, "seed": i % 5, **CLIPS[i % 5]}
        for i in range(count)
    ]
    assert differences({**MLP, "epochs": 1}, changes) == []


@pytest.mark.parametrize("accumulate", [2, 3])
def test_accumulation(accumulate: int) -> None:
    config = {**MLP, "dataset": {"name": "digits", "batch_size": 60}, "accumulate": accumulate}
    assert differences(config, FEW) == []


@pytest.mark.parametrize("kept", [0.0, 0.8])
def test_lengths_differ_and_the_stack_grows_smaller(kept: float) -> None:
    changes = [{"epochs": epochs, "scheduler": "CosineAnnealingLR", **change} for epochs in (1, 3, 2) for change in FEW]
    assert differences({**MLP, "epochs": None}, changes, kept) == []


@pytest.mark.parametrize("kept", [0.0, 0.8])
def test_members_that_diverge_touch_no_other(kept: float) -> None:
    changes = [
        {"optimizer": {"name": name, "lr": lr}, "seed": seed}
        for name in ("SGD", "Adam")
        for lr in (0.01, 1e20, 0.03, 1e30)
        for seed in (0, 1)
    ]
    assert differences(MLP, changes, kept) == []


def test_members_that_diverge_are_found_when_losses_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device that no step waits for, alone and as one."""
    made = State.__post_init__

    def late(state: State) -> None:
        made(state)
        state.checks_every_loss = False

    monkeypatch.setattr(State, "__post_init__", late)
    changes = [
        {"optimizer": {"name": name, "lr": lr}, "seed": seed}
        for name in ("SGD", "Adam")
        for lr in (0.01, 1e20, 0.03, 1e30)
        for seed in (0, 1)
    ]
    assert differences({**MLP, "log_every": 4}, changes) == []


def test_evaluations_by_steps() -> None:
    plateau = {"name": "ReduceLROnPlateau", "patience": 0}
    changes = [{"steps": steps, "scheduler": plateau, **change} for steps in (5, 20, 33) for change in FEW]
    assert differences({**MLP, "epochs": None, "eval_every": {"steps": 7}, "log_every": 4}, changes) == []


POSSIBLE = [{"name": name, **settings} for name, every in OPTIMIZERS.items() for settings in every]
SCHEDULED = [None, *({"name": name, **chosen} for name, every in SCHEDULERS.items() for chosen, _ in every)]
CYCLING = {"CyclicLR", "OneCycleLR"}


@st.composite
def stacks(draw: st.DrawFn) -> tuple[Config, list[Config]]:
    """A config and what the members of a stack change in it."""
    model = draw(st.sampled_from([name for name in MODELS if "transformer" not in name and name != "embedding_bag"]))
    config = {**MLP, **MODELS[model], "precision": draw(st.sampled_from(["fp32", "fp64"]))}
    config["accumulate"] = draw(st.sampled_from([1, 1, 2]))
    config |= {"epochs": None, "log_every": draw(st.sampled_from([1, 3]))}
    changes = []
    for _ in range(draw(st.integers(2, 5))):
        optimizer = draw(st.sampled_from(POSSIBLE))
        scheduler = draw(st.sampled_from(SCHEDULED))
        has_momentum = optimizer["name"] not in ("Adagrad", "Adadelta", "ASGD", "Rprop", "Adafactor", "Muon", "RMSprop")
        if scheduler and not has_momentum and ("schedulers" in scheduler or scheduler["name"] in CYCLING):
            scheduler = None
        if optimizer["name"] == "Muon" and ("linear" in model or "of one" in model):
            optimizer = POSSIBLE[0]
        changes.append(
            {
                "optimizer": optimizer,
                "scheduler": scheduler,
                "steps": draw(st.integers(8, 14)),
                "seed": draw(st.integers(0, 3)),
                **draw(st.sampled_from(CLIPS)),
            }
        )
    return config, changes


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(stacks())
def test_anything_with_anything(stack: tuple[Config, list[Config]]) -> None:
    assert differences(*stack) == []


def test_a_parameter_without_gradient_is_no_stack() -> None:
    runs = specs(MLP, FEW)
    stack = Stack(members_of(runs, load_data(runs[0])))
    with pytest.raises(CannotFuse, match="a parameter gets no gradient"):
        stack.backward(stack.leaves["1.weight"].as_subclass(type(stack.bundles[0].weights)).sum((1, 2)), first=True)


def test_what_differs_is_found() -> None:
    """The comparison of these tests is no mirror: another seed is another run."""
    runs = specs(MLP, FEW[:2])
    data = load_data(runs[0])
    assert alone(runs[0], data)[0] != as_one(runs, data)[1][0]


NOISY: Config = {**MLP, "model": {"name": "mlp", "hidden": [33, 16], "batch_norm": True}}
"""Its biases have gradients of rounding alone, of which Adam makes whole steps."""


@pytest.mark.parametrize("amount", [1e-7, 1e-3])
def test_a_stack_that_rounds_otherwise_is_verified_beside_what_rounding_does(amount: float) -> None:
    """As on a GPU: what differs by rounding is one, what differs by more is none."""
    runs = specs(NOISY, [{"optimizer": {"name": "Adam", "lr": lr}} for lr in (0.01, 0.003)])
    members = members_of(runs, load_data(runs[0]))
    with numerics(threads=1, deterministic=True):
        probe, stack = Probe(members, exactly=False), Stack(members)
        for bundle in stack.bundles:
            bundle.weights.mul_(1 + amount)
        if amount < 1e-6:
            probe.verify(stack, fit(stack))
            assert 0 < probe.error < 1e-2
        else:
            with pytest.raises(CannotFuse, match=r"differs from that of a run alone, by .*; rounding explains"):
                probe.verify(stack, fit(stack))


def test_a_stack_that_rounds_otherwise_is_none_where_bits_are_promised() -> None:
    runs = specs(NOISY, [{"optimizer": {"name": "Adam", "lr": lr}} for lr in (0.01, 0.003)])
    members = members_of(runs, load_data(runs[0]))
    with numerics(threads=1, deterministic=True):
        probe, stack = Probe(members), Stack(members)
        stack.bundles[0].weights.mul_(1 + 1e-7)
        with pytest.raises(CannotFuse, match="differs from that of a run alone"):
            probe.verify(stack, fit(stack))
