"""What one word of YAML means: the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema).

PyYAML's own rules are those of YAML 1.1, where `1e-3` is a string, `no` is false and `1:30` is 90.
"""

from __future__ import annotations

import math
import re
import sys

from optrun.config.text import check_text, legible

__all__ = ["check_number", "plain"]

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_BASES = {"0o": 8, "0x": 16}
_LONGEST_NUMBER = 300
"""Characters. Reading an integer takes time with the square of its length, and no float has so many digits."""


def plain(text: str) -> str | int | float | bool | None:
    """The value of an unquoted word. Raises ValueError, with a sentence, if it may not stand there."""
    value: str | int | float | bool | None
    if text in _WORDS:
        value = _WORDS[text]
    elif _INTEGER.fullmatch(text):
        _check_length(text)
        value = int(text[2:], _BASES[text[:2]]) if text[:2] in _BASES else int(text)
    elif _FLOAT.fullmatch(text):
        _check_length(text)
        value = float(text)
        if math.isinf(value):
            raise ValueError(f"{legible(text)} is too large for a number; write .inf if infinity is meant")
        if value == 0 and re.match("[-+]?[0.]*[1-9]", text):
            raise ValueError(f"{legible(text)} is too small for a number; write 0 if zero is meant")
    else:
        value = check_text(text)
    if isinstance(value, int | float):
        check_number(value)
    return value


def check_number(value: float) -> None:
    """Raises ValueError for NaN, and for an integer beyond every float; infinity passes."""
    if value != value:
        raise ValueError("NaN is no setting; write a number, or null for none")
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        raise ValueError("this whole number is too large; the largest number is about 1.8e308")


def _check_length(number: str) -> None:
    if len(number) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(number)} characters is too long; {_LONGEST_NUMBER} is the most")
