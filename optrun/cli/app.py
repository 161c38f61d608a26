"""The `optrun` application: its commands, and what becomes of errors."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from optrun import __version__
from optrun.errors import OptrunError, Unsaid

__all__ = ["COMMANDS", "command", "run"]

COMMANDS = {
    "train": "Train a model; the run's path is printed last.",
    "resume": "Go on from a run's last checkpoint, to the same bits as if it had never stopped.",
    "sweep": "Train every trial of a grid or a search that is not done yet; ends with the ranking.",
    "watch": "Show how a sweep or a run goes on that another process trains, from any machine that sees its directory.",
    "compare": "Compare runs over their seeds: means with intervals, tests against the best, and what cannot be told.",
    "list": "List runs with their status and best result, oldest first.",
    "show": "Show one run: its config where it differs from the defaults, its result, its curves.",
    "check": "Validate a run's or a sweep's config and print it resolved, with what it amounts to; trains nothing.",
    "schedule": "Draw the learning rate (and a momentum that changes) over the run, by stepping the real schedulers.",
    "lr-find": "Find a learning rate: train a little while the rate rises, and see where the loss falls.",
    "components": "List every name a config may use, with settings, defaults and the first line of its documentation.",
    "schema": "Print the JSON Schema of a run's or a sweep's config, for editors that complete and check YAML.",
    "init": "Write a commented starter config; it trains as it is.",
}
"""The commands, with the first line of their help. Each is a function in the module of its name."""

# typer carries click inside from 0.2x on and imports it before; its own BadParameter is click's either way.
_ClickUsageError: type[Exception] = typer.BadParameter.__mro__[1]
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]


class _Commands(Mapping[str, TyperCommand]):
    """The commands, each imported when somebody asks for it."""

    def __getitem__(self, name: str) -> TyperCommand:
        return _imported(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@functools.cache
def _imported(name: str) -> TyperCommand:
    """Raises KeyError for what is no command."""
    if name not in COMMANDS:
        raise KeyError(name)
    function = "list_runs" if name == "list" else name.replace("-", "_")
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    alone.command(name)(getattr(importlib.import_module(f"optrun.cli.{function}"), function))
    return typer.main.get_command(alone)  # type: ignore[return-value]


class _Group(TyperGroup):
    """What `optrun --help` shows, without importing a command or rich's tables."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    name="optrun",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"optrun {__version__}")
        raise typer.Exit


@app.callback()
def optrun(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run, repeat and compare PyTorch training experiments."""


@functools.cache
def command() -> TyperGroup:
    """The application as click wants it."""
    group: Any = typer.main.get_command(app)
    group.commands = _Commands()
    return group


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code. Errors are one sentence a line on standard error, never a traceback."""
    try:
        return command()(list(arguments), standalone_mode=False, prog_name="optrun") or 0
    except OptrunError as error:
        from optrun.cli.output import visible

        sys.stderr.writelines(f"{visible(line)}\n" for line in str(error).split("\n") if not isinstance(error, Unsaid))
        return error.exit_code
    except _ClickException as error:
        return _complain(error)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _complain(error: Any) -> int:
    """A wrong command line: one sentence and where to read more. Without any command, the help itself."""
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{message}\n")
    else:
        path = error.ctx.command_path if isinstance(error, _ClickUsageError) and error.ctx else "optrun"  # type: ignore[attr-defined]
        sys.stderr.write(f"{path}: {message.rstrip('.')}; see {path} --help\n")
    return 2
