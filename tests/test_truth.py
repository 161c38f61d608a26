"""`optrun train` equals the hand-written loop of textbook.py to the bit: weights, losses, learning rates, norms.

On a CPU, with one thread. Parametrized over the registries: whatever torch.optim brings is held to this without being
listed here; the tables below only choose settings under which a class does something.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from experiments import DIGITS_MLP, checkpoint, data_of, evaluation_rows, trained, training_rows
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from textbook import Log, Textbook, Timed, no_schedule
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import AdamW, Muon, Optimizer, SparseAdam, lr_scheduler
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CyclicLR,
    ExponentialLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from optrun.components import registry
from optrun.errors import ConfigError
from optrun.runs.reader import Run
from optrun.training.clipping import clip_gradients
from optrun.training.stepping import Gradients

Config = dict[str, Any]
Schedule = Callable[[Optimizer], Sequence[Timed]]

MLP = {**DIGITS_MLP, "steps": 25}
CNN = {**MLP, "steps": 8, "model": {"name": "cnn", "channels": [4, 8], "dropout": 0.1, "batch_norm": True}}
TRANSFORMER = {
    **MLP,
    "steps": 6,
    "dataset": {"name": "pydocs", "batch_size": 16},
    "model": {"name": "transformer", "dim": 16, "depth": 1, "heads": 2, "dropout": 0.1},
}
TOPICS = {
    **MLP,
    "steps": 10,
    "dataset": {"name": "pydocs_topics", "batch_size": 64},
    "model": {"name": "embedding_bag", "dim": 16, "sparse": True},
}


def textbook(config: Config, optimizers: Any = None, schedulers: Schedule = no_schedule, **given: Any) -> Log:
    """The run that `config` describes, by hand; what a config says in words (optimizer, scheduler, loss) is given."""
    data = data_of(config["dataset"]["name"])
    model = {key: value for key, value in config["model"].items() if key != "name"}
    batch_size, accumulate = config["dataset"]["batch_size"], config.get("accumulate", 1)
    steps = config.get("steps") or config["epochs"] * math.ceil(len(data.train) / (batch_size * accumulate))
    return Textbook(
        model=functools.partial(registry.models.find(config["model"]["name"]).load(), data, **model),
        train=(data.train.inputs, data.train.targets),
        val=(data.val.inputs, data.val.targets),
        optimizers=optimizers or by_hand(config["optimizer"]),
        schedulers=schedulers,
        steps=steps,
        batch_size=batch_size,
        accumulate=accumulate,
        **{key: config[key] for key in ("seed", "clip_norm", "clip_value") if key in config},
        **given,
    ).run()


def by_hand(choice: Config) -> Callable[[nn.Module], list[Optimizer]]:
    """torch's own class on the model's parameters."""
    arguments = {key: value for key, value in choice.items() if key not in ("name", "fallback")}
    return lambda model: [getattr(torch.optim, choice["name"])(model.parameters(), **arguments)]


def assert_same(run: Run, log: Log) -> None:
    rows = training_rows(run)
    assert [row["step"] for row in rows] == list(range(1, len(log.losses) + 1))
    assert [row["train/loss"] for row in rows] == log.losses
    assert [row["lr"] for row in rows] == log.rates
    assert [row["grad_norm"] for row in rows if "grad_norm" in row] == log.norms
    assert [(row["step"], row["val/loss"]) for row in evaluation_rows(run)] == log.evaluations
    weights = checkpoint(run)["model"]
    assert weights.keys() == log.weights.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, log.weights[name]), name


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("batch_size", [7, 30])
@pytest.mark.parametrize("hidden", [[7], [33, 1]], ids=str)
@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_sizes_that_fill_no_register(
    name: str, hidden: list[int], batch_size: int, accumulate: int, tmp_path: Path
) -> None:
    """The matrix products of MKL have other bits where such a batch, or weight, does not begin at 64 bytes."""
    config = {
        **MLP,
        "steps": 12,
        "accumulate": accumulate,
        "dataset": {"name": name, "batch_size": batch_size},
        "model": {"name": "mlp", "hidden": hidden},
        "optimizer": {"name": "Adam", "lr": 0.01},
    }
    assert_same(trained(tmp_path, config), textbook(config))


# Optimizers ----------------------------------------------------------------------------------------------------------

OPTIMIZERS: dict[str, list[Config]] = {
    "Adafactor": [{}, {"lr": 0.05, "weight_decay": 0.1}],
    "Adam": [{}, {"lr": 0.01, "amsgrad": True, "weight_decay": 0.01}],
    "AdamW": [{}, {"lr": 0.01, "betas": [0.8, 0.95]}],
    "LBFGS": [{"lr": 0.5, "max_iter": 4}, {"history_size": 3, "max_iter": 3, "line_search_fn": "strong_wolfe"}],
    "Muon": [{"lr": 0.02, "fallback": {"name": "AdamW", "lr": 0.003}}],
    "NAdam": [{}, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
    "RMSprop": [{}, {"lr": 0.001, "centered": True, "momentum": 0.9}],
    "SGD": [{"lr": 0.1}, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.001}],
    "SparseAdam": [{"lr": 0.01, "fallback": {"name": "Adam", "lr": 0.01}}],
}
"""Settings to try; an optimizer that is not here is tried with torch's defaults."""

SPARSE = {"SparseAdam"}
CHOICES = [{"name": name, **row} for name in registry.optimizers.names() for row in OPTIMIZERS.get(name, [{}])]


def with_fallback(choice: Config) -> Callable[[nn.Module], list[Optimizer]]:
    """Each kind of weights to the optimizer made for it."""
    first = {key: value for key, value in choice.items() if key not in ("name", "fallback")}
    second = by_hand(choice["fallback"])

    def make(model: nn.Module) -> list[Optimizer]:
        if choice["name"] == "SparseAdam":
            return [SparseAdam([model.embedding.weight], **first), *second(model.head)]
        matrices = [weight for weight in model.parameters() if weight.ndim == 2]
        others = [weight for weight in model.parameters() if weight.ndim != 2]
        return [Muon(matrices, **first), AdamW(others, lr=choice["fallback"]["lr"])]

    return make


def optimizer_by_hand(choice: Config) -> Callable[[nn.Module], list[Optimizer]]:
    return with_fallback(choice) if "fallback" in choice else by_hand(choice)


def label(value: Any) -> str:
    return "-".join([value["name"], *(key for key in value if key not in ("name", "lr"))])


def test_every_optimizer_of_torch_is_registered() -> None:
    classes = [each for each in vars(torch.optim).values() if isinstance(each, type) and issubclass(each, Optimizer)]
    assert set(registry.optimizers.names()) >= {each.__name__ for each in classes} - {"Optimizer"}
    assert set(OPTIMIZERS) <= set(registry.optimizers.names())


@pytest.mark.parametrize("clip_norm", [None, 0.35])
@pytest.mark.parametrize("choice", CHOICES, ids=label)
def test_optimizer(choice: Config, clip_norm: float | None, tmp_path: Path) -> None:
    sparse = choice["name"] in SPARSE
    config = {**(TOPICS if sparse else MLP), "optimizer": choice, "clip_norm": clip_norm}
    if sparse and clip_norm:
        with pytest.raises(ConfigError, match="torch cannot clip the sparse gradients"):
            trained(tmp_path, config)
        return
    log = textbook(config, optimizer_by_hand(choice))
    assert_same(trained(tmp_path, config), log)
    assert len(set(log.losses)) > 1
    if clip_norm:
        assert len(log.norms) == config["steps"]
        assert max(log.norms) > clip_norm


@pytest.mark.parametrize("choice", [c for c in CHOICES if c["name"] not in SPARSE], ids=label)
def test_clip_value(choice: Config, tmp_path: Path) -> None:
    config = {**MLP, "steps": 6, "optimizer": choice, "clip_value": 0.005}
    log = textbook(config, optimizer_by_hand(choice))
    assert_same(trained(tmp_path, config), log)
    free = textbook({**config, "clip_value": None}, optimizer_by_hand(choice))
    clipped = any(not torch.equal(log.weights[name], weight) for name, weight in free.weights.items())
    assert clipped == (choice["name"] != "Rprop")  # which looks at signs alone


def test_clip_norm_then_clip_value(tmp_path: Path) -> None:
    config = {**MLP, "clip_norm": 1.0, "clip_value": 0.05}
    assert_same(trained(tmp_path, config), textbook(config))


@pytest.mark.parametrize("optimizer", [{"name": "SGD", "lr": 0.1, "momentum": 0.9}, {"name": "Adam"}], ids=label)
def test_an_infinite_clip_norm_measures_and_clips_nothing(optimizer: Config, tmp_path: Path) -> None:
    config = {**MLP, "optimizer": optimizer, "clip_norm": math.inf}
    log = textbook(config)
    assert_same(trained(tmp_path / "measured", config), log)
    unclipped = trained(tmp_path / "unclipped", {**config, "clip_norm": None})
    assert "grad_norm" not in training_rows(unclipped)[0]
    assert_same(unclipped, textbook({**config, "clip_norm": None}))
    assert all(torch.equal(weight, log.weights[name]) for name, weight in checkpoint(unclipped)["model"].items())


@pytest.mark.parametrize("seed", range(8))
def test_clipping_at_the_bound(seed: int) -> None:
    """Gradients are multiplied by exactly what torch multiplies them by, also where that is all but one."""
    generator = torch.Generator().manual_seed(seed)
    gradients = [torch.randn(shape, generator=generator) * 10.0 ** (seed - 4) for shape in ((32, 64), (32,), (10, 32))]
    norm = get_total_norm(gradients).item()
    near = [norm * (1 + k * 2.0**-24) for k in range(-4, 5)] + [norm + k * 1e-7 for k in range(-20, 21)]
    for bound in [norm / 2, *near, norm * 2]:
        mine, torchs = ([nn.Parameter(torch.zeros_like(each)) for each in gradients] for _ in range(2))
        for weights in (mine, torchs):
            for weight, gradient in zip(weights, gradients):
                weight.grad = gradient.clone()
        assert torch.equal(clip_gradients(gradients_of(mine), bound, None), clip_grad_norm_(torchs, bound))
        assert all(torch.equal(one.grad, other.grad) for one, other in zip(mine, torchs))


def gradients_of(parameters: Sequence[nn.Parameter]) -> Gradients:
    each = [p.grad for p in parameters]
    return Gradients(each, each)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_clipping_what_is_not_finite(value: float) -> None:
    mine, torchs = (nn.Parameter(torch.zeros(3)) for _ in range(2))
    for weight in (mine, torchs):
        weight.grad = torch.tensor([1.0, value, -2.0])
    norm, wanted = clip_gradients(gradients_of([mine]), 1.0, None), clip_grad_norm_([torchs], 1.0)
    assert torch.equal(norm.nan_to_num(7), wanted.nan_to_num(7))
    assert torch.equal(mine.grad.nan_to_num(7), torchs.grad.nan_to_num(7))


FEW = [
    {"name": "SGD", "lr": 0.1, "momentum": 0.9},
    {"name": "Adam", "lr": 0.003},
    {"name": "AdamW", "lr": 0.003, "weight_decay": 0.1},
    {"name": "RMSprop", "lr": 0.001},
    {"name": "Adafactor"},
    {"name": "NAdam"},
    {"name": "Rprop"},
    {"name": "LBFGS", "lr": 0.1, "max_iter": 2},
]


@pytest.mark.parametrize("clip_norm", [None, 0.35])
@pytest.mark.parametrize("config", [CNN, TRANSFORMER], ids=["cnn", "transformer"])
@pytest.mark.parametrize("choice", FEW, ids=label)
def test_other_models(choice: Config, config: Config, clip_norm: float | None, tmp_path: Path) -> None:
    config = {**config, "optimizer": choice, "clip_norm": clip_norm}
    assert_same(trained(tmp_path, config), textbook(config))


def test_muon_on_the_transformer(tmp_path: Path) -> None:
    """Its embeddings and heads are matrices, and are Muon's too."""
    config = {**TRANSFORMER, "optimizer": OPTIMIZERS["Muon"][0] | {"name": "Muon"}, "clip_norm": 1.0}
    assert_same(trained(tmp_path, config), textbook(config, with_fallback(config["optimizer"])))


@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_other_optimizers_take_sparse_gradients(name: str, tmp_path: Path) -> None:
    config = {**TOPICS, "optimizer": {"name": name, "lr": 0.1}}
    assert_same(trained(tmp_path, config), textbook(config))


# Schedulers ----------------------------------------------------------------------------------------------------------

STEPS_PER_EPOCH, STEPS, EPOCHS = 6, 27, 5
SCHEDULED = {
    **MLP,
    "steps": STEPS,  # four epochs and a half
    "dataset": {"name": "digits", "batch_size": 256},
    "optimizer": {"name": "SGD", "lr": 0.1, "momentum": 0.9},
}


def per_epoch(name: str, **arguments: Any) -> Schedule:
    return lambda optimizer: [Timed(getattr(lr_scheduler, name)(optimizer, **arguments), "epoch")]


def per_step(name: str, **arguments: Any) -> Schedule:
    return lambda optimizer: [Timed(getattr(lr_scheduler, name)(optimizer, **arguments), "step")]


def sequence(after: Any, milestones: list[int], *makers: Callable[[Optimizer], Any]) -> Schedule:
    def make(optimizer: Optimizer) -> list[Timed]:
        members = [maker(optimizer) for maker in makers]
        return [Timed(SequentialLR(optimizer, members, milestones=milestones), after)]

    return make


def chain(after: Any, *makers: Callable[[Optimizer], Any]) -> Schedule:
    return lambda optimizer: [Timed(ChainedScheduler([make(optimizer) for make in makers], optimizer), after)]


def warmup_then_plateau(optimizer: Optimizer) -> list[Timed]:
    return [
        Timed(LinearLR(optimizer, start_factor=0.1, total_iters=8), "step", last=8),
        Timed(ReduceLROnPlateau(optimizer, patience=0, threshold=0.2), "evaluation", first=8),
    ]


def two_warmups_then_plateau(optimizer: Optimizer) -> list[Timed]:
    before = [ConstantLR(optimizer, factor=0.5, total_iters=9), LinearLR(optimizer, total_iters=4)]
    return [
        Timed(SequentialLR(optimizer, before, milestones=[3]), "step", last=8),
        Timed(ReduceLROnPlateau(optimizer, patience=0, threshold=0.2), "evaluation", first=8),
    ]


PLATEAU = {"name": "ReduceLROnPlateau", "patience": 0, "threshold": 0.2}
SCHEDULERS: dict[str, list[tuple[Config, Schedule]]] = {
    "StepLR": [
        ({"step_size": 2, "gamma": 0.5}, per_epoch("StepLR", step_size=2, gamma=0.5)),
        ({"step_size": 5, "interval": "step"}, per_step("StepLR", step_size=5)),
    ],
    "MultiStepLR": [({"milestones": [1, 3]}, per_epoch("MultiStepLR", milestones=[1, 3]))],
    "ConstantLR": [({"factor": 0.5, "total_iters": 3}, per_epoch("ConstantLR", factor=0.5, total_iters=3))],
    "LinearLR": [
        ({}, per_epoch("LinearLR")),
        ({"total_iters": "run"}, per_epoch("LinearLR", total_iters=EPOCHS)),
        ({"total_iters": "run", "interval": "step"}, per_step("LinearLR", total_iters=STEPS)),
    ],
    "ExponentialLR": [
        ({"gamma": 0.7}, per_epoch("ExponentialLR", gamma=0.7)),
        ({"gamma": 0.97, "interval": "step"}, per_step("ExponentialLR", gamma=0.97)),
    ],
    "PolynomialLR": [({"total_iters": 4, "power": 2.0}, per_epoch("PolynomialLR", total_iters=4, power=2.0))],
    "CosineAnnealingLR": [
        ({}, per_epoch("CosineAnnealingLR", T_max=EPOCHS)),
        ({"interval": "step"}, per_step("CosineAnnealingLR", T_max=STEPS)),
        ({"T_max": 10, "eta_min": 0.001}, per_epoch("CosineAnnealingLR", T_max=10, eta_min=0.001)),
    ],
    "CosineAnnealingWarmRestarts": [
        ({"T_0": 1, "T_mult": 2}, per_epoch("CosineAnnealingWarmRestarts", T_0=1, T_mult=2)),
        ({"T_0": 4, "interval": "step"}, per_step("CosineAnnealingWarmRestarts", T_0=4)),
    ],
    "CyclicLR": [
        (
            {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 5},
            per_step("CyclicLR", base_lr=0.01, max_lr=0.2, step_size_up=5),
        ),
        (
            {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 4, "mode": "exp_range", "gamma": 0.9},
            per_step("CyclicLR", base_lr=0.01, max_lr=0.2, step_size_up=4, mode="exp_range", gamma=0.9),
        ),
        (
            {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 4, "scale_fn": {"name": "exponential", "gamma": 0.5}},
            per_step("CyclicLR", base_lr=0.01, max_lr=0.2, step_size_up=4, scale_fn=lambda cycle: 0.5**cycle),
        ),
        (
            {"base_lr": 0.01, "max_lr": 0.2, "interval": "epoch", "step_size_up": 2, "cycle_momentum": False},
            per_epoch("CyclicLR", base_lr=0.01, max_lr=0.2, step_size_up=2, cycle_momentum=False),
        ),
    ],
    "OneCycleLR": [
        ({"max_lr": 0.2}, per_step("OneCycleLR", max_lr=0.2, total_steps=STEPS)),
        (
            {"max_lr": 0.2, "epochs": 5, "steps_per_epoch": 6, "anneal_strategy": "linear", "three_phase": True},
            per_step("OneCycleLR", max_lr=0.2, total_steps=30, anneal_strategy="linear", three_phase=True),
        ),
    ],
    "ReduceLROnPlateau": [
        (
            {"patience": 0, "threshold": 0.3, "factor": 0.5},
            lambda o: [Timed(ReduceLROnPlateau(o, patience=0, threshold=0.3, factor=0.5), "evaluation")],
        )
    ],
    "LambdaLR": [
        (
            {"lr_lambda": {"name": "inverse_sqrt", "warmup": 3}},
            per_epoch("LambdaLR", lr_lambda=lambda epoch: min((epoch + 1) / 3, math.sqrt(3 / (epoch + 1)))),
        ),
        (
            {"lr_lambda": {"name": "warmup_cosine", "warmup": 7, "total": "run"}, "interval": "step"},
            per_step(
                "LambdaLR",
                lr_lambda=lambda step: (
                    (step + 1) / 7 if step < 7 else (1 + math.cos(math.pi * ((step - 7) / (STEPS - 7)))) / 2
                ),
            ),
        ),
    ],
    "MultiplicativeLR": [
        ({"lr_lambda": {"name": "constant", "value": 0.8}}, per_epoch("MultiplicativeLR", lr_lambda=lambda epoch: 0.8))
    ],
    "SequentialLR": [
        (
            {"milestones": [2], "schedulers": [{"name": "LinearLR", "total_iters": 2}, {"name": "CosineAnnealingLR"}]},
            sequence(
                "epoch", [2], lambda o: LinearLR(o, total_iters=2), lambda o: CosineAnnealingLR(o, T_max=EPOCHS - 2)
            ),
        ),
        (
            {
                "interval": "step",
                "milestones": [4, 15],
                "schedulers": [
                    {"name": "LinearLR", "total_iters": "run"},
                    {"name": "ExponentialLR", "gamma": 0.9},
                    "CosineAnnealingLR",
                ],
            },
            sequence(
                "step",
                [4, 15],
                lambda o: LinearLR(o, total_iters=4),
                lambda o: ExponentialLR(o, gamma=0.9),
                lambda o: CosineAnnealingLR(o, T_max=STEPS - 15),
            ),
        ),
        (  # a member that steps every step makes them all do so
            {
                "milestones": [9],
                "schedulers": [
                    {"name": "CyclicLR", "base_lr": 0.01, "max_lr": 0.2, "step_size_up": 3},
                    {"name": "StepLR", "step_size": 6},
                ],
            },
            sequence(
                "step",
                [9],
                lambda o: CyclicLR(o, base_lr=0.01, max_lr=0.2, step_size_up=3),
                lambda o: StepLR(o, step_size=6),
            ),
        ),
        (
            {
                "interval": "step",
                "milestones": [8],
                "schedulers": [{"name": "LinearLR", "start_factor": 0.1, "total_iters": 8}, PLATEAU],
            },
            warmup_then_plateau,
        ),
        (
            {
                "interval": "step",
                "milestones": [3, 8],
                "schedulers": [
                    {"name": "ConstantLR", "factor": 0.5, "total_iters": 9},
                    {"name": "LinearLR", "total_iters": 4},
                    PLATEAU,
                ],
            },
            two_warmups_then_plateau,
        ),
    ],
    "ChainedScheduler": [
        (
            {"schedulers": [{"name": "ConstantLR", "factor": 0.1}, {"name": "ExponentialLR", "gamma": 0.9}]},
            chain("epoch", lambda o: ConstantLR(o, factor=0.1), lambda o: ExponentialLR(o, gamma=0.9)),
        ),
        (
            {"schedulers": [{"name": "OneCycleLR", "max_lr": 0.2}, {"name": "ExponentialLR", "gamma": 0.9}]},
            chain(
                "step", lambda o: OneCycleLR(o, max_lr=0.2, total_steps=STEPS), lambda o: ExponentialLR(o, gamma=0.9)
            ),
        ),
    ],
}
CASES = [
    pytest.param({"name": name, **row}, schedule, id=f"{name}-{index}")
    for name, rows in SCHEDULERS.items()
    for index, (row, schedule) in enumerate(rows)
]


def test_every_scheduler_of_torch_is_tried() -> None:
    classes = [
        each
        for name, each in vars(lr_scheduler).items()
        if isinstance(each, type) and issubclass(each, lr_scheduler.LRScheduler) and not name.startswith("_")
    ]
    names = {each.__name__ for each in classes} - {"LRScheduler"}
    assert names == set(SCHEDULERS)
    assert names <= set(registry.schedulers.names())


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize(("choice", "schedule"), CASES)
def test_scheduler(choice: Config, schedule: Schedule, clip_norm: float | None, tmp_path: Path) -> None:
    config = {**SCHEDULED, "scheduler": choice, "clip_norm": clip_norm}
    log = textbook(config, schedulers=schedule)
    assert len(set(log.rates)) > 1
    assert_same(trained(tmp_path, config), log)


@pytest.mark.parametrize(("choice", "schedule"), [case for case in CASES if "Cycl" in str(case.values[0])])
def test_beta1_is_cycled_where_there_is_no_momentum(choice: Config, schedule: Schedule, tmp_path: Path) -> None:
    config = {**SCHEDULED, "optimizer": {"name": "AdamW"}, "scheduler": choice}
    assert_same(trained(tmp_path, config), textbook(config, schedulers=schedule))


@pytest.mark.parametrize("optimizer", CHOICES, ids=label)
def test_every_optimizer_with_a_schedule(optimizer: Config, tmp_path: Path) -> None:
    """One scheduler for each optimizer where there are two, and they step together."""
    base = TOPICS if optimizer["name"] in SPARSE else MLP
    scheduler = {"name": "CosineAnnealingLR", "interval": "step"}
    config = {**base, "steps": 6, "optimizer": optimizer, "scheduler": scheduler}
    schedule = per_step("CosineAnnealingLR", T_max=6)
    assert_same(trained(tmp_path, config), textbook(config, optimizer_by_hand(optimizer), schedule))


@pytest.mark.parametrize("eval_steps", [4, 5])
def test_plateau_sees_every_evaluation(eval_steps: int, tmp_path: Path) -> None:
    config = {**SCHEDULED, "scheduler": PLATEAU, "eval_every": {"steps": eval_steps}}
    log = textbook(
        config,
        schedulers=lambda o: [Timed(ReduceLROnPlateau(o, patience=0, threshold=0.2), "evaluation")],
        eval_steps=eval_steps,
    )
    assert [step for step, _ in log.evaluations] == [*range(eval_steps, STEPS, eval_steps), STEPS]
    assert len(set(log.rates)) > 1
    assert_same(trained(tmp_path, config), log)


# Steps, batches, precision -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [2, 3, 7])
@pytest.mark.parametrize("choice", [{"name": "Adam"}, {"name": "LBFGS", "max_iter": 3}], ids=label)
def test_accumulate(choice: Config, accumulate: int, tmp_path: Path) -> None:
    """1,438 examples: the last step of an epoch has fewer micro-batches, and a last one that is not full."""
    config = {**MLP, "steps": 2 + 30 // accumulate, "optimizer": choice, "accumulate": accumulate, "clip_norm": 1.0}
    log = textbook(config)
    assert len(log.evaluations) > 1
    assert_same(trained(tmp_path, config), log)


@pytest.mark.parametrize("batch_size", [1, 37, 719, 1437, 1438])
def test_last_batch(batch_size: int, tmp_path: Path) -> None:
    epoch = math.ceil(1438 / batch_size)
    config = {**MLP, "dataset": {"name": "digits", "batch_size": batch_size}, "steps": min(2 * epoch, 40)}
    assert_same(trained(tmp_path, config), textbook(config))


def test_epochs(tmp_path: Path) -> None:
    config = {key: value for key, value in MLP.items() if key != "steps"} | {"epochs": 3, "seed": 7}
    run = trained(tmp_path, config)
    assert_same(run, textbook(config))
    assert run.summary["steps"] == 69
    assert run.summary["epochs"] == 3


@pytest.mark.parametrize("choice", [{"name": "SGD", "lr": 0.1}, {"name": "Adam"}], ids=label)
def test_channels_last(choice: Config, tmp_path: Path) -> None:
    config = {**CNN, "optimizer": choice, "clip_norm": 1.0}
    log = textbook(config, memory_format=torch.channels_last)
    assert_same(trained(tmp_path, {**config, "memory_format": "channels_last"}), log)


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**63 - 1])
def test_seed(seed: int, tmp_path: Path) -> None:
    config = {**MLP, "seed": seed, "model": {"name": "mlp", "hidden": [16], "dropout": 0.5}}
    assert_same(trained(tmp_path, config), textbook(config))


@pytest.mark.parametrize("choice", [{"name": "SGD", "lr": 0.1}, {"name": "LBFGS", "lr": 0.3, "max_iter": 3}], ids=label)
@pytest.mark.parametrize("accumulate", [1, 3])
def test_dropout_and_batch_norm(choice: Config, accumulate: int, tmp_path: Path) -> None:
    model = {"name": "mlp", "hidden": [24, 16], "dropout": 0.3, "batch_norm": True}
    config = {**MLP, "model": model, "optimizer": choice, "accumulate": accumulate, "clip_norm": 1.0}
    log = textbook(config)
    assert any(name.endswith("running_var") for name in log.weights)
    assert_same(trained(tmp_path, config), log)


def test_param_groups(tmp_path: Path) -> None:
    model = {"name": "mlp", "hidden": [24], "batch_norm": True}
    groups = [{"match": "norm", "weight_decay": 0, "lr": 0.05}, {"match": "*.bias", "weight_decay": 0}]
    optimizer = {"name": "AdamW", "lr": 0.01, "weight_decay": 0.5, "param_groups": groups}
    config = {**MLP, "model": model, "optimizer": optimizer, "scheduler": {"name": "ExponentialLR", "gamma": 0.5}}

    def by_hand(model: nn.Sequential) -> list[Optimizer]:
        _, first, norm, _, last = model
        groups = [
            {"params": [first.weight, last.weight]},
            {"params": list(norm.parameters()), "weight_decay": 0, "lr": 0.05},
            {"params": [first.bias, last.bias], "weight_decay": 0},
        ]
        return [AdamW(groups, lr=0.01, weight_decay=0.5)]

    log = textbook(config, by_hand, per_epoch("ExponentialLR", gamma=0.5))
    assert log.rates[0] == [0.01, 0.05, 0.01]
    assert_same(trained(tmp_path, config), log)


LOSSES: list[tuple[Any, nn.Module]] = [
    ({"name": "cross_entropy", "label_smoothing": 0.1}, nn.CrossEntropyLoss(label_smoothing=0.1)),
    ("multi_margin", nn.MultiMarginLoss()),
]
"""On class indices, which the data set has; those below take other targets."""


@pytest.mark.parametrize(("loss", "criterion"), LOSSES, ids=["label_smoothing", "multi_margin"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_loss_on_classes(loss: Any, criterion: nn.Module, accumulate: int, tmp_path: Path) -> None:
    config = {**MLP, "loss": loss, "accumulate": accumulate, "clip_norm": 1.0}
    assert_same(trained(tmp_path, config), textbook(config, criterion=criterion))


@pytest.mark.parametrize(
    ("loss", "criterion"),
    [
        ("mse", nn.MSELoss()),
        ("l1", nn.L1Loss()),
        ({"name": "huber", "delta": 0.5}, nn.HuberLoss(delta=0.5)),
        ({"name": "smooth_l1", "beta": 2.0}, nn.SmoothL1Loss(beta=2.0)),
    ],
    ids=["mse", "l1", "huber", "smooth_l1"],
)
def test_loss_on_numbers(loss: Any, criterion: nn.Module, tmp_path: Path) -> None:
    config = {**MLP, "dataset": {"name": "diabetes", "batch_size": 50}, "loss": loss, "clip_norm": math.inf}
    config["optimizer"] = {"name": "Adam", "lr": 0.01}
    assert_same(trained(tmp_path, config), textbook(config, criterion=criterion))


@pytest.mark.parametrize("choice", [{"name": "Adam"}, {"name": "LBFGS", "max_iter": 3}], ids=label)
def test_fp64(choice: Config, tmp_path: Path) -> None:
    config = {**MLP, "precision": "fp64", "optimizer": choice, "clip_norm": 1.0, "accumulate": 2}
    log = textbook(config, dtype=torch.float64)
    assert {weight.dtype for weight in log.weights.values()} == {torch.float64}
    assert_same(trained(tmp_path, config), log)


@pytest.mark.parametrize("config", [MLP, {**CNN, "steps": 4}, TRANSFORMER], ids=["mlp", "cnn", "transformer"])
def test_bf16(config: Config, tmp_path: Path) -> None:
    config = {**config, "precision": "bf16", "clip_norm": 1.0}
    log = textbook(config, autocast=torch.bfloat16)
    assert log.losses != textbook(config).losses
    assert_same(trained(tmp_path, config), log)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_fp16(accumulate: int, tmp_path: Path) -> None:
    config = {**MLP, "precision": "fp16", "accumulate": accumulate, "clip_norm": 1.0}
    log = textbook(config, autocast=torch.float16, scaler=torch.amp.GradScaler("cpu"))
    assert_same(trained(tmp_path, config), log)


def test_no_schedule_step_for_a_step_that_loss_scaling_skipped(tmp_path: Path) -> None:
    """The summed losses of 64 rows, times the first scale of 65,536, are more than fp16 holds."""
    loss = {"name": "cross_entropy", "reduction": "sum"}
    config = {
        **MLP,
        "precision": "fp16",
        "loss": loss,
        "clip_norm": 1.0,
        "scheduler": {"name": "ExponentialLR", "gamma": 0.9, "interval": "step"},
    }
    log = textbook(
        config,
        schedulers=per_step("ExponentialLR", gamma=0.9),
        criterion=nn.CrossEntropyLoss(reduction="sum"),
        autocast=torch.float16,
        scaler=torch.amp.GradScaler("cpu"),
    )
    assert log.skipped[0] == 1
    assert len(log.skipped) < config["steps"] / 2
    kept = [step for step in range(1, config["steps"]) if log.rates[step] == log.rates[step - 1]]
    assert kept == log.skipped
    assert_same(trained(tmp_path, config), log)


# Optimizers of other packages ----------------------------------------------------------------------------------------


def test_schedulefree(tmp_path: Path) -> None:
    """Evaluated at its averaged weights, trained on at the others."""
    schedulefree = pytest.importorskip("schedulefree")
    config = {**MLP, "optimizer": {"name": "schedulefree.AdamWScheduleFree", "lr": 0.01, "warmup_steps": 5}}
    config |= {"clip_norm": 1.0, "eval_every": {"steps": 5}, "metrics": ["accuracy"]}

    def optimizers(model: nn.Module) -> list[Any]:
        return [schedulefree.AdamWScheduleFree(model.parameters(), lr=0.01, warmup_steps=5)]

    log = textbook(config, optimizers, eval_steps=5)
    run = trained(tmp_path, config)
    rows = training_rows(run)
    assert [row["train/loss"] for row in rows] == log.losses
    assert [row["grad_norm"] for row in rows] == log.norms
    assert [row["lr"] for row in rows] == log.rates
    assert [(row["step"], row["val/loss"]) for row in evaluation_rows(run)] == log.evaluations
    best = checkpoint(run, "best")
    assert best["step"] == 25
    assert all(torch.equal(weight, log.weights[name]) for name, weight in best["model"].items())


def test_pytorch_optimizer(tmp_path: Path) -> None:
    package = pytest.importorskip("pytorch_optimizer")
    config = {**MLP, "optimizer": {"name": "pytorch_optimizer.Lion", "lr": 0.001}, "clip_norm": 1.0}
    log = textbook(config, lambda model: [package.Lion(model.parameters(), lr=0.001)])
    assert_same(trained(tmp_path, config), log)


# Evaluation ----------------------------------------------------------------------------------------------------------


def test_metrics_of_the_whole_part(tmp_path: Path) -> None:
    config = {**MLP, "metrics": ["accuracy", {"name": "top_k_accuracy", "k": 3}, "f1"]}
    log = textbook(config)
    run = trained(tmp_path, config)
    targets = data_of("digits").val.targets
    scores = log.outputs
    last = evaluation_rows(run)[-1]
    assert last["val/accuracy"] == (scores.argmax(1) == targets).sum().item() / len(targets)
    assert last["val/top_k_accuracy"] == (scores.topk(3).indices == targets[:, None]).sum().item() / len(targets)
    assert last["val/loss"] == pytest.approx(F.cross_entropy(scores, targets).item(), rel=1e-6)
    assert run.summary["final"] == {key: value for key, value in last.items() if key.startswith("val/")}


def test_perplexity_of_more_than_one_slice(tmp_path: Path) -> None:
    config = {**TRANSFORMER, "metrics": ["perplexity"]}
    log = textbook(config)
    targets = data_of("pydocs").val.targets
    assert len(targets) > 1024
    last = evaluation_rows(trained(tmp_path, config))[-1]
    loss = F.cross_entropy(log.outputs.double(), targets).item()
    assert last["val/loss"] == pytest.approx(loss, rel=1e-6)
    assert last["val/perplexity"] == pytest.approx(math.exp(loss), rel=1e-9)


# Anything with anything ----------------------------------------------------------------------------------------------

DENSE = [choice for choice in CHOICES if choice["name"] not in SPARSE]


def depends_on_length(choice: Config) -> bool:
    text = str(choice)
    return "'run'" in text or "OneCycleLR" in text or ("CosineAnnealingLR" in text and "T_max" not in text)


SCHEDULES = {case.id: case.values for case in CASES if not depends_on_length(case.values[0])}


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data())
def test_anything_with_anything(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    optimizer = data.draw(st.sampled_from(DENSE), "optimizer")
    scheduler = data.draw(st.sampled_from([None, *SCHEDULES]), "scheduler")
    choice, schedule = SCHEDULES.get(scheduler, (None, no_schedule))
    lengths = [*({"epochs": n} for n in range(1, 4)), *({"steps": n} for n in range(1, 20))]
    config = {key: value for key, value in MLP.items() if key != "steps"} | {
        **data.draw(st.sampled_from(lengths), "length"),
        "seed": data.draw(st.integers(0, 2**40), "seed"),
        "dataset": {"name": "digits", "batch_size": data.draw(st.integers(100, 700), "batch_size")},
        "model": {"name": "mlp", "hidden": [8], "dropout": data.draw(st.sampled_from([0.0, 0.2]), "dropout")},
        "optimizer": optimizer,
        "scheduler": choice,
        "clip_norm": data.draw(st.sampled_from([None, 0.3, 1.0, math.inf]), "clip_norm"),
        "clip_value": data.draw(st.sampled_from([None, 0.01]), "clip_value"),
        "accumulate": data.draw(st.integers(1, 3), "accumulate"),
    }
    directory = tmp_path_factory.mktemp("any")
    settings = registry.optimizers.find(optimizer["name"]).signature.names()
    if "CyclicLR" in str(choice) and "cycle_momentum" not in str(choice) and not {"momentum", "betas"} & set(settings):
        with pytest.raises(ConfigError, match="cycle_momentum: false"):
            trained(directory, config)
        return
    assert_same(trained(directory, config), textbook(config, optimizer_by_hand(optimizer), schedule))
