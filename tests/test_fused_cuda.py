"""Stacks on a CUDA device: near to their members, with the members' own random numbers, and without waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from experiments import DIGITS_MLP
from stacking import members_of, specs
from sweeping import write_sweep

import optrun
from optrun.components.data import Examples
from optrun.fused.batches import served
from optrun.fused.evaluation import evaluate
from optrun.fused.loop import fit, train_step
from optrun.fused.memory import member_bytes
from optrun.fused.probe import Probe
from optrun.fused.stack import Stack
from optrun.fused.standing import JUDGED
from optrun.fused.streams import Streams, state_of
from optrun.fused.tensor import physical, stacked
from optrun.training.clipping import clip_gradients
from optrun.training.loop import train_step as train_step_alone
from optrun.training.numerics import numerics
from optrun.training.placing import placed, room
from optrun.training.preparation import load_data, prepare_run
from optrun.training.randomness import default_generator, generator_states
from optrun.training.stepping import Gradients

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

Config = dict[str, Any]
CUDA = torch.device("cuda")
MLP: Config = {**DIGITS_MLP, "device": "cuda", "epochs": 2, "log_every": 4, "clip_norm": 1.0}
MODELS: dict[str, Config] = {
    "mlp": {"model": {"name": "mlp", "hidden": [33, 16], "dropout": 0.2, "batch_norm": True}},
    "cnn": {"model": {"name": "cnn", "channels": [8, 16]}},
    "transformer": {
        "dataset": {"name": "pydocs", "batch_size": 64},
        "model": {"name": "transformer", "dim": 32, "depth": 1, "dropout": 0.1},
        "metrics": ["perplexity"],
        "epochs": None,
        "steps": 30,
    },
}
EACH = [
    *(
        {"optimizer": {"name": name, "lr": 0.003}, "seed": seed}
        for name in ("SGD", "Adam", "RMSprop")
        for seed in (0, 1)
    ),
    {"optimizer": {"name": "RAdam"}, "seed": 2},
    {"optimizer": {"name": "NAdam"}, "seed": 2},
]


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize("name", MODELS)
def test_a_stack_is_near_to_its_members(name: str, precision: str) -> None:
    runs = specs({**MLP, **MODELS[name], "precision": precision}, EACH)
    members = members_of(runs, load_data(runs[0]))
    with numerics(threads=1, deterministic=True):
        probe, stack = Probe(members), Stack(members)
        probe.verify(stack, fit(stack))  # raises CannotFuse
        assert probe.error < (1e-2 if precision == "fp32" else 1e-8)


@pytest.mark.parametrize("shared", [False, True])
def test_dropout_draws_what_a_run_alone_draws(shared: bool) -> None:
    own, states = default_generator(CUDA), []
    for seed in range(5):
        own.manual_seed(0 if shared else seed)
        states.append(own.get_state())
    inputs = torch.randn(5, 6, 7, device=CUDA)
    layers = [torch.nn.Dropout(0.1), torch.nn.Dropout(0.3), torch.nn.Dropout(0.3, inplace=True)]
    streams, found = Streams(states, CUDA), []
    with streams.drawn_from():
        found = [layer(stacked(inputs.clone())) for layer in layers]
    for member, state in enumerate(states):
        own.set_state(state)
        wanted = [layer(inputs[member].clone()) for layer in layers]
        assert all(torch.equal(physical(one)[member], other) for one, other in zip(found, wanted))
        assert torch.equal(streams.state(member), own.get_state())


def test_a_member_leaves_its_generator_where_it_would_be_alone() -> None:
    """After a step of each; a checkpoint holds the states of all devices."""
    runs = specs({**MLP, **MODELS["mlp"]}, EACH[:2])
    data = load_data(runs[0])
    members = members_of(runs, data)
    with numerics(threads=1, deterministic=True):
        stack = Stack(members)
        train_step(stack, next(served([m.batches for m in members], [0, 0], 0)))
        for run, member in zip(runs, members):
            _, state, batches = prepare_run(run, data)
            state.train()
            train_step_alone(state, next(batches.after(0, 0)), run)
            assert torch.equal(state_of(member.state.generators.state_dict(), CUDA), state_of(generator_states(), CUDA))


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_no_step_of_a_stack_waits_for_the_device(name: str) -> None:
    """Once ways to compute have been tried; with a seed for each member, whose orders are sent once an epoch."""
    runs = specs({**MLP, **MODELS[name], "metrics": []}, EACH[:-1])
    members = members_of(runs, load_data(runs[0]))
    with numerics(threads=1, deterministic=True):
        stack = Stack(members)
        upcoming = served([m.batches for m in members], [0] * len(members), 0)
        for _ in range(4):
            train_step(stack, next(upcoming))
        try:
            torch.cuda.set_sync_debug_mode("error")
            for _ in range(3):
                train_step(stack, next(upcoming))
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_clipping_has_the_bits_of_torch() -> None:
    generator = torch.Generator(CUDA).manual_seed(0)
    shapes = [(300, 200), (300,), (7, 3, 3, 3), (1,)]
    parameters = [torch.nn.Parameter(torch.zeros(shape, device=CUDA)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator, device=CUDA)
    own = [p.grad.clone() for p in parameters if p.grad is not None]
    norm = clip_gradients(Gradients(own, own), 1.0, None)
    assert torch.equal(norm, torch.nn.utils.clip_grad_norm_(parameters, 1.0))
    assert all(torch.equal(one, p.grad) for one, p in zip(own, parameters))


def test_data_that_do_not_fit_are_sent() -> None:
    (run,) = specs(MLP, [{}])
    data = load_data(run)
    assert 0 < room(CUDA) < torch.cuda.get_device_properties(CUDA).total_memory
    _, state, batches = prepare_run(run, data)
    at_home = placed(data, state.place, 0)
    assert isinstance(at_home.train, Examples)
    wanted = next(batches.after(0, 0))
    batches.part = at_home.train
    for (x, y, _), (inputs, targets, _) in zip(next(batches.after(0, 0)), wanted):
        assert x.is_cuda and torch.equal(x, inputs) and torch.equal(y, targets)  # noqa: PT018


@pytest.mark.parametrize("count", [1, 2, 64, 1024])
def test_sizes_of_stacks(count: int) -> None:
    """The peak of the allocator is what the model of memory predicts, or less."""
    runs = specs(MLP, [{"optimizer": {"name": "Adam", "lr": 1e-5 * (1 + i)}, "seed": i % 4} for i in range(count)])
    members = members_of(runs, load_data(runs[0]))
    predicted = count * member_bytes(members[0].state, members[0].batches.batch_size)
    with numerics(threads=1, deterministic=True):
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        stack = Stack(members)
        upcoming = served([m.batches for m in members], [0] * count, 0)
        for _ in range(4):
            train_step(stack, next(upcoming))
            stack.standing.gather()
        assert not stack.standing.lost
        evaluate(stack, list(range(count)), members[0].state.data.val, "val")
        used = torch.cuda.max_memory_allocated() - before
    assert count < 64 or used < 1.35 * predicted


def test_seconds_are_the_devices_own() -> None:
    """Of every step while the stack is judged; then they are read when somebody asks."""
    runs = specs({**MLP, "epochs": 6}, EACH[:2])
    members = members_of(runs, load_data(runs[0]))
    with numerics(threads=1, deterministic=True):
        stack = Stack(members)
        for _ in fit(stack):
            if stack.standing.taken == JUDGED:
                assert 0 < stack.standing.fastest * (JUDGED - 4) <= stack.standing.time
    assert members[0].state.time == members[1].state.time > stack.standing.fastest * members[0].state.step


def test_a_sweep(tmp_path: Path) -> None:
    """Through the Python API: fused, said to be near and not bitwise, and resumable alone."""
    path = write_sweep(tmp_path, {**MLP, **MODELS["mlp"]}, grid={"optimizer.lr": [0.001, 0.003, 0.01, 0.03]})
    found = optrun.sweep(path, executor="fused", jobs=1, runs_dir=tmp_path / "runs")
    runs = [trial.run for trial in found.trials]
    assert {run.summary["engine"] for run in runs} == {"fused"}
    verified = [run.environment["fused"]["verified"] for run in runs]
    assert all(isinstance(each, float) and each < 1e-2 for each in verified)
