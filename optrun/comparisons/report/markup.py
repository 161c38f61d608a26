"""Text becomes markup here and nowhere else, so that nothing a stranger wrote is ever more than text."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from optrun.config.text import legible

__all__ = ["Markup", "element", "joined"]

_EMPTY = {"meta", "br", "hr"}


class Markup(str):
    """What is markup already, made by `element`."""

    __slots__ = ()


def element(name: str, *children: str | None, **attributes: str | int | bool | None) -> Markup:
    """An element; children that are no Markup are text, None is left out.

    Attributes that Python cannot name are written with underscores: `class_`, `aria_label`, `data_series`. True is an
    attribute without a value, None and False are left out.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value not in (None, False))
    if name in _EMPTY:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(children)}</{name}>")


def joined(children: Iterable[str | None]) -> Markup:
    """Children one after the other."""
    return Markup("".join(_child(child) for child in children if child is not None))


def _child(child: str) -> str:
    return child if isinstance(child, Markup) else escape(legible(child, limit=10_000), quote=False)


def _attribute(key: str, value: str | int | bool) -> str:
    name = key.removesuffix("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(legible(str(value), limit=10_000))}"'
