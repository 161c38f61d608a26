"""What a group's runs cost and how often their gradients were clipped: medians over the seeds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from optrun.comparisons.grouping import Group

__all__ = ["Costs", "costs"]


@dataclass(frozen=True)
class Costs:
    """Medians of the completed runs; None where no run has the figure."""

    samples_per_second: float | None
    train_time: float | None
    """Seconds of training, without evaluation, logging and checkpoints."""
    clipped_fraction: float | None
    """The share of steps whose gradient was clipped."""
    parameters: int | None


def costs(group: Group) -> Costs:
    """Of a group. Throughput depends on the machine and on what else it did: compare it within one sweep only."""

    def median(key: str) -> float | None:
        values = [outcome.summary.get(key) for outcome in group.outcomes if outcome.status == "completed"]
        known = [value for value in values if isinstance(value, int | float)]
        return statistics.median(known) if known else None

    parameters = median("parameters")
    return Costs(
        samples_per_second=median("samples_per_second"),
        train_time=median("train_time"),
        clipped_fraction=median("clipped_fraction"),
        parameters=None if parameters is None else int(parameters),
    )
