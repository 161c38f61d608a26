"""The training part as one of several processes sees it: its own share of every micro-batch.

The order of an epoch and where its steps begin and end are those of one process. Each micro-batch is cut into as many
pieces as there are processes, of sizes that differ by one at most; together they hold every example once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from optrun.components.data import Examples, Part
from optrun.components.parts import fetch
from optrun.components.transforms import Augment
from optrun.training.batches import Batches, MicroBatch
from optrun.training.precision import sent
from optrun.training.ranks import Ranks

__all__ = ["Shares"]


class Shares:
    """What `Batches` serves, for this process. `batch_size` stays that of all processes together."""

    def __init__(self, whole: Batches, ranks: Ranks) -> None:
        self.whole, self.ranks = whole, ranks
        self.steps_per_epoch, self.in_memory = whole.steps_per_epoch, whole.in_memory

    @property
    def source(self) -> str:
        return self.whole.source

    def examples(self, step: int) -> int:
        """How many examples step `step` of an epoch has, over all processes."""
        return self.whole.examples(step)

    def after(self, epoch: int, step: int) -> Iterator[list[MicroBatch]]:
        """This process's share of the steps that follow step `step` of epoch `epoch`, without end."""
        whole = self.whole
        steps = self._steps(epoch, step)
        if self.in_memory:
            part: Examples = whole.part  # type: ignore[assignment]
            for pieces in steps:
                rows = [sent(piece.rows, part.inputs.device) for piece in pieces]
                served = ((part.inputs.index_select(0, own), part.targets.index_select(0, own)) for own in rows)
                yield [(whole.place(x), whole.place(y), piece.share) for (x, y), piece in zip(served, pieces)]
        else:
            for fetched in whole.loader(_Fetching(whole.part, whole.augment, whole.seed), steps):
                placed = ((whole.place(x), whole.place(y), share) for x, y, share in fetched)
                yield [(x, y if y.is_floating_point() else whole.to_loss(y), share) for x, y, share in placed]

    def _steps(self, epoch: int, step: int) -> Iterator[list[_Piece]]:
        for number, first, order in self.whole.orders(epoch, step):
            for start in range(first, len(order), self.whole.rows_per_step):
                rows = order[start : start + self.whole.rows_per_step]
                yield list(self._pieces(number, start, rows))

    def _pieces(self, epoch: int, position: int, rows: Tensor) -> Iterator[_Piece]:
        """Of each micro-batch of a step the own piece. Where there are fewer examples than processes, the first example
        stands in, with a share of 0, since every process has to take part in every pass."""
        for begin in range(0, len(rows), self.whole.batch_size):
            micro_batch = rows[begin : begin + self.whole.batch_size]
            own = self.ranks.share(len(micro_batch))
            piece = micro_batch[own]
            if len(piece):
                share = len(piece) / len(rows) if self.whole.weighted else 1.0
                yield _Piece(epoch, position + begin + own.start, piece, share)
            else:
                yield _Piece(epoch, position + begin, micro_batch[:1], 0.0)


class _Piece(NamedTuple):
    """Its epoch, the place of its first example in the epoch's order, its examples (int64 [n]), their share."""

    epoch: int
    position: int
    rows: Tensor
    share: float


@dataclass(frozen=True)
class _Fetching(torch.utils.data.Dataset[list[MicroBatch]]):
    """What a part has for the pieces of a step, in the loading processes."""

    part: Part
    augment: Augment | None
    seed: int

    def __getitem__(self, pieces: list[_Piece]) -> list[MicroBatch]:
        return [
            (*fetch(self.part, rows, self.augment, seed=self.seed, epoch=epoch, position=position), share)
            for epoch, position, rows, share in pieces
        ]
