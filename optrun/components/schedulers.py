"""Learning-rate schedulers: the classes of `torch.optim.lr_scheduler`, built with their own settings.

optrun adds three things that torch leaves to its caller: the horizon of a schedule that must know the run's length, the
time at which each scheduler naturally steps, and a warm-up that hands over to ReduceLROnPlateau.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from optrun.components.choice import Choice, SchedulerChoice
from optrun.components.registry import functions, schedulers

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

__all__ = ["HORIZONS", "PER_STEP", "WarmupThenPlateau", "build", "interval_of", "members", "uses_horizon"]

HORIZONS = {"CosineAnnealingLR": "T_max", "OneCycleLR": "total_steps"}
"""The setting that torch requires to know the run's length, filled in when it is left out."""

PER_STEP = {"CyclicLR", "OneCycleLR"}
"""Schedulers that torch documents as stepping after every batch; the others step every epoch."""

POSITIVE: dict[str, tuple[str, ...]] = {
    "StepLR": ("step_size",),
    "CosineAnnealingLR": ("T_max",),
    "CyclicLR": ("step_size_up", "step_size_down"),
    "LinearLR": ("total_iters",),
    "PolynomialLR": ("total_iters",),
    "OneCycleLR": ("total_steps", "epochs", "steps_per_epoch", "div_factor", "final_div_factor"),
    "CosineAnnealingWarmRestarts": ("T_0", "T_mult"),
}
"""Settings that some classes accept at zero or below and fail on, or misbehave with, hundreds of steps later."""


def members(choice: SchedulerChoice) -> list[SchedulerChoice]:
    """The scheduler and every scheduler nested in it."""
    nested = choice.settings.get("schedulers") or []
    return [choice, *(member for child in nested if child is not None for member in members(child))]


def interval_of(choice: SchedulerChoice) -> Literal["step", "epoch"]:
    """When the scheduler steps: as it says, else every step if it or a member is made to, else every epoch.

    ReduceLROnPlateau alone steps after each evaluation, whatever this says.
    """
    if choice.interval is not None:
        return choice.interval
    return "step" if any(member.name in PER_STEP for member in members(choice)) else "epoch"


def uses_horizon(choice: SchedulerChoice) -> list[str]:
    """The settings of this schedule that depend on the run's length, as `CosineAnnealingLR.T_max`."""
    found = []
    for member in members(choice):
        found += [f"{member.name}.{key}" for key, value in member.settings.items() if _says_run(value)]
        if _needs_horizon(member):
            found.append(f"{member.name}.{HORIZONS[member.name]}")
        elif member.name == "OneCycleLR":
            found.append("OneCycleLR.total_steps")
    return found


def build(choice: SchedulerChoice, optimizer: Optimizer, horizon: int) -> LRScheduler | WarmupThenPlateau:
    """The scheduler of `choice` on `optimizer`, for a run of `horizon` steps (in the scheduler's own interval).

    Raises ValueError or TypeError as torch does for values it refuses.
    """
    settings = {key: _value(value, horizon) for key, value in choice.settings.items() if key != "schedulers"}
    if _needs_horizon(choice):
        settings[HORIZONS[choice.name]] = horizon
    nested: Sequence[SchedulerChoice] = choice.settings.get("schedulers", ())
    create = schedulers.find(choice.name).load()
    if choice.name == "SequentialLR":
        return _sequence(nested, settings, optimizer, horizon)
    if choice.name == "ChainedScheduler":
        return create([build(member, optimizer, horizon) for member in nested], optimizer=optimizer, **settings)
    return create(optimizer, **settings)


def segments(milestones: Sequence[int], horizon: int) -> list[int]:
    """How long each member of a SequentialLR runs: `milestones` are where the next one begins."""
    edges = [0, *milestones, horizon]
    return [max(1, end - start) for start, end in zip(edges, edges[1:])]


class WarmupThenPlateau:
    """Schedulers in sequence whose last is ReduceLROnPlateau, which torch's SequentialLR refuses.

    Up to the last milestone (in steps of this schedule) the warm-up steps; from there on the learning rate belongs to
    the plateau, which sees only evaluations made after the milestone.
    """

    def __init__(self, warmup: LRScheduler, plateau: ReduceLROnPlateau, milestone: int) -> None:
        self.warmup, self.plateau, self.milestone = warmup, plateau, milestone
        self.taken = 0

    def step(self) -> None:
        if self.taken < self.milestone:
            self.warmup.step()
        self.taken += 1

    def evaluated(self, value: float) -> None:
        """Show the plateau the watched metric, once the warm-up is over."""
        if self.taken >= self.milestone:
            self.plateau.step(value)

    def state_dict(self) -> dict[str, Any]:
        states = {"warmup": self.warmup.state_dict(), "plateau": self.plateau.state_dict()}
        return {"taken": self.taken, **states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.taken = state["taken"]
        self.warmup.load_state_dict(state["warmup"])
        self.plateau.load_state_dict(state["plateau"])


def _sequence(nested: Sequence[SchedulerChoice], settings: dict[str, Any], optimizer: Optimizer, horizon: int) -> Any:
    milestones = settings["milestones"]
    lengths = segments(milestones, horizon)
    built: list[Any] = [build(member, optimizer, length) for member, length in zip(nested, lengths)]
    sequential = schedulers.find("SequentialLR").load()
    if nested[-1].name != "ReduceLROnPlateau":
        return sequential(optimizer, built, **settings)
    *before, plateau = built
    warmup = before[0] if len(before) == 1 else sequential(optimizer, before, milestones=milestones[:-1])
    return WarmupThenPlateau(warmup, plateau, milestones[-1])


def _needs_horizon(choice: SchedulerChoice) -> bool:
    given = {key for key, value in choice.settings.items() if value is not None}
    if choice.name == "OneCycleLR" and {"epochs", "steps_per_epoch"} <= given:
        return False
    return choice.name in HORIZONS and HORIZONS[choice.name] not in given


def _value(value: Any, horizon: int) -> Any:
    """A setting as torch takes it: `run` is the horizon, a named function the function with its settings."""
    if value == "run":
        return horizon
    if isinstance(value, Choice):
        settings = {key: _value(item, horizon) for key, item in value.settings.items()}
        return functools.partial(functions.find(value.name).load(), **settings)
    if isinstance(value, list):
        return [_value(item, horizon) for item in value]
    return value


def _says_run(value: Any) -> bool:
    if isinstance(value, SchedulerChoice):
        return False  # a member of its own
    if isinstance(value, Choice):
        return any(_says_run(item) for item in value.settings.values())
    return any(_says_run(item) for item in value) if isinstance(value, list) else value == "run"
