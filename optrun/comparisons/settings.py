"""The settings of many runs, fast: config.yaml line by line, and what is written alike is read once.

optrun writes one line a key (`config/writing.py`), so the lines of a thousand runs are mostly the same few. Every line
is parsed by the reader of configs, or for the plainest of lines by a shortcut that gives the same. A file that is less
simple is parsed whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from optrun.errors import ConfigError
from optrun.runs import files
from optrun.runs.layout import Layout
from optrun.runs.reader import Run

__all__ = ["ABOUT", "NAMED", "Flat", "SettingsReader", "flat", "same"]

ABOUT = frozenset(
    {"seed", "name", "notes", "tags", "device", "log_every", "checkpoint_every", "keep_checkpoints", "threads"}
)
"""Keys in which runs of one group may differ: the seed, what is outside the hash, and `threads`, which changes bits."""

NAMED = frozenset({"dataset", "model", "loss", "optimizer", "scheduler", "fallback"})
"""Keys of components: a name alone stands for `{name: NAME}`."""

_NEEDED = ("dataset.name", "model.name", "loss.name", "optimizer.name")
_KEY = re.compile(rb"([a-z_]+): ")
_PLAIN = re.compile(rb"(?:[A-Za-z0-9_.,\[\]{} +-]|: ){1,2000}")
_DOUBTFUL = re.compile(rb"[0-9]{20}|[eE][+-]?[0-9]{3}|(?:[\[{].*?){50}")
"""Numbers that may be too large or too small, and what may be nested too deep."""
_WORD = re.compile(r"(?<![\w.+-])[A-Za-z_][\w.-]*")
_CONSTANTS = {"null": "null", "true": "true", "false": "false"}

Flat = Mapping[str, Any]


class SettingsReader:
    """Reads the configs of runs; runs that differ in nothing but `ABOUT` get the same object for their settings."""

    def __init__(self) -> None:
        self._lines: dict[bytes, tuple[tuple[str, Any], ...] | None] = {}
        self._known: dict[tuple[bytes, ...], Flat | None] = {}

    def read(self, run: Run) -> tuple[Flat, Flat]:
        """The settings of a run by their dotted keys, and what is in `ABOUT`. Raises ValueError, with a sentence."""
        path = Layout(run.path).config
        try:
            lines = files.read(path).split(b"\n")
        except OSError as error:
            raise ValueError(f"config.yaml cannot be read: {error.strerror}") from None
        about: dict[str, Any] = {}
        own: list[bytes] = []
        for line in lines:
            key = line.partition(b":")[0].decode("ascii", "replace")
            if key not in ABOUT:
                own.append(line)
            elif key in about or (pairs := self._line(line)) is None:
                return _whole(run)
            else:
                about[key] = dict(pairs).get(key)
        text = tuple(own)
        if text not in self._known:
            self._known[text] = self._settings(text)
        settings = self._known[text]
        return _whole(run) if settings is None else (settings, about)

    def _settings(self, lines: tuple[bytes, ...]) -> Flat | None:
        """What the lines say; None if they must be read as a whole."""
        settings: dict[str, Any] = {}
        keys: set[bytes] = set()
        for line in lines:
            if not line:
                continue
            pairs, key = self._line(line), line.partition(b":")[0]
            if pairs is None or key in keys:
                return None
            keys.add(key)
            settings.update(pairs)
        return MappingProxyType(settings) if all(key in settings for key in _NEEDED) else None

    def _line(self, line: bytes) -> tuple[tuple[str, Any], ...] | None:
        if line not in self._lines:
            self._lines[line] = _pairs(line)
        return self._lines[line]


def _pairs(line: bytes) -> tuple[tuple[str, Any], ...] | None:
    """The dotted keys and values in one line; None if it cannot be read by itself."""
    start = _KEY.match(line)
    if not start:
        return None
    key, value = start[1].decode(), line[start.end() :]
    try:
        return tuple(flat({key: _shortcut(value)}))
    except ValueError:
        pass
    from optrun.config import document  # imports yaml, which few comparisons need

    try:
        data = document.parse(line, "config.yaml").data
    except ConfigError:
        return None
    return tuple(flat(data)) if len(data) == 1 else None


def _shortcut(value: bytes) -> Any:
    """A value in flow style that consists of plain words and numbers. Raises ValueError where there is any doubt."""
    if not _PLAIN.fullmatch(value) or _DOUBTFUL.search(value):
        raise ValueError
    text = _WORD.sub(_quoted, value.decode())
    return json.loads(text, object_pairs_hook=_distinct, parse_constant=_refuse)


def _quoted(word: re.Match[str]) -> str:
    if word[0].lower() in _CONSTANTS:
        return _CONSTANTS.get(word[0], "?")  # `Null` and `TRUE` are rare enough to be left to the reader of configs
    return f'"{word[0]}"'


def _refuse(word: str) -> Any:
    raise ValueError(word)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _whole(run: Run) -> tuple[Flat, Flat]:
    """Config.yaml as the reader of configs has it."""
    problems = len(run.problems)
    pairs = dict(flat(run.config))
    if len(run.problems) > problems:
        first = run.problems[problems].partition("\n")[0]
        raise ValueError(first.removeprefix(f"{run.path}/"))
    if missing := [key for key in _NEEDED if key not in pairs]:
        raise ValueError(f"config.yaml is not whole: it has no {missing[0].removesuffix('.name')}")
    return {k: v for k, v in pairs.items() if k not in ABOUT}, {k: v for k, v in pairs.items() if k in ABOUT}


def flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys and values of a config: `optimizer.name`, `optimizer.lr`; lists stay whole."""
    for key, value in config.items():
        path = f"{above}.{key}" if above else str(key)
        if key in NAMED and (value is None or isinstance(value, str)):
            yield f"{path}.name", value
        elif isinstance(value, Mapping) and value:
            yield from flat(value, path)
        else:
            yield path, value


def same(value: Any) -> Any:
    """A value as something to look up and compare: 1 and 1.0 are one, lists and tuples too."""
    if isinstance(value, Mapping):
        return ("{}", *sorted((key, same(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return ("[]", *map(same, value))
    if isinstance(value, bool):
        return ("bool", value)
    return value
