"""From a file (or text, or plain data) and overrides to a `Spec`, or to every problem at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from optrun.components.registry import near
from optrun.config import document as documents
from optrun.config import overrides as overriding
from optrun.config import semantics
from optrun.config.choices import ChoiceReader
from optrun.config.document import Document
from optrun.config.spec import Spec
from optrun.config.types import describe, shown
from optrun.errors import ConfigError

__all__ = ["load", "validate"]

_INFINITE = {("clip_norm",)}
"""The only place where infinity has a meaning."""


def load(path: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Spec:
    """The spec in the file at `path` after `overrides` (`["optimizer.lr=0.1"]` or `{"optimizer.lr": 0.1}`).

    Raises ConfigError with everything that is wrong, each problem with its place.
    """
    path = Path(path)
    return validate(overriding.apply(documents.read(path), overrides), folder=path.parent, stem=path.stem)


def validate(document: Document, *, folder: Path, stem: str = "run") -> Spec:
    """The spec a document describes. Relative paths in it are taken from `folder`; `stem` is the name it gets if it
    gives none. Raises ConfigError."""
    reader = ChoiceReader(document, folder)
    for path, value in _numbers(document.data):
        if math.isinf(value) and path not in _INFINITE:
            reader.complain(path, "must be finite; infinity has a meaning for clip_norm only")
    fields = {"name": stem, **document.data}
    broken = _read_components(reader, fields)
    spec = _read_fields(reader, fields, broken)
    if reader.problems or spec is None:
        raise ConfigError(reader.problems)
    spec._document, spec._folder = document, folder
    problems = semantics.problems(spec)
    if problems:
        raise ConfigError(problems)
    return spec


def _read_components(reader: ChoiceReader, fields: dict[str, Any]) -> set[str]:
    """Replace the components in `fields` by checked choices; returns the keys that could not be read."""
    readers = {
        "dataset": reader.dataset,
        "model": lambda value, path: reader.choice("models", value, path),
        "loss": lambda value, path: reader.choice("losses", value, path),
        "metrics": lambda value, path: reader.choices("metrics", value, path),
        "optimizer": reader.optimizer,
        "scheduler": reader.scheduler,
    }
    for key in readers.keys() & fields.keys():
        if key == "scheduler" and fields[key] is None:
            continue
        fields[key] = readers[key](fields[key] if key != "metrics" or fields[key] is not None else [], (key,))
    return {key for key in readers.keys() & fields.keys() if fields[key] is None and key != "scheduler"}


def _read_fields(reader: ChoiceReader, fields: dict[str, Any], broken: set[str]) -> Spec | None:
    """The spec, or None with the problems of its plain keys added to the reader's."""
    if isinstance(fields.get("tags"), list):
        fields["tags"] = tuple(fields["tags"])
    try:
        return Spec.model_validate(fields)
    except ValidationError as invalid:
        seen: set[tuple[str | int, ...]] = set()
        for error in invalid.errors(include_url=False):
            path = _path_in(error["loc"], fields)
            if path in seen or (path and path[0] in broken):
                continue
            seen.add(path)
            reader.complain(path, _sentence(error, path, fields))
    return None


def _path_in(location: tuple[str | int, ...], fields: Mapping[str, Any]) -> tuple[str | int, ...]:
    """The part of pydantic's location that is a path of keys (it adds the members of unions in between)."""
    path: list[str | int] = []
    value: Any = fields
    for part in location:
        inside_list = isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
        if (isinstance(value, Mapping) and part in value) or inside_list:
            path.append(part)
            value = value[part]
    return tuple(path)


def _sentence(error: ErrorDetails, path: tuple[str | int, ...], fields: Mapping[str, Any]) -> str:
    kind, missing = error["type"], str(error["loc"][-1]) if error["loc"] else ""
    if kind == "missing":
        return f"needs {missing}" if path else f"{missing} is missing; a run needs dataset, model, loss and optimizer"
    if kind == "extra_forbidden":
        known = _known_keys(path)
        hints = near(str(path[-1]), known)
        return "there is no such key; " + (
            f"did you mean {' or '.join(hints)}?" if hints else f"there are {', '.join(known)}"
        )
    if not path:
        return str(error["ctx"]["error"]) if "ctx" in error else error["msg"]
    field = Spec.model_fields.get(str(path[0]))
    value: Any = fields
    for part in path:
        value = value[part]
    if path == ("name",):
        return f"must begin with a letter or digit and hold only letters, digits, '.', '_' and '-', not {shown(value)}"
    if path == ("device",):
        return f"must be auto, cpu, cuda, cuda:N or mps, not {shown(value)}"
    if field is None or len(path) > 1:
        field = getattr(_model_below(path), "model_fields", {}).get(str(path[-1]))
    expected = describe(field.rebuild_annotation()) if field else "something else"
    if path[-1] in ("eval_every", "checkpoint_every"):
        expected = ("auto, " if path[-1] == "checkpoint_every" else "") + "a number of epochs or {steps: N}"
    return f"must be {expected}, not {shown(value)}"


def _model_below(path: tuple[str | int, ...]) -> Any:
    """The model class that a nested key belongs to: EarlyStop for ("early_stop", "patience")."""
    annotation = Spec.model_fields[str(path[0])].annotation
    members = getattr(annotation, "__args__", (annotation,))
    return next((member for member in members if hasattr(member, "model_fields")), None)


def _known_keys(path: tuple[str | int, ...]) -> list[str]:
    model = Spec if len(path) == 1 else _model_below(path)
    return list(getattr(model, "model_fields", {}))


def _numbers(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], float]]:
    """Every float in plain data, with its path."""
    if isinstance(value, float):
        yield path, value
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _numbers(item, (*path, key))
