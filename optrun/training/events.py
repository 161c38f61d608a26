"""What a run says while it trains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Evaluated", "Event", "Stepped"]


@dataclass(slots=True)
class Stepped:
    """An optimizer step was taken. `row` is its training row, on the steps that are logged."""

    step: int
    row: dict[str, Any] | None = None


@dataclass(slots=True)
class Evaluated:
    """The validation part was evaluated after `step`. `scheduled` is false when only the run's end asked for it."""

    step: int
    epoch: int
    time: float
    values: dict[str, float] = field(default_factory=dict)
    scheduled: bool = True

    @property
    def row(self) -> dict[str, Any]:
        return {"step": self.step, "epoch": self.epoch, "time": self.time, **self.values}


Event = Stepped | Evaluated
