"""`optrun schema`: JSON Schema of the config formats."""

from __future__ import annotations

from typing import Annotated

import typer

from optrun.cli import options
from optrun.cli.output import print_json
from optrun.errors import UsageError


def schema(
    kind: Annotated[str, typer.Argument(metavar="[run|sweep]", help="Of which format.")] = "run",
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Print the JSON Schema of a run's or a sweep's config, for editors that complete and check YAML."""
    from optrun.config.schema import json_schema, sweep_json_schema

    schemas = {"run": json_schema, "sweep": sweep_json_schema}
    if kind not in schemas:
        raise UsageError(f"there is no schema of {kind!r}; choose run or sweep")
    print_json(schemas[kind]())
