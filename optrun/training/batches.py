"""The training part, served in the order of each epoch and cut into optimizer steps."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from optrun.components.data import Examples, Part
from optrun.components.parts import fetch
from optrun.components.transforms import Augment
from optrun.training.packing import is_aligned
from optrun.training.placing import gathered
from optrun.training.precision import Placement, sent
from optrun.training.randomness import epoch_order

__all__ = ["Batches", "MicroBatch"]

MicroBatch = tuple[Tensor, Tensor, float]
"""Inputs, targets, and what the loss is weighted with: the share of the step's examples (1.0 for the whole step)."""

GATHERED_BYTES = 32 * 2**20
"""How much of an epoch is put in order at once; its batches are then views."""


_FORK = "fork" if sys.platform == "linux" else None
"""How loading processes start. They end when their parent has died: behind a fork server, which Python takes by default
from 3.14 on, that would be the server, and a killed run would leave them for ever."""


class Batches:
    """Serves optimizer steps: lists of `accumulate` micro-batches of `batch_size` examples, where `place` puts them.

    The last step of an epoch takes what is left, and so does its last micro-batch. What a step holds depends on
    (seed, epoch, step) alone: examples in memory are put in order and cut; images on disk, and what is augmented anew
    in every epoch, are fetched batch by batch, by `workers` processes if there are any, with the same result.
    `to_loss` turns a batch's targets into the form the loss takes. With `weighted` the losses of the micro-batches
    make their mean over the step's examples; a summed loss needs no weights.
    """

    def __init__(
        self,
        part: Part,
        augment: Augment | None = None,
        *,
        batch_size: int,
        accumulate: int,
        seed: int,
        place: Placement,
        to_loss: Callable[[Tensor], Tensor],
        weighted: bool = True,
        workers: int = 0,
    ) -> None:
        self.in_memory = isinstance(part, Examples) and augment is None
        self.part: Part = Examples(part.inputs, to_loss(part.targets)) if self.in_memory else part  # type: ignore[union-attr]
        self.augment, self.batch_size, self.seed, self.place = augment, batch_size, seed, place
        self.to_loss, self.weighted, self.workers = to_loss, weighted, workers
        self.rows_per_step = batch_size * accumulate
        self.steps_per_epoch = math.ceil(len(part) / self.rows_per_step)

    @property
    def source(self) -> str:
        """Where batches come from, in words."""
        if self.in_memory:
            return f"tensors on {self.part.inputs.device}"  # type: ignore[union-attr]
        return f"{self.workers or 'no'} loading processes"

    def examples(self, step: int) -> int:
        """How many examples step `step` of an epoch has."""
        return min(self.rows_per_step, len(self.part) - step * self.rows_per_step)

    def after(self, epoch: int, step: int) -> Iterator[list[MicroBatch]]:
        """The steps that follow step `step` of epoch `epoch`, without end."""
        return self._gathered(epoch, step) if self.in_memory else self._fetched(epoch, step)

    def orders(self, epoch: int, step: int) -> Iterator[tuple[int, int, Tensor]]:
        """Of each epoch from then on: its number, the example with which its steps begin, and its order."""
        while True:
            yield epoch, step * self.rows_per_step, epoch_order(self.seed, epoch, len(self.part))
            epoch, step = epoch + 1, 0

    def _gathered(self, epoch: int, step: int) -> Iterator[list[MicroBatch]]:
        part: Examples = self.part  # type: ignore[assignment]
        row = part.inputs[0].nbytes + part.targets[0].nbytes
        steps = max(1, GATHERED_BYTES // (row * self.rows_per_step)) if self._cuts_are_aligned(part) else 1
        for _, first, order in self.orders(epoch, step):
            for rows in sent(order[first:], part.inputs.device).split(steps * self.rows_per_step):
                inputs, targets = (gathered(whole, rows, self.place) for whole in (part.inputs, part.targets))
                for x, y in zip(inputs.split(self.rows_per_step), targets.split(self.rows_per_step)):
                    yield self._micro_batches(x, y)

    def _cuts_are_aligned(self, part: Examples) -> bool:
        """Whether a batch that is a view of many lies where one of its own would."""
        return is_aligned(self.batch_size * part.inputs[0].nbytes)

    def _fetched(self, epoch: int, step: int) -> Iterator[list[MicroBatch]]:
        for x, y in self.loader(_Fetching(self.part, self.augment, self.seed), self._wanted(epoch, step)):
            x, y = self.place(x), self.place(y)
            yield self._micro_batches(x, y if y.is_floating_point() else self.to_loss(y))

    def loader(self, dataset: torch.utils.data.Dataset[Any], wanted: Iterator[Any]) -> DataLoader[Any]:
        """One loader for all epochs: its processes go on from one to the next."""
        return DataLoader(
            dataset,
            sampler=wanted,  # type: ignore[arg-type]
            batch_size=None,
            num_workers=self.workers,
            multiprocessing_context=_FORK if self.workers else None,
            pin_memory=self.place.device.type == "cuda",
            generator=torch.Generator(),  # else it would draw from the stream that dropout uses
        )

    def _wanted(self, epoch: int, step: int) -> Iterator[_Wanted]:
        for number, first, order in self.orders(epoch, step):
            for start in range(first, len(order), self.rows_per_step):
                yield _Wanted(number, start, order[start : start + self.rows_per_step])

    def _micro_batches(self, inputs: Tensor, targets: Tensor) -> list[MicroBatch]:
        if len(inputs) <= self.batch_size:
            return [(inputs, targets, 1.0)]
        pieces = inputs.split(self.batch_size)
        if not is_aligned(pieces[0].nbytes):
            pieces = tuple(piece.clone() for piece in pieces)
        pairs = zip(pieces, targets.split(self.batch_size))
        return [(x, y, len(x) / len(inputs) if self.weighted else 1.0) for x, y in pairs]


@dataclass(frozen=True)
class _Wanted:
    """An optimizer step: its epoch, the place of its first example in the epoch's order, its examples (int64 [n])."""

    epoch: int
    position: int
    rows: Tensor


@dataclass(frozen=True)
class _Fetching(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """What a part has for an optimizer step, in the loading processes."""

    part: Part
    augment: Augment | None
    seed: int

    def __getitem__(self, step: _Wanted) -> tuple[Tensor, Tensor]:
        place = {"seed": self.seed, "epoch": step.epoch, "position": step.position}
        return fetch(self.part, step.rows, self.augment, **place)
