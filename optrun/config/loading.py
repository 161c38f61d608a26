"""From a file (or text, or plain data) and overrides to a `Spec`, or to every problem at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from optrun.config import document as documents
from optrun.config import overrides as overriding
from optrun.config import semantics
from optrun.config.choices import ChoiceReader
from optrun.config.document import Document, KeyPath, dotted
from optrun.config.spec import Count, Spec
from optrun.config.types import LARGEST, expected, no_such_key, shown
from optrun.errors import ConfigError, Problem

__all__ = ["ONLY_OF_SWEEPS", "is_sweep", "load", "no_such_name", "validate"]

_INFINITE = {("clip_norm",)}
"""The only place where infinity has a meaning."""

_COMPONENTS = {"dataset", "model", "loss", "metrics", "optimizer", "scheduler"}
_NEEDED = ("dataset", "model", "loss", "optimizer")
ONLY_OF_SWEEPS = ("base", "seeds", "grid", "search", "objective", "prune")
"""Keys that no run has."""

_WORDS = {
    "device": "auto, cpu, cuda, cuda:N or mps",
    "eval_every": "a number of epochs or {steps: N}",
    "checkpoint_every": "auto, a number of epochs or {steps: N}",
    "early_stop": "{patience: N, …} or null",
    "target": "{metric: KEY, value: NUMBER} or null",
}
"""What may stand there, where the type does not say it well."""


def load(path: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Spec:
    """The spec in the file at `path` after `overrides` (`["optimizer.lr=0.1"]` or `{"optimizer.lr": 0.1}`).

    Raises ConfigError with everything that is wrong, each problem with its place.
    """
    path = Path(path)
    document = documents.read(path)
    if is_sweep(document):
        message = "this is a sweep, and one run is wanted here; `optrun sweep` takes it"
        raise ConfigError([Problem(*document.place(()), "", message)])
    return validate(overriding.apply(document, overrides), folder=path.parent, stem=path.stem)


def is_sweep(document: Document) -> bool:
    """Whether it is the document of a sweep: it has a base, or keys of a sweep and none that every run needs."""
    keys = document.data.keys()
    return "base" in keys or (not keys & set(_NEEDED) and not keys.isdisjoint(ONLY_OF_SWEEPS))


def validate(document: Document, *, folder: Path, stem: str = "run", folders: Mapping[str, Path] | None = None) -> Spec:
    """The spec a document describes. Relative paths in it are taken from `folder`, those that come from another file
    (by its name in places) from what `folders` has for it; `stem` is the name the spec gets if the document gives none.

    Raises ConfigError.
    """
    reader = ChoiceReader(document, folder, folders)
    for path, number in _numbers(document.data):
        if isinstance(number, float) and math.isinf(number) and path not in _INFINITE:
            reader.complain(path, "must be finite; infinity has a meaning for clip_norm only")
        elif isinstance(number, int) and abs(number) > LARGEST:
            reader.complain(path, f"this whole number is too large; they go up to {LARGEST}")
    fields = {"name": stem, **document.data}
    _judge_length(reader, fields)
    _read_components(reader, fields)
    spec = _read_fields(reader, fields)
    spec._document, spec._folder = document, folder
    broken = {problem.key.partition(".")[0] for problem in reader.problems} | (set(_NEEDED) - fields.keys())
    problems = [*reader.problems, *semantics.problems(spec, without=broken)]
    if problems:
        raise ConfigError(problems)
    return spec


def _judge_length(reader: ChoiceReader, fields: Mapping[str, Any]) -> None:
    given = [key for key in ("epochs", "steps") if fields.get(key) is not None]
    if len(given) == 2:
        reader.complain(("steps",), "a run has one length; remove epochs or steps")
    elif not given:
        reader.complain((), "the run has no length; add epochs: N or steps: N")


def _read_components(reader: ChoiceReader, fields: dict[str, Any]) -> None:
    """Replace the components in `fields` by checked choices, or by None."""
    readers = {
        "dataset": reader.dataset,
        "model": lambda value, path: reader.choice("models", value, path),
        "loss": lambda value, path: reader.choice("losses", value, path),
        "metrics": lambda value, path: reader.choices("metrics", value if value is not None else [], path),
        "optimizer": reader.optimizer,
        "scheduler": lambda value, path: reader.scheduler(value, path) if value is not None else None,
    }
    for key in readers.keys() & fields.keys():
        fields[key] = readers[key](fields[key], (key,))


def _read_fields(reader: ChoiceReader, fields: dict[str, Any]) -> Spec:
    """The spec; with problems, which are added to the reader's, a draft of what can be read."""
    if isinstance(fields.get("tags"), list):
        fields["tags"] = tuple(fields["tags"])
    try:
        return Spec.model_validate(fields)
    except ValidationError as invalid:
        errors = [(_path_in(error["loc"], fields), error) for error in invalid.errors(include_url=False)]
    said = {problem.key for problem in reader.problems}
    for path, error in errors:
        if error["type"] == "missing":
            reader.complain(path, _sentence(error, path, fields))
        elif path and path[0] not in _COMPONENTS and dotted(path) not in said and not _is_inside(path, errors):
            by_file = path == ("name",) and "name" not in reader.document.data
            reader.complain(path, _sentence(error, path, fields) + ("; add name: NAME" if by_file else ""))
    if not reader.problems:
        raise AssertionError(errors)
    wrong = {path[0] for path, _ in errors if path}
    return Spec.model_construct(**{key: value for key, value in fields.items() if key not in wrong})


def _is_inside(path: KeyPath, errors: Sequence[tuple[KeyPath, ErrorDetails]]) -> bool:
    """Whether something below `path` is wrong, so that it is said better there."""
    return any(other[: len(path)] == path and len(other) > len(path) for other, _ in errors)


def _path_in(location: KeyPath, fields: Mapping[str, Any]) -> KeyPath:
    """The part of pydantic's location that is a path of keys (it adds the members of unions in between)."""
    path: list[str | int] = []
    value: Any = fields
    for part in location:
        inside_list = isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
        if (isinstance(value, Mapping) and part in value) or inside_list:
            path.append(part)
            value = value[part]
    return tuple(path)


def _sentence(error: ErrorDetails, path: KeyPath, fields: Mapping[str, Any]) -> str:
    if error["type"] == "missing":
        missing = str(error["loc"][-1])
        return f"needs {missing}" if path else f"{missing} is missing; a run needs dataset, model, loss and optimizer"
    if error["type"] == "extra_forbidden":
        return no_such_key(str(path[-1]), list(_model_of(path[:-1]).model_fields))
    value: Any = fields
    for part in path:
        value = value[part]
    if path == ("name",):
        return no_such_name(value)
    wanted = _WORDS.get(dotted(path))
    return f"must be {wanted}, not {shown(value)}" if wanted else expected(value, _kind_at(path))


def no_such_name(name: Any) -> str:
    """What is wrong with a name that is none."""
    if isinstance(name, str) and len(name) > 100:
        return f"must have at most 100 characters, not {len(name)}"
    return f"must begin with a letter or digit and hold only letters, digits, '.', '_' and '-', not {shown(name)}"


def _model_of(path: KeyPath) -> type[BaseModel]:
    """The model class whose keys stand at `path`: EarlyStop for ("early_stop",)."""
    kind = _kind_at(path) if path else Spec
    return next(member for member in (kind, *get_args(kind)) if hasattr(member, "model_fields"))


def _kind_at(path: KeyPath) -> Any:
    """The type of the value at `path`, as the spec declares it."""
    *above, key = path
    if isinstance(key, int):
        return get_args(_kind_at(tuple(above)))[0]
    annotation = _model_of(tuple(above)).model_fields[key].rebuild_annotation()
    return Count if path in (("epochs",), ("steps",)) else annotation  # null is how the other one is chosen


def _numbers(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, float]]:
    """Every number in plain data, with its path."""
    if isinstance(value, int | float):
        yield path, value
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _numbers(item, (*path, key))
