"""Mappings whose keys are the fields of a dataclass: read with every problem, as a run's config is."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, get_type_hints

from optrun.config.document import Document, KeyPath, dotted
from optrun.config.types import expected, failed, fit, no_such_key, shown
from optrun.errors import Problem

__all__ = ["KeyReader", "field_types", "needed"]


class KeyReader:
    """Reads mappings out of one document; what is wrong with them collects in `problems`."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []

    def complain(self, path: KeyPath, message: str) -> None:
        """There is a problem at the key at `path`."""
        self.problems.append(Problem(*self.document.place(path), dotted(path), message))

    def said_of(self, key: str) -> bool:
        """Whether there is a problem with that key of the document, or with what is below it."""
        return any(problem.key.partition(".")[0] == key for problem in self.problems)

    def mapping(self, value: Any, path: KeyPath, fields: type) -> dict[str, Any] | None:
        """The good ones among the values at `path`, by the types of the dataclass `fields`.

        None if one is missing or wrong that has no default: then there is nothing to judge further.
        """
        given = self.part_of(value, path, fields)
        return given if given is not None and needed(fields) <= given.keys() else None

    def part_of(self, value: Any, path: KeyPath, fields: type) -> dict[str, Any] | None:
        """The same, whatever is missing; None only if there is no mapping."""
        types = field_types(fields)
        if not isinstance(value, Mapping):
            self.complain(path, f"must be {{{', '.join(types)}}}, not {shown(value)}")
            return None
        for key in value.keys() - types.keys():
            self.complain((*path, key), no_such_key(key, list(types)))
        wrong = [key for key, kind in types.items() if key in value and failed(value[key], kind)]
        for key in wrong:
            self.complain((*path, key), expected(value[key], types[key]))
        missing = [key for key in types if key in needed(fields) and key not in value]
        if missing:
            self.complain(path, f"needs {', '.join(missing)}")
        return {key: fit(value[key], kind) for key, kind in types.items() if key in value and key not in wrong}


def needed(fields: type) -> set[str]:
    """The fields of a dataclass that have no default."""
    return {field.name for field in dataclasses.fields(fields) if field.default is dataclasses.MISSING}


@functools.cache
def field_types(fields: type) -> dict[str, Any]:
    """What each field of a dataclass may be, by the name of the field."""
    return get_type_hints(fields, include_extras=True)
