"""`optrun components`: every name a config may use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from optrun.cli import options
from optrun.cli.output import Output, print_json
from optrun.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from optrun.components.registry import Component


def components(
    kind: Annotated[Optional[str], typer.Argument(help="models, datasets, optimizers, …", show_default=False)] = None,  # noqa: UP045
    name: Annotated[Optional[str], typer.Argument(help="One component.", show_default=False)] = None,  # noqa: UP045
    imports: options.Imports = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List every name a config may use, with settings, defaults and the first line of its documentation."""
    from optrun.components.plugins import import_file
    from optrun.components.registry import KINDS, near

    for file in imports or []:
        import_file(file)
    if kind is not None and kind not in KINDS:
        hint = near(kind, KINDS)
        raise UsageError(
            f"there is no kind {kind!r}; " + (f"did you mean {hint[0]}?" if hint else f"there are {', '.join(KINDS)}")
        )
    chosen = [KINDS[kind]] if kind else list(KINDS.values())
    found = [registry.find(name) for registry in chosen if name] or [
        registry.find(each) for registry in chosen for each in registry.names()
    ]
    if json:
        print_json([_described(component) for component in found])
    elif name:
        _print_whole(found[0], Output(json, quiet).results)
    else:
        _print_table(found, Output(json, quiet).results)


def _described(component: Component) -> dict[str, Any]:
    settings = [
        {"name": p.name, "type": p.annotation, "required": p.required, **({} if p.required else {"default": p.default})}
        for p in component.signature.settings
    ]
    reserved = {key: meaning for key, (_, meaning) in _reserved(component).items()}
    return {
        "kind": component.kind,
        "name": component.name,
        "origin": component.origin,
        "summary": component.summary,
        "settings": settings,
        "reserved": reserved,
    }


def _reserved(component: Component) -> dict[str, tuple[Any, str]]:
    from optrun.config.choices import RESERVED

    return RESERVED.get(component.kind, {})


def _print_table(found: list[Component], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("kind", "name", "settings", "what it is"):
        table.add_column(column, overflow="fold")
    for component in found:
        settings = ", ".join(_brief(p) for p in component.signature.settings)
        table.add_row(component.kind, Text(component.name, style="bold"), Text(settings), Text(component.summary))
    console.print(table, soft_wrap=False)


def _print_whole(component: Component, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    console.print(f"{component.name}  ({component.kind}, from {component.origin})", style="bold", markup=False)
    console.print(component.summary, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("setting", "type", "default"):
        table.add_column(column)
    for p in component.signature.settings:
        table.add_row(Text(p.name), Text(p.annotation), Text("required" if p.required else _default(p.default)))
    for key, (_, meaning) in _reserved(component).items():
        table.add_row(Text(key), Text("optrun's own"), Text(meaning))
    console.print(table)


def _brief(parameter: Any) -> str:
    return parameter.name if parameter.required else f"{parameter.name}={_default(parameter.default)}"


def _default(value: Any) -> str:
    if isinstance(value, float) and not isinstance(value, Path):
        return f"{value:.6g}"
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value))
        if value is None or isinstance(value, bool)
        else str(value)
    )
