"""From an annotation in a signature to what a configuration may hold there, and how to say so.

An annotation is read as text (`float | None`, `tuple[float, float]`, `Literal['min', 'max']`), so that a torch class is
understood without importing torch. pydantic does the checking, strictly: a string is no number, a bool is no integer.
"""

from __future__ import annotations

import ast
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import ConfigDict, Strict, TypeAdapter, ValidationError

from optrun.components.signatures import Parameter

__all__ = ["describe", "fit", "setting_type", "shown"]

Number = int | float
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


def describe(kind: Any) -> str:
    """What may stand there, in words: `a number or null`, `one of min, max`, `a list of 2 numbers`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _constrained(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        return _either([describe(argument) for argument in arguments])
    if origin is Literal:
        words = [str(argument) for argument in arguments]
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    if origin is list:
        return f"a list of {_plural(describe(arguments[0]))}"
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a list of {_plural(describe(arguments[0]))}"
        inner = {describe(argument) for argument in arguments}
        return (
            f"a list of {len(arguments)} {_plural(inner.pop())}" if len(inner) == 1 else f"a list of {len(arguments)}"
        )
    if origin is dict or kind is dict or hasattr(kind, "model_fields"):
        return "a mapping"
    if origin is Callable or kind is Callable:
        return "a function's name"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
    return names.get(kind, "a value")


def shown(value: Any) -> str:
    """A value as an error message shows it: short, in YAML's words, without control characters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple) and len(repr(value)) > 40:
        return "this list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}…{text[-1]}"


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
        return Literal[tuple(ast.literal_eval(item) for item in items)]
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
    words = describe(kind)
    for rule in metadata:
        for limit in getattr(rule, "metadata", [rule]):
            if isinstance(limit, annotated_types.Ge):
                words += f" of at least {limit.ge}"
            elif isinstance(limit, annotated_types.Gt):
                words += f" above {limit.gt}"
            elif isinstance(limit, annotated_types.Le):
                words += f" of at most {limit.le}"
            elif isinstance(limit, annotated_types.Lt):
                words += f" below {limit.lt}"
    return words


def _either(words: list[str]) -> str:
    kept = [word for word in dict.fromkeys(words) if word != "null"] + (["null"] if "null" in words else [])
    return kept[0] if len(kept) == 1 else f"{', '.join(kept[:-1])} or {kept[-1]}"


def _plural(words: str) -> str:
    known = {
        "a number": "numbers",
        "a whole number": "whole numbers",
        "a text": "texts",
        "true or false": "true or false",
    }
    return known.get(words, "values" if words == "a value" else words.removeprefix("a ") + "s")


def failed(value: Any, kind: Any) -> bool:
    """Whether `value` cannot stand where `kind` is asked for."""
    try:
        fit(value, kind)
    except ValidationError:
        return True
    return False
