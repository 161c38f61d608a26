"""What was chosen: a component's name with the settings it will be called with. The words config and training share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["VAL_FRACTION", "Choice", "DatasetChoice", "OptimizerChoice", "SchedulerChoice"]

VAL_FRACTION = 0.2
"""The share of the training part that becomes the validation part of a data set that brings none."""


@dataclass(frozen=True)
class Choice:
    """`name` as its registry spells it, and the keyword arguments the configuration gave, types already checked."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def own(self) -> dict[str, Any]:
        """The keys that are optrun's and not the component's, where they say something."""
        return {}

    def as_config(self) -> dict[str, Any]:
        """The choice as a configuration would write it: `{name: …, setting: …}`."""
        return {"name": self.name, **_as_config({**self.settings, **self.own()})}


@dataclass(frozen=True)
class OptimizerChoice(Choice):
    """An optimizer, the groups of parameters that get values of their own, and who takes the parameters it cannot."""

    param_groups: tuple[Mapping[str, Any], ...] = ()
    """Each with `match` (a pattern of parameter names, or bias, norm, embedding, 1d) and the values of that group."""
    fallback: OptimizerChoice | None = None

    def own(self) -> dict[str, Any]:
        groups = {"param_groups": self.param_groups} if self.param_groups else {}
        return groups | ({"fallback": self.fallback} if self.fallback else {})


@dataclass(frozen=True)
class SchedulerChoice(Choice):
    """A learning-rate scheduler, when it steps (None: at its natural time) and the metric it watches, if it does."""

    interval: Literal["step", "epoch"] | None = None
    metric: str | None = None

    def own(self) -> dict[str, Any]:
        own = {"interval": self.interval, "metric": self.metric}
        return {key: value for key, value in own.items() if value is not None}


@dataclass(frozen=True)
class DatasetChoice(Choice):
    """A data set and how it is cut and served: the keys every data set takes."""

    batch_size: int = 1
    """Examples in a micro-batch."""
    split_seed: int = 0
    val_fraction: float | None = None
    test_fraction: float | None = None
    transforms: tuple[Choice, ...] | Mapping[str, tuple[Choice, ...]] = ()
    workers: int = 0

    def own(self) -> dict[str, Any]:
        keys = ("batch_size", "split_seed", "val_fraction", "test_fraction", "transforms", "workers")
        default = DatasetChoice("")
        own = {key: getattr(self, key) for key in keys}
        return {key: value for key, value in own.items() if key == "batch_size" or value != getattr(default, key)}


def _as_config(value: Any) -> Any:
    if isinstance(value, Choice):
        return value.as_config()
    if isinstance(value, Mapping):
        return {key: _as_config(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_config(item) for item in value]
    return value
