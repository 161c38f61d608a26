"""The grid of a sweep: axes and their candidates, combined in the order of scikit-learn's ParameterGrid."""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optrun.config.document import Document, KeyPath, Place, dotted, parse_value
from optrun.config.overrides import Assignment, key_parts
from optrun.config.sweep.reading import KeyReader
from optrun.config.text import legible
from optrun.config.types import shown
from optrun.config.writing import flow
from optrun.errors import ConfigError, Problem

__all__ = ["Axis", "Combination", "Product", "axis_from_text", "combinations", "read_grid", "size"]


@dataclass(frozen=True)
class Axis:
    """A key of the config, and the values it takes."""

    parts: tuple[str, ...]
    place: Place
    """Of the key."""
    candidates: tuple[Assignment, ...]
    """Each candidate has the place where it stands."""
    listed: Document | None = None
    """The list of candidates in a grid."""

    @functools.cached_property
    def places(self) -> set[Place]:
        """Of the candidates."""
        return {candidate.given.value_place(()) for candidate in self.candidates}

    @property
    def key(self) -> str:
        return ".".join(self.parts)


Product = Mapping[str, Axis]
"""Axes by their keys, of which every candidate goes with every other."""
Combination = Mapping[str, Assignment]
"""One candidate of each axis of a product, by its key."""


def combinations(products: Sequence[Product]) -> Iterator[Combination]:
    """Every combination, in scikit-learn's order: product after product, keys sorted, the last varying fastest.

    An axis without candidates, which is complained of, is left out: so there is something to judge the others with.
    """
    for product in products:
        keys = sorted(key for key, axis in product.items() if axis.candidates)
        for chosen in itertools.product(*(product[key].candidates for key in keys)):
            yield dict(zip(keys, chosen))


def size(products: Sequence[Product]) -> int:
    """The number of combinations."""
    return sum(math.prod(len(axis.candidates) or 1 for axis in product.values()) for product in products)


def read_grid(reader: KeyReader, value: Any) -> list[Product]:
    """The products at `grid`, without what is wrong with them. Without a grid it is one product of no axes."""
    if value is None:
        return [{}]
    if isinstance(value, list):
        if not value:
            reader.complain(("grid",), "the list is empty; give at least one mapping of keys to candidates")
        return [_product(reader, item, ("grid", index)) for index, item in enumerate(value)]
    return [_product(reader, value, ("grid",))]


def _product(reader: KeyReader, value: Any, path: KeyPath) -> Product:
    if not isinstance(value, Mapping):
        what = "a mapping of keys to candidates" + (", or a list of these" if path == ("grid",) else "")
        reader.complain(path, f"must be {what}, not {shown(value)}; write {{optimizer.lr: [0.01, 0.1]}}")
        return {}
    product: dict[str, Axis] = {}
    for key in value:
        try:
            axis = _axis(reader, key, path)
        except ConfigError as error:
            reader.problems.extend(error.problems)
            continue
        if axis.key in product:
            reader.complain((*path, key), "this axis is there twice; keep one of the two")
        product[axis.key] = axis
    _judge_lengths(reader, product, path)
    return product


def _axis(reader: KeyReader, key: str, path: KeyPath) -> Axis:
    """The axis of that key. What is no list is one candidate for now, so that it is judged as well."""
    path = (*path, key)
    found = reader.document.inside(path)
    parts = key_parts(key, found.place(()))
    if parts[0] == "base" and len(parts) > 1:
        reader.complain(path, f"an axis is a key of the base; write {'.'.join(parts[1:])}")
        parts = parts[1:]
    if not isinstance(found.data, list):
        reader.complain(path, f"must be a list of candidates, not {shown(found.data)}{_in_brackets(found.data)}")
        return Axis(parts, reader.document.place(path), (Assignment(parts, found),))
    if not found.data:
        reader.complain(path, "needs at least one candidate; write [VALUE, …] or remove the axis")
    candidates = tuple(Assignment(parts, found.inside((index,))) for index in range(len(found.data)))
    return Axis(parts, reader.document.place(path), candidates, found)


def _in_brackets(value: Any) -> str:
    text = flow(value)
    return f"; write [{text}]" if len(text) <= 40 else "; put it in [ ]"


def _judge_lengths(reader: KeyReader, product: Product, path: KeyPath) -> None:
    if {"epochs", "steps"} <= product.keys():
        reader.complain((*path, "steps"), "a run has one length; put epochs and steps into two products of a list")


def axis_from_text(text: str) -> Axis:
    """The axis `optimizer.lr=0.01,0.1`; what follows the '=' is YAML, as between the brackets of a list.

    Raises ConfigError.
    """
    place = Place(f"--grid {legible(text, 80)}", 0, 0)
    key, equals, values = text.partition("=")
    if not equals:
        raise _refusal(place, (), "'=' is missing; write KEY=VALUE,VALUE, such as optimizer.lr=0.01,0.1")
    parts = key_parts(key, place)
    if re.search(r"(^|\s)#", values) and not re.search("[\"']", values):
        raise _refusal(place, parts, "this '#' begins a comment in YAML; put the value in quotes")
    try:
        data = parse_value(f"[{values}]", place.source).data
    except ConfigError as error:
        raise ConfigError([Problem(*place, dotted(parts), problem.message) for problem in error.problems]) from None
    if not isinstance(data, list) or not data:
        raise _refusal(place, parts, "the candidates are missing; write KEY=VALUE,VALUE, such as optimizer.lr=0.01,0.1")
    given = [Document(item, place.source, {(): place}, {(): place}) for item in data]
    listed = Document(data, place.source, {(): place}, {(): place})
    return Axis(parts, place, tuple(Assignment(parts, item) for item in given), listed)


def _refusal(place: Place, path: KeyPath, message: str) -> ConfigError:
    return ConfigError([Problem(*place, dotted(path), message)])
