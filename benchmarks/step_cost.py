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
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import bare_loop
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
    """The bare loop with the data, model, optimizer and schedule of the config, written out by hand."""

    def __init__(self, spec: Spec) -> None:
        self.part, self.seed, self.batch_size = load_data(spec).train, spec.seed, spec.dataset.batch_size
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
        """Cut the batches of the next turn; not on the clock."""
        orders = [epoch_order(self.seed, self.epoch + i, len(self.part)) for i in range(TURN)]
        self.batches = [list(zip(*(t[order].split(self.batch_size) for t in self.tensors))) for order in orders]
        self.epoch += TURN

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        return self.part.inputs, self.part.targets  # type: ignore[union-attr]

    def train(self) -> None:
        bare_loop.train(self.model, self.criterion, self.optimizer, self.scheduler, self.batches, clip_norm=1.0)

    def close(self) -> None:
        pass


class Optrun:
    """optrun's own loop, writing a run directory."""

    def __init__(self, spec: Spec) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.experiment = Experiment.new(spec, self.directory.name)
        self.model = self.experiment.state.model
        self.steps = self.experiment.state.steps_per_epoch * TURN
        self.events = self.experiment.events()

    def prepare(self) -> None:
        pass

    def train(self) -> None:
        for event in self.events:
            if isinstance(event, Stepped) and event.step % self.steps == 0:
                return

    def close(self) -> None:
        self.events.close()
        self.directory.cleanup()


def measure(pairs: int) -> dict[str, Any]:
    """Ratios of `pairs` pairs of turns. Raises AssertionError when the weights differ at the end."""
    torch.set_num_threads(1)
    epochs = (pairs + 2) * TURN
    never = {"eval_every": epochs, "checkpoint_every": epochs}
    spec = load(CONFIG, {"epochs": epochs, "threads": 1, "device": "cpu", **never})
    sides = []
    for side in (Optrun, Bare):
        sides.append((side(spec), torch.get_rng_state()))
    
    streams = dict(sides)
    ours, theirs = streams
    wall, cpu = [], []
    gc.collect()
    for pair in range(pairs + 1):
        spent = {}
        for side in (ours, theirs) if pair % 2 else (theirs, ours):
            side.prepare()
            torch.set_rng_state(streams[side])
            started = time.perf_counter(), time.process_time()
            side.train()
            spent[side] = time.perf_counter() - started[0], time.process_time() - started[1]
            streams[side] = torch.get_rng_state()
        wall.append((spent[ours][0], spent[theirs][0]))
        cpu.append((spent[ours][1], spent[theirs][1]))
    for (name, mine), other in zip(ours.model.state_dict().items(), theirs.model.state_dict().values(), strict=True):
        assert torch.equal(mine, other), f"{name} differs from the bare loop's"
    for side in streams:
        side.close()
    steps = ours.steps
    def spread(times):
        ratios = [a/b for a,b in times[1:]]
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return {"median": median, "quartiles": [low, high], "min": min(ratios), "max": max(ratios)}
    return {"steps": steps, "wall": spread(wall), "cpu": spread(cpu), "us ours/bare cpu": [statistics.median(x[i] for x in cpu)/steps*1e6 for i in (0,1)]}
