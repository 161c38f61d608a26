"""What a step of optrun costs, over a step of the bare loop: same model, same batches, same bits.

Both train the network of configs/quickstart.yaml on one thread, turn about, a few epochs at a time, so that whatever
else the machine does falls on both. On optrun's side the clock covers the loop with everything it does at a step:
batches, the check of the loss, a training row every `log_every` steps written to a real run directory, the schedule. On
both sides it leaves out start-up, evaluation and checkpoints. In the end the weights must be equal to the last bit.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import bare_loop
from optrun.components.data import Examples
from optrun.config.loading import load
from optrun.config.spec import Spec
from optrun.experiment import Experiment
from optrun.training.events import Stepped
from optrun.training.preparation import load_data
from optrun.training.randomness import epoch_order

__all__ = ["measure"]

CONFIG = Path(__file__).parent.parent / "configs" / "quickstart.yaml"
TURN = 5
"""Epochs a side trains before it is the other's turn."""


class Bare:
    """The bare loop, with the data, model, optimizer and schedule of the config written out by hand."""

    def __init__(self, spec: Spec) -> None:
        part = load_data(spec).train
        assert isinstance(part, Examples)
        self.inputs, self.targets, self.batch_size, self.seed = part.inputs, part.targets, 64, spec.seed
        self.epoch = 0
        torch.manual_seed(spec.seed)
        self.model = nn.Sequential(
            *(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1)),
            *(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10)),
        )
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=spec.epochs or 0)

    def prepare(self) -> None:
        """Cut the batches of the next turn, off the clock."""
        orders = [epoch_order(self.seed, self.epoch + i, len(self.inputs)) for i in range(TURN)]
        self.batches = [
            list(zip(self.inputs[order].split(self.batch_size), self.targets[order].split(self.batch_size)))
            for order in orders
        ]
        self.epoch += TURN

    def train(self) -> None:
        bare_loop.train(self.model, self.criterion, self.optimizer, self.scheduler, self.batches, clip_norm=1.0)


class Optrun:
    """optrun's own loop, as `optrun train` drives it, writing a run directory."""

    def __init__(self, spec: Spec, directory: str) -> None:
        self.experiment = Experiment.new(spec, directory)
        self.model = self.experiment.state.model
        self.steps_per_turn = self.experiment.state.steps_per_epoch * TURN
        events = self.experiment.events()
        assert isinstance(events, Generator)
        self.events = events

    def prepare(self) -> None:
        """Its batches are cut on the clock."""

    def train(self) -> None:
        for event in self.events:
            if isinstance(event, Stepped) and event.step % self.steps_per_turn == 0:
                return


class Clock:
    """Times the turns of one side, which has its own random numbers and, like a process of its own, torch's flags."""

    def __init__(self, side: Bare | Optrun) -> None:
        self.side = side
        self.random, self.deterministic = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()
        self.seconds: list[float] = []

    def turn(self) -> None:
        self.side.prepare()
        torch.set_rng_state(self.random)
        torch.use_deterministic_algorithms(self.deterministic)
        started = time.perf_counter()
        self.side.train()
        self.seconds.append(time.perf_counter() - started)
        self.random, self.deterministic = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()


def measure(pairs: int) -> dict[str, Any]:
    """The times of `pairs` pairs of turns and their ratios. Raises AssertionError if the weights differ at the end."""
    torch.set_num_threads(1)
    epochs = (pairs + 2) * TURN  # one turn to warm up, and one that is never taken, lest the run end on the clock
    spec = load(
        CONFIG, {"epochs": epochs, "eval_every": epochs, "checkpoint_every": epochs, "threads": 1, "device": "cpu"}
    )
    with tempfile.TemporaryDirectory() as directory:
        optrun, bare = Clock(ours := Optrun(spec, directory)), Clock(theirs := Bare(spec))
        gc.collect()
        for pair in range(pairs + 1):
            for clock in (optrun, bare) if pair % 2 else (bare, optrun):
                clock.turn()
        same_bits(ours.model, theirs.model)
        ours.events.close()
    steps = ours.steps_per_turn
    ratios = [mine / other for mine, other in zip(optrun.seconds[1:], bare.seconds[1:])]
    per_step = {
        name: statistics.median(clock.seconds[1:]) / steps * 1e6 for name, clock in (("optrun", optrun), ("bare", bare))
    }
    return {
        "workload": "digits mlp, batch 64, fp32, one thread",
        "pairs": pairs,
        "steps_per_turn": steps,
        "same_bits_after": (pairs + 1) * steps,
        "ratio": spread(ratios),
        "microseconds_per_step": per_step,
        "ratios": ratios,
    }


def same_bits(mine: nn.Module, other: nn.Module) -> None:
    for (name, value), expected in zip(mine.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(value, expected), f"{name} differs from the bare loop's"


def spread(values: list[float]) -> dict[str, float]:
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "lower_quartile": lower, "upper_quartile": upper, "min": min(values), "max": max(values)}
