"""`optrun init`: a commented config to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optrun.cli import options
from optrun.cli.output import Output, print_json
from optrun.errors import UsageError


def init(
    file: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("config.yaml"),
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a commented starter config; it trains as it is."""
    from optrun.config.starter import STARTER

    try:
        with file.open("x", encoding="utf-8") as written:
            written.write(STARTER)
    except FileExistsError:
        raise UsageError(f"{file} exists already; choose another name") from None
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
    if json:
        print_json({"path": str(file)})
    else:
        Output(json, quiet).remarks.print(f"wrote {file}; next: optrun train {file}")
