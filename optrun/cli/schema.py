"""`optrun schema`: JSON Schema of the config format."""

from __future__ import annotations

from optrun.cli import options
from optrun.cli.output import print_json


def schema(json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Print the JSON Schema of the config format, for editors that complete and check YAML."""
    from optrun.config.schema import json_schema

    print_json(json_schema())
