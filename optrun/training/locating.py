"""Errors of components, with their place in the config: what torch, a model function or a user's own file refuses
becomes a ConfigError at the setting it speaks of."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from optrun.components.choice import Choice, DatasetChoice, OptimizerChoice
from optrun.components.optimizers import NoParameters
from optrun.components.registry import KINDS
from optrun.config.document import KeyPath
from optrun.config.spec import Spec
from optrun.errors import ConfigError, UsageError

__all__ = ["located"]

_REFUSALS = (
    UsageError, ValueError, TypeError, RuntimeError, ArithmeticError, AssertionError, LookupError, MemoryError, OSError,
)  # fmt: skip
"""What a component may raise when it cannot work with its settings or its data."""

_OF_DATASETS = ("batch_size", "split_seed", "val_fraction", "test_fraction", "transforms", "workers")


@contextlib.contextmanager
def located(spec: Spec, *path: str | int) -> Iterator[None]:
    """What the component at `path` refuses becomes a ConfigError that points at it, or at the setting in question.

    An error out of a user's own file is not expected to be worded for others: it is told with its type and line.
    """
    try:
        yield
    except ConfigError:
        raise
    except NoParameters as refused:
        raise ConfigError([spec.problem((*path, *refused.path), str(refused))]) from refused
    except Exception as error:
        origin = error.__cause__ if isinstance(error, UsageError) and error.__cause__ else error
        own = _line_of_the_user(origin)
        if not own and not isinstance(error, _REFUSALS):
            raise  # a fault of optrun's, to be seen whole
        message = _sentence(error) + (f" ({type(origin).__name__} at {own})" if own else "")
        where = _blamed(spec, path, message)
        for said in (getattr(_at(spec, path[:1]), "name", ""), *where[1:]):  # the key says it already
            message = message.removeprefix(f"{said}: ")
        raise ConfigError([spec.problem(where, message)]) from error


def _sentence(error: Exception) -> str:
    """The error in one line, without the C++ below it."""
    said = error.args[-1] if isinstance(error, ArithmeticError) and error.args else error  # (34, "out of range")
    words = " ".join(str(said).partition("Exception raised from")[0].split()).removesuffix(".")
    if "Overflow when unpacking long" in words or "Storage size calculation overflowed" in words:
        return "this takes more memory than there can be; make it smaller"
    asked = re.search(r"you tried to allocate (\d+) bytes|Unable to allocate ([\d.]+) ([KMGTPE]iB)", words)
    if asked:
        size = f"{int(asked[1]) / 2**30:,.0f} GiB" if asked[1] else f"{float(asked[2]):g} {asked[3]}"
        return f"this takes more memory than there is, {size} at once; make it smaller"
    return words or type(error).__name__


def _line_of_the_user(error: BaseException) -> str:
    """`parts.py:12`, the last line that led to the error in a file with components of the user's; "" for none."""
    files = set().union(*(registry.files() for registry in KINDS.values()))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _blamed(spec: Spec, path: KeyPath, message: str) -> KeyPath:
    """The setting at or below `path` that the message names, or whose value it quotes; of several, what is around
    them; else `path` itself."""
    settings = list(_settings(_at(spec, path), path))
    named = [where for where, _ in settings if _names(message, where[-1])]
    quoted = [where for where, value in settings if _quotes(message, value)]
    found = named or quoted or [path]
    deepest = max(found, key=len)
    if all(deepest[: len(where)] == where for where in found):
        return deepest
    shared = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*found))
    return tuple(parts[0] for parts in shared)


def _names(message: str, key: str | int) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(str(key))}s?(?!\w)", message, re.IGNORECASE) is not None


def _quotes(message: str, value: Any) -> bool:
    """Whether the message ends with the value, as torch's do: `Invalid learning rate: -0.1`; or tells the path."""
    items = value if isinstance(value, list | tuple) else [value]
    is_path = isinstance(value, str) and os.path.isabs(value)
    return (is_path and value in message) or any(message.endswith(f": {item}") for item in (value, *items))


def _settings(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Every setting in a choice, with its path: its own, and those of the choices in it."""
    if isinstance(value, DatasetChoice):
        yield from _settings({key: getattr(value, key) for key in _OF_DATASETS}, path)
    if isinstance(value, OptimizerChoice):
        yield from _settings(value.fallback, (*path, "fallback"))
    if isinstance(value, Choice):
        yield from _settings(value.settings, path)
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield (*path, key), item
            yield from _settings(item, (*path, key))
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if isinstance(item, Choice):
                yield from _settings(item, (*path, index))


def _at(spec: Spec, path: KeyPath) -> Any:
    """What stands at `path`: a choice, a mapping of settings, a setting."""
    value: Any = spec
    for part in path:
        inside: Any = value.settings if isinstance(value, Choice) else value
        held = isinstance(part, int) or (isinstance(inside, Mapping) and part in inside)
        value = inside[part] if held else getattr(value, str(part), None)
    return value
