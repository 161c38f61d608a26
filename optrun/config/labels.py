"""How settings, numbers and counts are written for people: `lr 0.1, momentum 0.9`, `3 runs`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Labels", "brief", "counted", "fixed"]


class Labels:
    """The shortest words that tell the points of one sweep from each other.

    `optimizer.lr` is `lr`, unless another axis ends like it. A whole component is its name, with those settings in
    brackets in which other candidates of the same name differ.
    """

    def __init__(self, points: Iterable[Mapping[str, Any]]) -> None:
        values: dict[str, list[Any]] = {}
        for settings in points:
            for key, value in settings.items():
                values.setdefault(key, []).append(value)
        meant = {key: key.removesuffix(".name") for key in values}
        last = {key: name.rpartition(".")[2] for key, name in meant.items()}
        often = Counter(last.values())
        self.names = {key: last[key] if often[last[key]] == 1 else meant[key] for key in values}
        """How each axis is called, in the order in which they were met."""
        self._telling = {key: _telling(found) for key, found in values.items()}

    def value(self, key: str, value: Any) -> str:
        """A value of that axis in a few characters: `0.1`, `none`, `[64, 32]`, `CyclicLR (max_lr 0.1)`."""
        if isinstance(value, Mapping) and (telling := self._telling.get(key, {}).get(value.get("name"))) is not None:
            value = {setting: item for setting, item in value.items() if setting == "name" or setting in telling}
        return _written(value)

    def line(self, settings: Mapping[str, Any], seed: int | None = None) -> str:
        """A point in a line, or with a `seed` a trial."""
        words = [f"{self.names.get(key, key)} {self.value(key, value)}" for key, value in settings.items()]
        return ", ".join([*words, *([f"seed {seed}"] if seed is not None else [])])

    def label(self, settings: Mapping[str, Any]) -> str:
        """A point as a name for it: components first, and without saying what they are: `SGD, lr 0.1`."""
        named = {key: value for key, value in settings.items() if key.endswith(".name") and isinstance(value, str)}
        others = {key: value for key, value in settings.items() if key not in named}
        return ", ".join([*named.values(), *([self.line(others)] if others else [])])


def _telling(candidates: Iterable[Any]) -> dict[Any, set[str]]:
    """Of each name, the settings in which the components of that name differ."""
    alike: dict[Any, list[Mapping[str, Any]]] = {}
    for value in candidates:
        settings = value if isinstance(value, Mapping) else {"name": value} if isinstance(value, str) else None
        if settings is not None and isinstance(settings.get("name"), str):
            alike.setdefault(settings["name"], []).append(settings)
    return {
        name: {key for each in group for key in each if any(each[key] != other.get(key, ...) for other in group)}
        for name, group in alike.items()
    }


def _written(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        settings = ", ".join(f"{key} {_written(item)}" for key, item in value.items() if key != "name")
        return " ".join(part for part in (str(value.get("name", "")), f"({settings})" if settings else "") if part)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    return brief(value)


def brief(value: Any, digits: int = 4) -> str:
    """A number in `digits` significant digits: 0.9778, 460, 2.5e-5, nan. What is no number is written as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) and not 10**6 <= abs(value) < 10**300:
        return str(value)
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def fixed(value: Any) -> str:
    """A number with four decimals, so that a column of them is aligned; very small and large ones as `brief` does."""
    if isinstance(value, float) and (value == 0 or 1e-3 <= abs(value) < 1e4):
        return f"{value:.4f}"
    return brief(value)


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
