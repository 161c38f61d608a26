"""The command line: one file per command. Nothing here imports torch before a command needs it."""

from __future__ import annotations

import io
import os
import sys

__all__ = ["main"]


def main() -> None:
    """The `optrun` command. Exits with the codes of the contract: 0, 1, 2, 3, 130, 143."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads slow each other down on a busy machine
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without some character is no reason to fail
    from optrun.cli.app import run

    code = run(sys.argv[1:])
    if "RANK" in os.environ:
        from optrun.experiment.launching import end

        end(code)
    sys.exit(code)
