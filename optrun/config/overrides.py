"""`optimizer.lr=0.1` after a config: the config with that value in its place.

- The value is YAML like the file's: `model.hidden=[64,64]`, `optimizer={name: Adam, lr: 1e-3}`; nothing is null.
- Numbers in a key count the items of a list from 0: `scheduler.schedulers.0.total_iters=5`.
- A value replaces the whole of what was there. Mappings that a key passes through are created if they are missing.
- A component that is only a name gets room for settings: `SGD` becomes `{name: SGD, lr: 0.1}`.
- Of `epochs` and `steps`, setting one removes the other.
- Overrides are applied in their order: a later one wins, as on every command line.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optrun.config.document import MAX_DEPTH, Document, KeyPath, Place, dotted, parse_value
from optrun.config.scalars import check_number
from optrun.config.text import check_text, legible
from optrun.errors import ConfigError, Problem

__all__ = ["COMPONENTS", "Assignment", "apply", "assign", "key_parts", "plain_data"]

COMPONENTS = frozenset({"dataset", "model", "loss", "metrics", "optimizer", "scheduler"})
"""Keys below which a name alone may stand for `{name: NAME}`."""

_OTHER_LENGTH = {"epochs": "steps", "steps": "epochs"}


@dataclass(frozen=True)
class Assignment:
    """A value for a key of a config, and where it comes from."""

    parts: tuple[str, ...]
    """The key: `("optimizer", "lr")`."""
    given: Document
    """The value, with its place and the places of all in it."""


def apply(document: Document, overrides: Sequence[str] | Mapping[str, Any]) -> Document:
    """A new document: `document` with `["optimizer.lr=0.1", …]` or `{"optimizer.lr": 0.1, …}` applied.

    What an override sets has the override as its place. Raises ConfigError with the problems of all overrides.
    """
    assignments: list[Assignment] = []
    problems: list[Problem] = []
    for override in overrides.items() if isinstance(overrides, Mapping) else overrides:
        try:
            assignments.append(_from_text(override) if isinstance(override, str) else _from_data(*override))
        except ConfigError as error:
            problems.extend(error.problems)
    return _assigned(document, assignments, problems)


def assign(document: Document, assignments: Iterable[Assignment]) -> Document:
    """A new document: `document` with the assignments carried out in their order.

    What one sets has the place it had where it comes from. Raises ConfigError with the problems of all.
    """
    return _assigned(document, assignments, [])


def _assigned(document: Document, assignments: Iterable[Assignment], problems: list[Problem]) -> Document:
    """The document with the assignments carried out. Raises ConfigError with their problems and those there are."""
    edited = Document(copy.deepcopy(document.data), document.source, dict(document.keys), dict(document.values))
    for assignment in assignments:
        try:
            _set(edited, assignment)
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return edited


def _from_text(text: str) -> Assignment:
    """What `KEY=VALUE` says. Raises ConfigError."""
    place = Place(f"override {legible(text, 80)}", 0, 0)
    key, equals, value = text.partition("=")
    if not equals:
        raise _refusal(place, (), "'=' is missing; write KEY=VALUE, such as optimizer.lr=0.1")
    parts = key_parts(key, place)
    try:
        # As many spaces as the key has characters: columns in messages are then those of the override.
        data = parse_value(" " * (len(key) + 1) + value, place.source).data
    except ConfigError as error:
        inner = [(f"{dotted(parts)}.{problem.key}".rstrip("."), problem.message) for problem in error.problems]
        raise ConfigError([Problem(*place, *key_and_message) for key_and_message in inner]) from None
    if not isinstance(data, dict | list) and re.search(r"(^|\s)#", value) and not re.match(r"\s*[\"'|>]", value):
        raise _refusal(place, parts, "this '#' begins a comment in YAML; put the value in quotes")
    return Assignment(parts, _at_one_place(data, place))


def _from_data(key: object, value: object) -> Assignment:
    """The same for a key and value from Python. Raises ConfigError."""
    if not isinstance(key, str):
        message = f"a key must be text like 'optimizer.lr', not {type(key).__name__}"
        raise _refusal(Place("override", 0, 0), (), message)
    place = Place(f"override {legible(key)}", 0, 0)
    parts = key_parts(key, place)
    try:
        data = plain_data(value)
    except ValueError as error:
        raise _refusal(place, parts, str(error)) from None
    source = f"override {legible(f'{key}={json.dumps(data, ensure_ascii=False)}', 80)}"
    return Assignment(parts, _at_one_place(data, Place(source, 0, 0)))


def _at_one_place(data: Any, place: Place) -> Document:
    return Document(data, place.source, {(): place}, {(): place})


def key_parts(key: str, place: Place) -> tuple[str, ...]:
    """The parts of a dotted key. Raises ConfigError, with `place`, for what is no key."""
    parts = [part.strip() for part in key.split(".")]
    if not all(parts):
        raise _refusal(place, (), "a part of the key is missing; write it like optimizer.lr")
    if len(parts) > MAX_DEPTH:
        raise _refusal(place, (), f"the key can have {MAX_DEPTH} parts at most")
    try:
        return tuple(check_text(part) for part in parts)
    except ValueError as error:
        raise _refusal(place, (), str(error)) from None


def plain_data(value: Any, depth: int = 0) -> Any:
    """`value` as a config holds it: subclasses (enums, numpy's floats) as the plain type, tuples as lists.

    Raises ValueError for everything else.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"lists and mappings can be {MAX_DEPTH} deep at most")
    match value:
        case None | bool():
            return value
        case int() | float():
            check_number(value)
            return int(value) if isinstance(value, int) else float(value)
        case str():
            return check_text(str.__str__(value))
        case list() | tuple():
            return [plain_data(item, depth + 1) for item in value]
        case dict() if all(isinstance(key, str) for key in value):
            return {check_text(str.__str__(key)): plain_data(item, depth + 1) for key, item in value.items()}
        case dict():
            raise ValueError("the keys of a mapping must be text")
    kind = type(value)
    raise ValueError(f"{kind.__module__}.{kind.__qualname__} is no plain data; give numbers, text, lists or dicts")


def _set(edited: Document, assignment: Assignment) -> None:
    """Put the value into `edited` where the key says. Raises ConfigError if there can be no such place."""
    parts, given = assignment.parts, assignment.given
    place = given.value_place(())
    container: Any = edited.data
    path: KeyPath = ()
    for part in parts[:-1]:
        path = (*path, _index(container, part, path, place))
        container = _inside(edited, container, path, place)
    path = (*path, _index(container, parts[-1], path, place))
    key: Any = path[-1]
    container[key] = copy.deepcopy(given.data)
    _put_at(edited, path, given)
    other = _OTHER_LENGTH.get(parts[0])
    if other and other in edited.data and len(path) == 1 and given.data is not None:
        del edited.data[other]
        _forget(edited, (other,))


def _index(container: dict | list, part: str, path: KeyPath, place: Place) -> str | int:
    """`part` of a key as what `container` is indexed with."""
    if isinstance(container, dict):
        return part
    if re.fullmatch("[0-9]{1,9}", part) and int(part) < len(container):
        return int(part)
    last = len(container) - 1
    items = f"only has items 0 to {last}" if last > 0 else "only has item 0" if container else "is empty"
    raise _refusal(place, (*path, part), f"this list {items}; to make it longer, give the whole list")


def _inside(edited: Document, container: Any, path: KeyPath, place: Place) -> dict | list:
    """What the key goes into at `path`: the list or mapping there, or a new mapping in place of nothing or a name."""
    there = container.get(path[-1]) if isinstance(container, dict) else container[path[-1]]
    if isinstance(there, dict | list):
        return there
    made: dict[str, Any] = {}
    if there is None:
        _put_at(edited, path, _at_one_place(None, place))
    elif isinstance(there, str) and COMPONENTS.intersection(path):
        made = {"name": there}
        edited.keys[*path, "name"] = edited.values[*path, "name"] = edited.value_place(path)
    else:
        raise _refusal(place, path, f"this is {legible(repr(there))}, which has no settings of its own")
    container[path[-1]] = made
    return made


def _put_at(edited: Document, path: KeyPath, given: Document) -> None:
    """What stands at `path`, and all in it, now comes from where `given` comes from."""
    _forget(edited, path)
    edited.keys.update({(*path, *inner): place for inner, place in given.keys.items()})
    edited.values.update({(*path, *inner): place for inner, place in given.values.items()})


def _forget(edited: Document, path: KeyPath) -> None:
    for places in (edited.keys, edited.values):
        for old in [old for old in places if old[: len(path)] == path]:
            del places[old]


def _refusal(place: Place, path: Sequence[str | int], message: str) -> ConfigError:
    return ConfigError([Problem(*place, dotted(path), message)])
