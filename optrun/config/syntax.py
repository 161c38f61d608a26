"""PyYAML's complaints about text that is no YAML, as sentences that say what to do."""

from __future__ import annotations

import re
from typing import Any

from yaml.error import MarkedYAMLError

from optrun.config.text import legible

__all__ = ["explain"]

Mark = Any
"""yaml.error.Mark; according to its stubs any part of it may be missing, which is so for streams only."""

_TOKENS = {"<scalar>": "text", "<alias>": "'*'", "<anchor>": "'&'", "<tag>": "'!'", "?": "key"}
_NO_DIRECTIVE = "no line of a config can begin with '%'; remove it, or put the text in quotes"
_ENDS = {"<stream end>", "<document start>", "<document end>", "<directive>"}


def explain(error: MarkedYAMLError, opened: Mark | None) -> tuple[Mark, str]:
    """Where the problem stands and what to say of it; `opened` is the bracket or block that was being read."""
    context, problem = error.context or "", error.problem or ""
    at = error.problem_mark
    begun = error.context_mark or at
    found = problem.rpartition("'")[0].rpartition("'")[2]
    if context in ("while parsing a flow sequence", "while parsing a flow mapping"):
        return _unclosed(found, at, begun)
    if context in ("while parsing a flow node", "while parsing a block node"):
        return _no_value(found, at, opened)
    if "<block end>" in problem or "<document start>" in problem:
        return at, _left_over(found)
    match context or problem:
        case "while scanning for the next token":
            return at, _odd_character(_character(at))
        case "while scanning a simple key":
            return begun, _no_colon(_rest_of_line(begun))
        case "mapping values are not allowed here":
            return at, _unexpected_colon(at)
        case "sequence entries are not allowed here":
            return at, "a list cannot begin with '- ' here; begin it on the next line, or write it as [a, b]"
        case "mapping keys are not allowed here":
            return at, "'?' cannot stand here; put the text in quotes"
        case "while scanning a quoted scalar":
            return begun, "this quotation mark is never closed; add one where the text ends"
        case "while scanning a double-quoted scalar":
            return at, "this is no escape that YAML knows; write '\\\\' for a '\\', or use single quotes"
        case "while scanning a block scalar":
            return at, f"the text after {_character(begun)!r} begins on the next line; move it there, or quote it"
        case "while scanning a directive":
            return begun, _NO_DIRECTIVE
        case "while scanning an anchor" | "while scanning an alias" | "while scanning a tag" | "while parsing a tag":
            return begun, _odd_character(_character(begun))
        case "while parsing a node":
            return at, _odd_character(_character(at))
    if _character(at) == "%":  # %YAML and %TAG lines that contradict each other or YAML 1
        return at, _NO_DIRECTIVE
    return at, f"this is not YAML ({legible(problem)}); correct it"


def _unclosed(found: str, at: Mark, opened: Mark) -> tuple[Mark, str]:
    bracket = _character(opened)
    closing = "]" if bracket == "[" else "}"
    if found in _ENDS:
        return opened, f"this '{bracket}' is never closed; add '{closing}' where it ends"
    place = f"at column {opened.column + 1}" if opened.line == at.line else f"on line {opened.line + 1}"
    return at, f"',' or '{closing}' is missing before this {_name(found)}; the '{bracket}' {place} is still open"


def _no_value(found: str, at: Mark, opened: Mark | None) -> tuple[Mark, str]:
    if opened and _character(opened) in "[{" and (found in _ENDS or found in ("]", "}")):
        return _unclosed(found, at, opened)
    if found in ("]", "}"):
        return at, f"this '{found}' closes nothing; remove it, or put the text in quotes"
    return at, f"a value is missing before this {_name(found)}; write it, or put the text in quotes"


def _left_over(found: str) -> str:
    """A block or the document has ended, and yet something follows."""
    match found:
        case "<block mapping start>" | "<block sequence start>":
            return "the indentation of this line fits no line above; align it with those it belongs to"
        case "?":
            return "a key stands where the list above goes on; begin it with '- ', or indent it differently"
        case "-":
            return "a list item stands where the keys above go on; give the list a key of its own"
        case ":":
            return "a key is missing before this ':'; write it, or put the text in quotes"
    return f"this {_name(found)} stands after the end of a value; remove it, or put the whole value in quotes"


def _odd_character(character: str) -> str:
    if character == "\t":
        return "a tab stands here, where YAML wants spaces; replace it by spaces"
    return f"no value can begin with {character!r}; put the text in quotes"


def _no_colon(line: str) -> str:
    if re.match(r"[\w.-]+:\S|([\"']).*?\1:\S", line):
        return f"a space is missing after the ':' of {legible(line)!r}"
    return f"{legible(line)!r} is no 'key: value'; add ': ' and the value, or indent it under its key"


def _unexpected_colon(at: Mark) -> str:
    before = at.buffer[: at.pointer].splitlines()
    line = before[-1] if before else ""
    above = next((text for text in reversed(before[:-1]) if text.strip()), "")
    if len(line) > 1024:
        return "a key can have 1,024 characters at most; shorten it"
    if re.search(r":\s", f"{line} "):
        return "a second ': ' stands on this line; put the value in quotes, or write it as {key: value}"
    if re.search(r":(\s|$)", above):
        return "this line is indented under one that has a value already; align it with the other keys"
    return f"the line above, {legible(above.strip())!r}, is no 'key: value'; add ': ' and the value"


def _character(mark: Mark) -> str:
    return mark.buffer[mark.pointer]


def _rest_of_line(mark: Mark) -> str:
    end = re.compile(r"[\r\n\0]|$").search(mark.buffer, mark.pointer)
    return mark.buffer[mark.pointer : end.start() if end else None].strip()


def _name(token: str) -> str:
    return _TOKENS.get(token, f"'{token}'")
