"""What the trials of a sweep are judged by, and which are given up early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from optrun.components.naming import either, near
from optrun.config.spec import Count, Spec
from optrun.config.sweep.reading import KeyReader
from optrun.config.types import shown

__all__ = ["Objective", "ObjectiveKeys", "Prune", "judge_prune", "objective_of"]


@dataclass(frozen=True)
class Objective:
    """What the trials are judged by."""

    metric: str
    mode: Literal["min", "max"]


@dataclass(frozen=True)
class ObjectiveKeys:
    """`objective` as a sweep writes it."""

    metric: str
    """A key of metrics.jsonl that every trial has: val/loss, or val/accuracy with accuracy among the metrics."""
    mode: Literal["min", "max"] | None = None
    """Which way is better; by default the metric's own."""


@dataclass(frozen=True)
class Prune:
    """Successive halving: after `min_epochs`, `min_epochs`·eta, … only the best 1/eta of the points go on."""

    min_epochs: Count
    """Epochs of every trial before the first is given up."""
    eta: Annotated[int, Field(ge=2)] = 3
    """Of so many points one goes on, for so many times the epochs."""


def objective_of(reader: KeyReader, written: ObjectiveKeys | None, specs: Sequence[Spec]) -> Objective | None:
    """The objective of trials with these specs; None with problems."""
    if written is None:
        watched = {spec.watched for spec in specs}
        if len(watched) == 1:
            return Objective(*watched.pop())
        names = ", ".join(sorted(metric for metric, _ in watched))
        reader.complain((), f"the trials' first metrics differ ({names}); add objective: {{metric: KEY}} to judge all")
        return None
    metric = written.metric
    common = [key for key in specs[0].judges if all(key in spec.judges for spec in specs)]
    if metric in common:
        return Objective(metric, written.mode or specs[0].mode_of(metric))
    everywhere = "every trial has" if len(specs) > 1 else "the trial has"
    some = any(metric in spec.judges for spec in specs)
    hints = [] if some else near(metric, common) or near(f"val/{metric}", common)
    hint = f"did you mean {either(hints)}?" if hints else f"{everywhere} {', '.join(common)} (add others to metrics)"
    no_trial = "some trials have no" if some else "no trial has"
    reader.complain(("objective", "metric"), f"{no_trial} {shown(metric)}; {hint}")
    return None


def judge_prune(reader: KeyReader, prune: Prune, specs: Sequence[Spec]) -> None:
    """Complain unless every trial is evaluated at the end of `min_epochs` and goes on after it."""
    path = ("prune", "min_epochs")
    if any(spec.epochs is None for spec in specs):
        reader.complain(("prune",), "counts epochs, and a trial is so many steps long; give its length as epochs")
    shortest = min((spec.epochs for spec in specs if spec.epochs is not None), default=None)
    if shortest is not None and shortest <= prune.min_epochs:
        reader.complain(path, f"must be below the epochs of every trial, and one has {shortest}; make it smaller")
    intervals = {spec.eval_every for spec in specs}
    if any(not isinstance(interval, int) for interval in intervals):
        reader.complain(("prune",), "needs an evaluation after whole epochs; give eval_every as epochs")
    uneven = sorted(each for each in intervals if isinstance(each, int) and prune.min_epochs % each)
    if uneven:
        reader.complain(path, f"must be a multiple of eval_every, which is {uneven[0]}; nothing is known in between")
