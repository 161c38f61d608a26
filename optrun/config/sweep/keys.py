"""What a sweep says besides its base: its keys with their types and meanings, read with every problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from optrun.config.loading import no_such_name
from optrun.config.spec import Name, Spec
from optrun.config.sweep.grid import Product, axis_from_text, read_grid
from optrun.config.sweep.objective import ObjectiveKeys, Prune
from optrun.config.sweep.reading import KeyReader, field_types
from optrun.config.sweep.space import Search, read_search
from optrun.config.types import expected, failed, no_such_key, shown
from optrun.errors import ConfigError, Problem

__all__ = ["SweepKeys", "Told", "read_keys"]

MOST_SEEDS = 100_000
NumberOfSeeds = Annotated[int, Field(ge=1, le=MOST_SEEDS)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True)
class SweepKeys:
    """A sweep as its file writes it."""

    name: Name
    """What the sweep is called; by default the file's stem."""
    base: str | dict[str, Any]
    """The run that is varied: the path of its config, relative to this file, or the config itself."""
    seeds: NumberOfSeeds | list[Seed]
    """Every point is run with each: N for 0 to N-1, or a list of seeds; by default the base's own seed."""
    grid: dict[str, list[Any]] | list[dict[str, list[Any]]]
    """Candidates by key of the config, each combined with each; or a list of such mappings, one after the other."""
    search: dict[str, Any]
    """Instead of a grid: a sampler that proposes points."""
    objective: dict[str, Any]
    """What the trials are judged by; by default the first of the base's metrics."""
    prune: dict[str, Any]
    """Successive halving: the worse points are given up early."""
    notes: str = ""
    """Anything worth remembering; it changes nothing."""
    tags: list[str] = field(default_factory=list)
    """Words to find the sweep by."""


@dataclass(frozen=True)
class Told:
    """What the file and the command line say of a sweep. With problems it lacks what is wrong."""

    name: str
    notes: str
    tags: tuple[str, ...]
    seeds: tuple[int, ...] | None
    products: list[Product]
    search: Search | None
    space: Product
    """The keys of the search, as axes: their candidates are the bounds and choices."""
    objective: ObjectiveKeys | None
    prune: Prune | None


def read_keys(reader: KeyReader, axes: Sequence[str], stem: str) -> Told:
    """What the reader's document and the axes of the command line say; `stem` is the name of a sweep without one."""
    given = {key: value for key, value in reader.document.data.items() if value is not None}
    _judge_keys(reader)
    products = _with_axes(reader, read_grid(reader, given.get("grid")), axes, "search" in given)
    seeds = _seeds(reader, given.get("seeds"))
    if seeds is not None:
        for axis in [product["seed"] for product in products if "seed" in product]:
            reader.problems.append(Problem(*axis.place, "seed", "stands beside seeds; remove one of the two"))
    search, space = read_search(reader, given["search"]) if "search" in given else (None, {})
    if "grid" in given and "search" in given:
        reader.complain(("search",), "a sweep has a grid or a search; remove one of the two")
    objective, prune = (
        reader.mapping(given[key], (key,), fields) if key in given else None
        for key, fields in (("objective", ObjectiveKeys), ("prune", Prune))
    )
    return Told(
        name=_name(reader, stem),
        notes=_text_or(reader, "notes", ""),
        tags=tuple(_text_or(reader, "tags", [])),
        seeds=seeds,
        products=products,
        search=search,
        space=space,
        objective=ObjectiveKeys(**objective) if objective else None,
        prune=Prune(**prune) if prune else None,
    )


def _judge_keys(reader: KeyReader) -> None:
    known = field_types(SweepKeys)
    for key in reader.document.data.keys() - known.keys():
        of_run = key in Spec.model_fields and key != "seed"
        message = f"this is a key of a run; write it in the base, or vary it: grid: {{{key}: [VALUE, …]}}"
        reader.complain((key,), message if of_run else no_such_key(key, list(known)))


def _name(reader: KeyReader, stem: str) -> str:
    name = reader.document.data.get("name", stem)
    if failed(name, field_types(SweepKeys)["name"]):
        by_file = "name" not in reader.document.data
        reader.complain(("name",), no_such_name(name) + ("; add name: NAME" if by_file else ""))
    return str(name)


def _text_or(reader: KeyReader, key: str, default: Any) -> Any:
    """The notes or the tags."""
    value, kind = reader.document.data.get(key, default), field_types(SweepKeys)[key]
    if failed(value, kind):
        reader.complain((key,), expected(value, kind))
        return default
    return value


def _with_axes(reader: KeyReader, products: list[Product], axes: Sequence[str], searching: bool) -> list[Product]:
    """The products with the axes of the command line in each, in place of their own of that key."""
    given: set[str] = set()
    for text in axes:
        try:
            axis = axis_from_text(text)
        except ConfigError as error:
            reader.problems.extend(error.problems)
            continue
        if axis.key in given:
            reader.problems.append(Problem(*axis.place, axis.key, "this axis is there twice; keep one of the two"))
        given.add(axis.key)
        if searching:
            message = "this sweep searches, so it has no axes; give search.space, or search=null for a grid"
            reader.problems.append(Problem(*axis.place, axis.key, message))
        products = [{**product, axis.key: axis} for product in products]
    return products


def _seeds(reader: KeyReader, value: Any) -> tuple[int, ...] | None:
    """The seeds; None without them. With problems, a seed to judge the trials with."""
    if value is None:
        return None
    if not isinstance(value, list) and failed(value, NumberOfSeeds):
        what = f"a number of seeds from 1 to {MOST_SEEDS:,}, or a list of seeds"
        reader.complain(("seeds",), f"must be {what}, not {shown(value)}")
        return (0,)
    if not isinstance(value, list):
        return tuple(range(value))
    if not value:
        reader.complain(("seeds",), "the list is empty; give a number of seeds, or at least one")
    seeds: dict[int, None] = {}
    for index, seed in enumerate(value):
        if failed(seed, Seed):
            reader.complain(("seeds", index), expected(seed, Seed))
        elif seed in seeds:
            reader.complain(("seeds", index), f"{seed} is there twice; keep one of the two")
        else:
            seeds[seed] = None
    return tuple(seeds) or (0,)
