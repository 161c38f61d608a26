"""From YAML text to plain data in which every key and value has its place: `digits.yaml:9:24`.

The grammar is PyYAML's, read event by event, so that depth and aliases cost nothing; what a word means is YAML 1.2's.
Its pure-Python parser is used on purpose: the C one words its complaints differently, and accepts some tabs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from yaml import events
from yaml.error import MarkedYAMLError
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from optrun.config.scalars import plain
from optrun.config.syntax import explain
from optrun.config.text import MAX_SIZE, check_text, fit_to_parse, legible
from optrun.errors import ConfigError, Problem

__all__ = ["MAX_DEPTH", "Document", "KeyPath", "Place", "dotted", "parse", "parse_value", "read"]

MAX_DEPTH = 64
"""Lists and mappings within each other."""
_MAX_PROBLEMS = 100
"""Reading stops at so many: nobody wants to see forty thousand."""

KeyPath = tuple[str | int, ...]
"""Where a value stands in the data: `("optimizer", "param_groups", 0, "lr")`."""


class Place(NamedTuple):
    """A point in a text: line and column (in characters) count from 1; 0 is for what has no line."""

    source: str
    line: int
    column: int


@dataclass(frozen=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) with the place of every key and every value in it."""

    data: Any
    source: str
    keys: dict[KeyPath, Place]
    values: dict[KeyPath, Place]

    def place(self, path: KeyPath) -> Place:
        """Where the key at `path` stands (in a list: the item), or else the nearest key around it that exists."""
        return self._nearest(self.keys, path)

    def value_place(self, path: KeyPath) -> Place:
        """Where the value at `path` begins, or else the nearest value around it that exists."""
        return self._nearest(self.values, path)

    def inside(self, path: KeyPath) -> Document:
        """What stands at `path` as a document of its own, each part of it with the place it has here."""
        data = self.data
        for part in path:
            data = data[part]
        parts = list(_parts(data, ()))
        keys = {part: self.place((*path, *part)) for part in parts}
        values = {part: self.value_place((*path, *part)) for part in parts}
        return Document(data, self.source, keys, values)

    def _nearest(self, places: dict[KeyPath, Place], path: KeyPath) -> Place:
        for length in range(len(path), -1, -1):
            if place := places.get(tuple(path[:length])):
                return place
        return Place(self.source, 0, 0)


def _parts(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    """The paths of a value and of all in it."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _parts(item, (*path, key))


def dotted(path: Sequence[str | int]) -> str:
    """`optimizer.param_groups.0.lr`, fit to be shown."""
    return ".".join(legible(str(part)) for part in path)


def read(path: str | os.PathLike[str]) -> Document:
    """The config in a file. Raises ConfigError with everything that is wrong with it as YAML."""
    source = legible(os.fspath(path), limit=4096)
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        raise _only(source, "there is no such file; check the path") from None
    except IsADirectoryError:
        raise _only(source, "this is a directory; give the file in it") from None
    except PermissionError:
        raise _only(source, "the file may not be read; check its permissions") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _only(source, f"the file cannot be read ({legible(reason)}); check the path") from None
    return parse(content, source)


def parse(text: str | bytes, source: str) -> Document:
    """The config in `text`, which `source` names in messages. Raises ConfigError with everything that is wrong."""
    document = parse_value(text, source)
    if document.data is None:
        raise _only(document.source, "the config is empty; `optrun init` writes one to start from")
    if not isinstance(document.data, dict):
        kind = "a list" if isinstance(document.data, list) else f"just {legible(repr(document.data))}"
        place = document.place(())
        raise ConfigError([Problem(*place, "", f"this is {kind}; a config consists of lines like 'epochs: 20'")])
    return document


def parse_value(text: str | bytes, source: str) -> Document:
    """Like `parse`, for any value: `[64, 64]`, `1e-3`; nothing at all is None."""
    source = legible(source, limit=4096)
    return _Builder(source).build(fit_to_parse(text, source))


def _only(source: str, message: str) -> ConfigError:
    return ConfigError([Problem(source, 0, 0, "", message)])


class _Grammar(Reader, Scanner, Parser):
    """PyYAML's grammar without its ideas of what the words mean."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)


@dataclass
class _Open:
    """A list or mapping whose end has not been read yet."""

    data: Any
    path: KeyPath
    key: str | None = None  # of a mapping: the key that waits for its value
    bare: bool = False  # that key stands without quotes


class _Builder:
    """Builds data from events, and collects what is wrong on the way; never recursive."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.root: Any = None
        self.open: list[_Open] = []
        self.keys: dict[KeyPath, Place] = {}
        self.values: dict[KeyPath, Place] = {}
        self.problems: list[Problem] = []

    def build(self, text: str) -> Document:
        for event in self._events(text):
            if isinstance(event, events.NodeEvent):
                self._node(event, self._place(event.start_mark))
            elif isinstance(event, events.CollectionEndEvent):
                self.open.pop()
        if self.problems:
            raise ConfigError(self.problems)
        return Document(self.root, self.source, self.keys, self.values)

    def _events(self, text: str) -> Iterator[events.Event]:
        """The events of one document; what makes reading on impossible ends in a ConfigError."""
        grammar = _Grammar(text)
        try:
            while grammar.check_event():
                event = grammar.get_event()
                if isinstance(event, events.DocumentStartEvent) and self.values:
                    message = "a second document begins here; a config is one, so remove the '---'"
                    self._stop((), self._place(event.start_mark), message)
                yield event
        except MarkedYAMLError as error:
            mark, message = explain(error, grammar.marks[-1] if grammar.marks else None)
            self._stop((), self._place(mark), message)
        except (ValueError, OverflowError):  # PyYAML's chr() of an escape like \UFFFFFFFF
            self._stop((), self._place(grammar.get_mark()), "this escape stands for no character; correct it")

    def _node(self, event: events.NodeEvent, place: Place) -> None:
        parent = self.open[-1] if self.open else None
        if parent is None:
            self.root = self._value(event, (), place)
        elif isinstance(parent.data, list):
            parent.data.append(self._value(event, (*parent.path, len(parent.data)), place))
        elif parent.key is None:
            self._key(event, parent, place)
        else:
            key, parent.key = parent.key, None
            if ":" in key and parent.bare and isinstance(event, events.ScalarEvent) and _is_empty(event):
                message = f"a space is missing after the ':' of {legible(key)!r}, or else its value"
                self._complain((*parent.path, key), self.keys[*parent.path, key], message)
            parent.data[key] = self._value(event, (*parent.path, key), place)

    def _key(self, event: events.NodeEvent, parent: _Open, place: Place) -> None:
        if isinstance(event, events.CollectionStartEvent):
            self._stop(parent.path, place, "a list or mapping cannot be a key; write a word")
        word = event.value if isinstance(event, events.ScalarEvent) else f"*{event.anchor}"
        path = (*parent.path, word)
        self._check_properties(event, path, place)
        key = self._scalar(event, path, place) if isinstance(event, events.ScalarEvent) else word
        parent.key, parent.bare = word, isinstance(event, events.ScalarEvent) and event.style is None
        if isinstance(key, str):
            parent.key, path = key, (*parent.path, key)
        else:
            message = f"a key must be text, and {word} is not; put it in quotes" if word else "a key is missing here"
            self._complain(path, place, message)
        if key == "<<" and parent.bare:
            self._complain(path, place, "merge keys are not allowed; write the settings out")
        if parent.key in parent.data:
            first = self.keys[path]
            where = f"at column {first.column}" if first.line == place.line else f"on line {first.line}"
            self._complain(path, place, f"this key stands twice, first {where}; keep one of the two")
        self.keys.setdefault(path, place)

    def _value(self, event: events.NodeEvent, path: KeyPath, place: Place) -> Any:
        self.keys.setdefault(path, place)  # of a list's item and of the whole; a key has its own
        self.values[path] = place
        self._check_properties(event, path, place)
        if isinstance(event, events.ScalarEvent):
            return self._scalar(event, path, place)
        if isinstance(event, events.CollectionStartEvent):
            self.open.append(_Open({} if isinstance(event, events.MappingStartEvent) else [], path))
            if len(self.open) > MAX_DEPTH:
                self._stop((), place, f"lists and mappings can be {MAX_DEPTH} deep at most; this is one more")
            return self.open[-1].data
        return None

    def _scalar(self, event: events.ScalarEvent, path: KeyPath, place: Place) -> str | int | float | bool | None:
        try:
            return plain(event.value) if event.style is None else check_text(event.value)
        except ValueError as error:
            self._complain(path, place, str(error))
            return event.value

    def _check_properties(self, event: events.NodeEvent, path: KeyPath, place: Place) -> None:
        """Refuse aliases, anchors and tags."""
        shown = legible(str(event.anchor))
        if isinstance(event, events.AliasEvent):
            message = f"aliases (*{shown}) are not allowed; write the value out, or put the text in quotes"
            self._complain(path, place, message)
        elif event.anchor:
            message = f"anchors (&{shown}) are not allowed; write each value out, or put the text in quotes"
            self._complain(path, place, message)
        if tag := getattr(event, "tag", None):
            shown = legible(tag.replace("tag:yaml.org,2002:", "!!", 1))
            self._complain(path, place, f"tags ({shown}) are not allowed; remove it, or put the text in quotes")

    def _place(self, mark: Any) -> Place:
        return Place(self.source, mark.line + 1, mark.column + 1)

    def _complain(self, path: KeyPath, place: Place, message: str) -> None:
        self.problems.append(Problem(*place, dotted(path), message))
        if len(self.problems) == _MAX_PROBLEMS:
            raise ConfigError(self.problems)

    def _stop(self, path: KeyPath, place: Place, message: str) -> NoReturn:
        self._complain(path, place, message)
        raise ConfigError(self.problems)


def _is_empty(event: events.ScalarEvent) -> bool:
    return event.style is None and not event.value
