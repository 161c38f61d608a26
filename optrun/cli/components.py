"""`optrun components`: every name a config may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from optrun.cli import options
from optrun.cli.output import Output, print_json
from optrun.cli.wording import brief
from optrun.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from optrun.components.registry import Component
    from optrun.components.signatures import Parameter


def components(
    kind: Annotated[Optional[str], typer.Argument(help="models, datasets, optimizers, …", show_default=False)] = None,  # noqa: UP045
    name: Annotated[Optional[str], typer.Argument(help="One component.", show_default=False)] = None,  # noqa: UP045
    imports: options.Imports = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List every name a config may use, with settings, defaults and the first line of its documentation."""
    from optrun.components.plugins import import_file
    from optrun.components.registry import KINDS

    for file in imports or []:
        import_file(file)
    if kind is not None and kind not in KINDS:
        raise UsageError(f"there is no kind {kind!r}; {_hint(kind)}")
    chosen = [KINDS[kind]] if kind else list(KINDS.values())
    console = Output(json, quiet).results
    if name is not None:
        found = [registry.find(name) for registry in chosen]
    elif json or kind:
        found = [registry.find(each) for registry in chosen for each in registry.names()]
    if json:
        print_json([_described(component) for component in found])
    elif name is not None:
        _print_whole(found[0], console)
    elif kind is not None:
        _print_kind(found, console)
    else:
        _print_names(console)


def _hint(word: str) -> str:
    """What may have been meant by a kind that is none: another kind, or a component."""
    from optrun.components.naming import near
    from optrun.components.registry import KINDS

    if alike := near(word, KINDS):
        return f"did you mean {alike[0]}?"
    for kind, registry in KINDS.items():
        if word.lower() in map(str.lower, registry.names()):
            return f"did you mean `optrun components {kind} {word}`?"
    return f"there are {', '.join(KINDS)}"


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


def _print_names(console: Console) -> None:
    """Every name of every kind, by whose it is."""
    from rich.columns import Columns
    from rich.padding import Padding
    from rich.text import Text

    from optrun.components.registry import KINDS

    for kind, registry in KINDS.items():
        origins: dict[str, list[str]] = {}
        for component in map(registry.find, registry.names()):
            origins.setdefault(component.origin, []).append(component.name)
        for origin, names in sorted(origins.items(), key=lambda item: item[0] != "optrun"):
            console.print(Text(kind, "bold") + Text(f"  {len(names)} from {origin}", "dim"))
            console.print(
                Padding(Columns(map(Text, names), padding=(0, 2), column_first=True), (0, 0, 1, 2)), soft_wrap=False
            )
    console.print("`optrun components KIND` tells what they are, `optrun components KIND NAME` every setting")


def _print_kind(found: list[Component], console: Console) -> None:
    """Each name with what it is and, below, its settings."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for component in found:
        settings = ", ".join(_brief(p) for p in component.signature.settings)
        lines = [Text(text, style) for text, style in ((component.summary, ""), (settings, "dim")) if text]
        table.add_row(Text(component.name), Text("\n").join(lines))
    console.print(table, soft_wrap=False)


def _print_whole(component: Component, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    console.print(Text(component.name, "bold") + Text(f"  {component.kind}, from {component.origin}", "dim"))
    if component.summary:
        console.print(Text(component.summary), soft_wrap=False)
    settings = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("setting", "type", "default"):
        settings.add_column(column, overflow="fold")
    for p in component.signature.settings:
        settings.add_row(Text(p.name), Text(p.annotation), Text("required" if p.required else written(p.default)))
    own = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    own.add_column("optrun's own", no_wrap=True)
    own.add_column("")
    for key, (_, meaning) in _reserved(component).items():
        own.add_row(Text(key), Text(meaning))
    for table in (settings, own):
        if table.row_count:
            console.print()
            console.print(table, soft_wrap=False)


def _brief(parameter: Parameter) -> str:
    return parameter.name if parameter.required else f"{parameter.name}={written(parameter.default)}"


def written(value: Any) -> str:
    """A default as a config would write it: null, true, 1e-6, [0.9, 0.999]."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    return brief(value, 6)
