"""The `optrun` application: its commands, and what becomes of errors."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from optrun import __version__
from optrun.cli import (
    check,
    compare,
    components,
    init,
    list_runs,
    lr_find,
    resume,
    schedule,
    schema,
    show,
    sweep,
    train,
)
from optrun.cli.output import visible
from optrun.errors import OptrunError

__all__ = ["app", "run"]

# typer carries click inside from 0.2x on and imports it before; its own BadParameter is click's either way.
_ClickUsageError: type[Exception] = typer.BadParameter.__mro__[1]
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="optrun",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
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


commands: dict[str, Callable[..., None]] = {
    "train": train.train,
    "resume": resume.resume,
    "sweep": sweep.sweep,
    "compare": compare.compare,
    "list": list_runs.list_runs,
    "show": show.show,
    "check": check.check,
    "schedule": schedule.schedule,
    "lr-find": lr_find.lr_find,
    "components": components.components,
    "schema": schema.schema,
    "init": init.init,
}
for name, command in commands.items():
    app.command(name)(command)


@functools.cache
def _command() -> Callable[..., int | None]:
    """The application as click wants it; typer would build it anew for every call of `run`."""
    return typer.main.get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code. Errors are one sentence a line on standard error, never a traceback."""
    try:
        return _command()(list(arguments), standalone_mode=False, prog_name="optrun") or 0
    except OptrunError as error:
        sys.stderr.writelines(f"{visible(line)}\n" for line in str(error).split("\n"))
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
