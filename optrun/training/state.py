"""The state: everything that changes while training, which is exactly what a checkpoint holds."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from optrun.components.data import Data
from optrun.training.clock import Clock
from optrun.training.passes import Passes
from optrun.training.precision import Placement
from optrun.training.progress import Progress
from optrun.training.randomness import Generators
from optrun.training.recent import Recent
from optrun.training.schedule import Schedule
from optrun.training.stepping import Stepper

if TYPE_CHECKING:
    from optrun.training.parallel import Parallel

__all__ = ["State"]


@dataclass
class State:
    """A run between two steps."""

    model: nn.Module
    optimizer: Stepper
    schedule: Schedule
    progress: Progress
    recent: Recent

    criterion: Callable[[Tensor, Tensor], Tensor]
    metrics: Mapping[str, Callable[..., float]]
    data: Data
    loss_targets: Callable[[Tensor], Tensor]
    """Turns targets as the data have them into the form the loss takes."""
    place: Placement
    autocast: Callable[[], contextlib.AbstractContextManager[Any]]
    steps_per_epoch: int
    total_steps: int

    generators: Generators = field(default_factory=Generators)
    parallel: Parallel | None = None
    """How several processes train the model together; None where one trains it alone."""

    step: int = 0
    """Optimizer steps taken."""
    epoch: int = 0
    """Epochs finished."""
    batch: int = 0
    """Optimizer steps taken in the epoch that is under way."""
    evaluated: int = 0
    """The step of the latest evaluation."""
    time: float = 0.0
    """Seconds of training, without evaluation, logging and checkpoints."""
    samples: int = 0
    """Training examples seen."""

    checks_every_loss: bool = field(init=False)
    clock: Clock = field(init=False)
    passes: Passes = field(init=False)
    """Forward and backward passes that have been recorded."""

    def __post_init__(self) -> None:
        self.checks_every_loss = self.place.device.type == "cpu"
        self.clock = Clock(self.place.device)
        self.passes = Passes(self)

    def train(self) -> None:
        """Model and optimizer into training mode."""
        self.model.train()
        self.optimizer.train()

    def eval(self) -> None:
        """Model and optimizer into evaluation mode."""
        self.model.eval()
        self.optimizer.eval()

    def advance(self, samples: int) -> None:
        """Count the step just taken, over `samples` examples; the schedule hears of it when it ended an epoch."""
        self.samples += samples
        self.step += 1
        self.batch += 1
        if self.batch == self.steps_per_epoch:
            self.epoch, self.batch = self.epoch + 1, 0
            self.schedule.after_epoch()

    def settle(self) -> None:
        """Fetch what the latest steps left on the device. Raises Diverged; nothing may be saved before this."""
        self.recent.gather(self.step)
        self.time += self.clock.seconds()

    def training_row(self) -> dict[str, Any]:
        """The latest step as a row of metrics.jsonl; its values must have been fetched."""
        last = self.recent
        row = {"step": self.step, "epoch": last.last_epoch, "time": self.time, "train/loss": last.last_loss}
        norm = {} if last.last_norm is None else {"grad_norm": last.last_norm}
        return {**row, "lr": last.last_lr, **norm}

    def state_dict(self) -> dict[str, Any]:
        """All that a resume needs, as values `torch.load(weights_only=True)` reads."""
        return self._whole(self._held())

    def weights(self) -> dict[str, Any]:
        """The model's part of it."""
        return self._whole(self.model.state_dict())

    def _whole(self, held: dict[str, Any]) -> dict[str, Any]:
        """Of what several processes hold together, all of it."""
        return held if self.parallel is None else self.parallel.whole(held)

    def _held(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            **self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "progress": self.progress.state_dict(),
            "random": self.generators.state_dict(),
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            "evaluated": self.evaluated,
            "time": self.time,
            "samples": self.samples,
            "recent": self.recent.state_dict(),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Put everything back. The schedulers exist already: loading the optimizer before building them would lose
        the initial learning rates."""
        if self.parallel is not None:
            saved = self.parallel.parted(saved, self.model)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(dict(saved))
        self.schedule.load_state_dict(saved["schedule"])
        self.progress.load_state_dict(saved["progress"])
        self.generators.load_state_dict(saved["random"])
        for key in ("step", "epoch", "batch", "evaluated", "time", "samples"):
            setattr(self, key, saved[key])
        self.recent.load_state_dict(saved["recent"])

    @property
    def is_compiled(self) -> bool:
        """Whether the model's outputs and gradients may lie where its next call will write (CUDA graphs)."""
        return self.model._compiled_call_impl is not None

    @property
    def device(self) -> torch.device:
        return self.place.device

    @property
    def clipped_fraction(self) -> float | None:
        """Share of the steps whose gradient norm was above `clip_norm`; None when no norm is measured."""
        if self.recent.clip_norm is None:
            return None
        return self.recent.clipped / self.step if self.step else math.nan
