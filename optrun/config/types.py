"""From an annotation in a signature to what a configuration may hold there, and how to say so.

An annotation is read as text (`float | None`, `tuple[float, float]`, `Literal['min', 'max']`), so that a torch class is
understood without importing torch. pydantic does the checking, strictly: a string is no number, a bool is no integer.
"""

from __future__ import annotations

import ast
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import ConfigDict, Strict, TypeAdapter, ValidationError

from optrun.components.naming import either, near
from optrun.components.signatures import Parameter
from optrun.config.writing import flow

__all__ = ["LARGEST", "describe", "expected", "failed", "fit", "item_kind", "no_such_key", "setting_type", "shown"]

LARGEST = 2**63 - 1
"""Of whole numbers: what fits into torch's integers. No message mentions it as a limit of its own."""

_PLAIN: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "None": type(None),
    "Any": Any,
    "dict": dict[str, Any],
    "Path": str,
    "Callable": Callable,
    "_size_2_t": int | list[int],
    "_ratio_2_t": float | list[float],
}
_LISTS = {"list", "List", "Iterable", "Sequence", "Collection"}
_MAPPINGS = {"dict", "Dict", "Mapping"}
_ADAPTER_CONFIG = ConfigDict(strict=True, arbitrary_types_allowed=True)


def setting_type(parameter: Parameter) -> Any:
    """The Python type of a setting; `Any` where the signature does not say or says something no YAML can hold."""
    if not parameter.annotation:
        return _of_default(parameter.default)
    try:
        return _read(ast.parse(parameter.annotation, mode="eval").body)
    except SyntaxError:
        return Any


def fit(value: Any, kind: Any) -> Any:
    """`value` as the type `kind` (an integer becomes a float where a float is asked for). Raises ValidationError."""
    return _adapter(kind).validate_python(value)


def failed(value: Any, kind: Any) -> bool:
    """Whether `value` cannot stand where `kind` is asked for."""
    try:
        fit(value, kind)
    except ValidationError:
        return True
    return False


def item_kind(kind: Any) -> Any:
    """What each item must be where `kind` takes a list of any length; None where it does not."""
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    lists = [member for member in members if get_origin(member) is list]
    return get_args(lists[0])[0] if len(lists) == 1 else None


def describe(kind: Any) -> str:
    """What may stand there, in words: `a number or null`, `min or max`, `a list of 2 numbers`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _constrained(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        return _either([word for argument in arguments for word in _alternatives(argument)])
    if origin is Literal or kind is bool:
        return _either(_alternatives(kind))
    if origin is list or (origin is tuple and arguments[1:] == (Ellipsis,)):
        return f"a list of {_plural(describe(arguments[0]))}"
    if origin is tuple:
        inner = {describe(argument) for argument in arguments}
        return f"a list of {len(arguments)}" + (f" {_plural(inner.pop())}" if len(inner) == 1 else "")
    if origin is dict or kind is dict or hasattr(kind, "model_fields"):
        return "a mapping"
    names = {int: "a whole number", float: "a number", str: "a text", type(None): "null", Callable: "a function's name"}
    return names.get(kind, "a value")


def expected(value: Any, kind: Any) -> str:
    """What is wrong with a value that cannot stand where `kind` is asked for, and what it was probably meant to be."""
    return f"must be {describe(kind)}, not {shown(value)}{_meant(value, kind)}"


def no_such_key(key: str, known: Sequence[str]) -> str:
    """What is wrong with a key that is none of the `known`."""
    hints = near(key, known)
    others = f"there are {', '.join(known)}" if len(known) > 1 else f"there is only {known[0]}"
    return "there is no such key; " + (f"did you mean {either(hints)}?" if hints else others)


def shown(value: Any) -> str:
    """A value as an error message shows it: short, in YAML's words, without control characters."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        text = flow(value)
        return text if len(text) <= 40 else "this list"
    text = repr(value) if isinstance(value, str) else flow(value)
    return text if len(text) <= 60 else f"{text[:50]}…{text[-1]}"


_SWITCHES = dict.fromkeys(("yes", "y", "on"), "true") | dict.fromkeys(("no", "n", "off"), "false")


def _meant(value: Any, kind: Any) -> str:
    """Words of YAML 1.1, numbers in quotes, a comma for a point; "" when nobody can know."""
    if not isinstance(value, str):
        return ""
    if value.lower() in _SWITCHES and not failed(True, kind):
        return f"; write {_SWITCHES[value.lower()]}"
    number = re.fullmatch(r"([-+]?\d+)(?:([.,])(\d*))?(e[-+]?\d+)?", value.strip(), re.IGNORECASE)
    if number is None:
        return ""
    meant = float(value.replace(",", ".")) if number[2] or number[4] else int(value)
    if failed(meant, kind) or math.isinf(meant):
        return ""
    return f"; write {meant}" + ("" if number[2] == "," else " without quotes")


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=_ADAPTER_CONFIG)


def _of_default(default: Any) -> Any:
    plain = {bool: bool, int: int, float: float, str: str}
    return plain.get(type(default), Any)


def _read(node: ast.expr) -> Any:
    """The type an annotation's syntax stands for."""
    if isinstance(node, ast.Constant):
        return type(None) if node.value is None else _read(ast.parse(str(node.value), mode="eval").body)
    if isinstance(node, ast.Name | ast.Attribute):
        name = ast.unparse(node).rpartition(".")[2]
        if name in _LISTS or name == "tuple":
            return list[Any]
        return list[float] if name == "Tensor" else _PLAIN.get(name, Any)
    if isinstance(node, ast.BinOp):
        return _union([node.left, node.right])
    if isinstance(node, ast.Subscript):
        return _subscripted(ast.unparse(node.value).rpartition(".")[2], node.slice)
    return Any


def _subscripted(name: str, inside: ast.expr) -> Any:
    items = inside.elts if isinstance(inside, ast.Tuple) else [inside]
    if name == "Literal":
        return Literal[tuple(ast.literal_eval(item) for item in items)]  # type: ignore[valid-type]
    if name in ("Optional", "Union"):
        return _union([*items, ast.Constant(None)] if name == "Optional" else items)
    if name in _LISTS:
        return list[_read(items[0])]  # type: ignore[misc]
    if name in ("tuple", "Tuple"):
        if isinstance(items[-1], ast.Constant) and items[-1].value is Ellipsis:
            return list[_read(items[0])]  # type: ignore[misc]
        inner = tuple(_read(item) for item in items)
        return Annotated[tuple[inner], Strict(False)]  # type: ignore[valid-type]
    if name in _MAPPINGS:
        return dict[str, Any]
    return Callable if name == "Callable" else Any


def _union(nodes: list[ast.expr]) -> Any:
    """The union, where a tensor beside a plain type (`float | Tensor`) is only another way to hand the same value."""
    kept = [node for node in nodes if ast.unparse(node).rpartition(".")[2] != "Tensor"]
    plain = [node for node in kept if ast.unparse(node) != "None"]
    members = [_read(node) for node in (kept if plain else nodes)]
    return functools.reduce(lambda left, right: typing.Union[left, right], members)  # noqa: UP007


def _constrained(kind: Any, metadata: tuple[Any, ...]) -> str:
    rules = [limit for rule in metadata for limit in getattr(rule, "metadata", [rule])]
    at_least = next((rule.ge for rule in rules if isinstance(rule, annotated_types.Ge)), None)
    at_most = next((rule.le for rule in rules if isinstance(rule, annotated_types.Le)), None)
    above = next((rule.gt for rule in rules if isinstance(rule, annotated_types.Gt)), None)
    below = next((rule.lt for rule in rules if isinstance(rule, annotated_types.Lt)), None)
    if kind is int and below == LARGEST + 1:
        below = None
    if at_least is not None and at_most is not None:
        return f"{describe(kind)} from {at_least} to {at_most}"
    limits = {"of at least": at_least, "above": above, "of at most": at_most, "below": below}
    words = [f"{word} {limit}" for word, limit in limits.items() if limit is not None]
    return " ".join([describe(kind), " and ".join(words)]).rstrip()


def _alternatives(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return [str(argument) for argument in get_args(kind)]
    return ["true", "false"] if kind is bool else [describe(kind)]


def _either(words: list[str]) -> str:
    return either([word for word in dict.fromkeys(words) if word != "null"] + (["null"] if "null" in words else []))


def _plural(words: str) -> str:
    return "values" if " or " in words else words.removeprefix("a ") + "s"
