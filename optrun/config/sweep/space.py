"""The search of a sweep: which sampler proposes points, how many, and out of which space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from optrun.components.naming import either, near
from optrun.config.document import Document, KeyPath
from optrun.config.overrides import Assignment, key_parts
from optrun.config.spec import Count
from optrun.config.sweep.grid import Axis, Product
from optrun.config.sweep.reading import KeyReader, needed
from optrun.config.types import failed, shown
from optrun.errors import ConfigError

__all__ = ["SAMPLERS", "SPACES", "Search", "SearchKeys", "Space", "read_search"]

SAMPLERS = ("random", "tpe", "gp", "cmaes", "qmc")
"""Of these, `random` is optrun's own, and the others are Optuna's."""

SPACES = {
    "log": "A number between two, each power of ten as likely as the next.",
    "uniform": "A number between two.",
    "int": "A whole number from the first to the second, both included.",
    "choice": "One of the values.",
}
"""The kinds of spaces, and which values each has."""

_FORMS = "{log: [LOW, HIGH]}, {uniform: [LOW, HIGH]}, {int: [LOW, HIGH]} or {choice: [VALUE, …]}"


@dataclass(frozen=True)
class Space:
    """The values a key may take: between `low` and `high` (for `int` both included), or one of `choices`."""

    kind: Literal["log", "uniform", "int", "choice"]
    low: float | int = 0
    high: float | int = 0
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Search:
    """Points that a sampler proposes, `batch` at a time."""

    sampler: str
    trials: int
    space: Mapping[str, Space]
    seed: int = 0
    batch: int = 8


@dataclass(frozen=True)
class SearchKeys:
    """`search` as a sweep writes it."""

    sampler: str
    """random, or of Optuna: tpe, gp, cmaes or qmc."""
    trials: Annotated[int, Field(ge=1, le=100_000)]
    """Points to propose; each is run with every seed."""
    space: dict[str, Any]
    """Per key of the config: {log: [LOW, HIGH]}, {uniform: [LOW, HIGH]}, {int: [LOW, HIGH]} or {choice: [VALUE, …]}."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the sampler: with the same one it proposes the same points."""
    batch: Count = 8
    """Points proposed together, before the results of any of them are known."""


def read_search(reader: KeyReader, value: Any) -> tuple[Search | None, Product]:
    """The search, and its space as axes whose candidates are the bounds and choices; both without keys that are wrong.

    No search if one that it needs is wrong or missing.
    """
    given = reader.part_of(value, ("search",), SearchKeys)
    if given is None:
        return None, {}
    sampler = _sampler(reader, given.get("sampler"))
    if given.get("space") == {}:
        reader.complain(("search", "space"), "is empty; give keys, such as {optimizer.lr: {log: [0.001, 1]}}")
    space: dict[str, Space] = {}
    axes: dict[str, Axis] = {}
    for key, entry in given.get("space", {}).items():
        path = ("search", "space", key)
        try:
            parts = key_parts(key, reader.document.place(path))
        except ConfigError as error:
            reader.problems.extend(error.problems)
            continue
        if parts == ("seed",):
            reader.complain(path, "a sampler chooses no seeds; write seeds: N beside search")
        elif (found := _space(reader, entry, path)) is not None:
            if sampler == "cmaes" and len(found.choices) > 1:
                reader.complain(path, "cmaes searches numbers only; give a range, or take the sampler tpe")
            axis = Axis(parts, reader.document.place(path), _extremes(reader.document, parts, (*path, found.kind)))
            axes[axis.key], space[axis.key] = axis, found
    if not needed(SearchKeys) <= given.keys():
        return None, axes
    options = {key: given[key] for key in ("seed", "batch") if key in given}
    return Search(sampler, given["trials"], space, **options), axes


def _sampler(reader: KeyReader, name: str | None) -> str:
    """The sampler of that name; if it is a wrong one, as it is written."""
    sampler = (name or "").lower()
    if name is not None and sampler not in SAMPLERS:
        hints = near(sampler, SAMPLERS)
        hint = f"did you mean {either(hints)}?" if hints else f"there are {', '.join(SAMPLERS)}"
        reader.complain(("search", "sampler"), f"there is no sampler {shown(name)}; {hint}")
    return sampler


def _extremes(document: Document, parts: tuple[str, ...], path: KeyPath) -> tuple[Assignment, ...]:
    """The bounds or choices at `path`, each with its place."""
    values = document.inside(path)
    return tuple(Assignment(parts, values.inside((index,))) for index in range(len(values.data)))


def _space(reader: KeyReader, entry: Any, path: KeyPath) -> Space | None:
    """What a key may be; None with problems."""
    if not isinstance(entry, Mapping) or len(entry) != 1:
        what = "a mapping of more than one key" if isinstance(entry, Mapping) and entry else shown(entry)
        reader.complain(path, f"must be {_FORMS}, not {what}")
        return None
    ((kind, value),) = entry.items()
    if kind not in SPACES:
        reader.complain((*path, kind), f"there is no such space; there are {', '.join(SPACES)}")
        return None
    if kind == "choice":
        if isinstance(value, list) and value:
            return Space("choice", choices=tuple(value))
        reader.complain((*path, kind), f"must be a list of at least one value, not {shown(value)}")
        return None
    problem = _not_bounds(kind, value)
    if problem:
        reader.complain((*path, kind), problem)
        return None
    return Space(kind, *(value if kind == "int" else map(float, value)))


def _not_bounds(kind: str, value: Any) -> str | None:
    """What is wrong with the bounds of a range."""
    if failed(value, list[int] if kind == "int" else list[float]) or len(value) != 2:
        return f"must be two {'whole ' if kind == 'int' else ''}numbers, [LOW, HIGH], not {shown(value)}"
    low, high = value
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"the bounds must be finite, unlike {shown(value)}"
    if low >= high:
        return f"LOW must be below HIGH, unlike {shown(value)}; for one value write choice"
    if kind == "log" and low <= 0:
        return f"LOW must be above 0 on a logarithmic scale, not {shown(low)}"
    return None
