"""Write the help pages in docs/commands.md anew: `python docs/help_pages.py`. A test compares them with real ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["PAGE", "help_page"]

COMMANDS = Path(__file__).parent / "commands.md"
PAGE = re.compile(r"(?<=```text\n)\$ optrun (?P<command>[a-z-]*) ?--help\n.*?(?=```)", re.DOTALL)
"""A help page in the text: the command line and what it prints."""


def help_page(command: str) -> str:
    """What `optrun COMMAND --help` prints on a terminal of 100 columns without colours, below its command line."""
    arguments = [*command.split(), "--help"]
    plain = {"NO_COLOR": "1", "TERM": "dumb", "FORCE_COLOR": "", "PY_COLORS": "", "GITHUB_ACTIONS": ""}
    environment = {**os.environ, **plain, "TERMINAL_WIDTH": "100", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-m", "optrun", *arguments], env=environment, capture_output=True, check=True, encoding="utf-8"
    )
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return f"$ optrun {' '.join(arguments)}\n" + "\n".join(lines).strip("\n") + "\n"


def main() -> None:
    text = COMMANDS.read_text(encoding="utf-8")
    COMMANDS.write_text(PAGE.sub(lambda page: help_page(page["command"]), text), encoding="utf-8")


if __name__ == "__main__":
    main()
