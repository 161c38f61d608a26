"""A spec as the YAML text of config.yaml: read back, it gives the same spec."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from optrun.config.document import parse_value
from optrun.errors import ConfigError

__all__ = ["flow", "to_yaml"]

_WORD = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*\Z")


def to_yaml(values: Mapping[str, Any]) -> str:
    """One line per top-level key, components in flow style; every scalar means the same in YAML 1.1 and 1.2."""
    return "".join(f"{key}: {flow(value)}\n" for key, value in values.items())


def flow(value: Any) -> str:
    """A value in one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, str):
        return value if _WORD.match(value) and _is_text(value) else _quoted(value)
    return json.dumps(value)


def _number(value: float) -> str:
    """YAML 1.1 takes `1e-05` for a text: its floats have a point."""
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    mantissa, _, exponent = repr(value).partition("e")
    point = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{point}e{int(exponent):+03d}" if exponent else point


def _quoted(text: str) -> str:
    """In double quotes, with an escape for each character that does not show. (What JSON writes for 😀 are two
    characters to YAML 1.1.)"""
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in json.dumps(text, ensure_ascii=False))


@functools.lru_cache(maxsize=1000)
def _is_text(word: str) -> bool:
    """Whether both versions of YAML read the bare word as a text."""
    try:
        return parse_value(word, word).data == word and yaml.safe_load(word) == word
    except (ConfigError, yaml.YAMLError):
        return False
