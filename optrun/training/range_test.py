"""The learning-rate range test: train a little while the rate rises, and see where the loss falls fastest.

Sources: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3; the smoothing, the end at four
times the best loss and the two suggestions are those of fastai's `lr_find` (`minimum`, `steep`). The lower of the two
is recommended: on eleven configs (MLPs, CNNs, a transformer, an embedding bag; SGD, Adam, AdamW, RMSprop, Muon) it
came within a factor of four of the best rate of a grid; a tenth of the minimum alone was up to four times too high,
the steepest alone up to ten.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optrun.components.optimizers import NEEDS_CLOSURE
from optrun.config.spec import Spec
from optrun.errors import Diverged, UsageError
from optrun.training.batches import Batches
from optrun.training.loop import train_step
from optrun.training.state import State

if TYPE_CHECKING:
    from optrun.training.shares import Shares

__all__ = ["Measured", "Suggestion", "range_test", "suggest"]

BETA = 0.98
"""Weight of the past in the smoothed loss."""

DIVERGED = 4.0
"""The test ends when the smoothed loss is above so many times its best."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A step of the test: the rate it used (of a group that has the optimizer's own), its loss before the step, and
    the exponential average of the losses so far, corrected for its beginning."""

    lr: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class Suggestion:
    """Learning rates read off a range test; None where it does not show them."""

    minimum: float | None
    """Where the smoothed loss is lowest, if it rises again after that."""
    steepest: float | None
    """Where, on the way down to there, the smoothed loss falls fastest over the logarithm of the rate."""

    @property
    def lr(self) -> float | None:
        """The lower of a tenth of the minimum and the steepest, in two digits."""
        if self.minimum is None or self.steepest is None:
            return None
        return float(f"{min(self.minimum / 10, self.steepest):.2g}")


def range_test(
    state: State, batches: Batches | Shares, spec: Spec, *, low: float, high: float, steps: int
) -> Iterator[Measured]:
    """Train a fresh `state` for up to `steps` steps with rates that rise geometrically from `low` to `high`.

    Every parameter group keeps its proportion to the optimizer's `lr`. The state must have no scheduler. Ends early
    when the loss diverges. Raises UsageError for optimizers that have no step of a given size.
    """
    if spec.optimizer.name in NEEDS_CLOSURE:
        raise UsageError(f"{spec.optimizer.name} takes many steps on each batch: a range test of its lr says nothing")
    groups = [group for optimizer in state.optimizer.optimizers for group in optimizer.param_groups]
    reference = float(state.optimizer.optimizers[0].defaults["lr"])
    if not reference:
        raise UsageError("optimizer.lr is 0, and a range test multiplies it; give it any other value")
    proportions = [float(group["lr"]) / reference for group in groups]
    upcoming = batches.after(0, 0)
    average, best = 0.0, math.inf
    state.train()
    for step in range(steps):
        lr = low * (high / low) ** (step / max(1, steps - 1))
        for group, proportion in zip(groups, proportions):
            group["lr"] = lr * proportion
        try:
            loss = float(train_step(state, next(upcoming), spec)[0])
        except Diverged:
            return
        if not math.isfinite(loss):
            return
        average = BETA * average + (1 - BETA) * loss
        smoothed = average / (1 - BETA ** (step + 1))
        best = min(best, smoothed)
        yield Measured(lr, loss, smoothed)
        if smoothed > DIVERGED * best:
            return


def suggest(measured: Sequence[Measured], steps: int) -> Suggestion:
    """What a range test of `steps` planned steps suggests. As in fastai, the first tenth, where the average settles, is
    left out, and so are the last five steps of one that ended early."""
    kept = measured[steps // 10 : len(measured) - (5 if len(measured) < steps else 0)]
    lowest = min(range(len(kept)), key=lambda i: kept[i].smoothed, default=0)
    if lowest == 0 or (lowest == len(kept) - 1 and len(measured) == steps):
        return Suggestion(None, None)
    down = kept[: lowest + 1]
    slopes = [
        (after.smoothed - before.smoothed) / math.log(after.lr / before.lr) for before, after in zip(down, down[1:])
    ]
    return Suggestion(kept[lowest].lr, down[min(range(len(slopes)), key=slopes.__getitem__)].lr)
