"""Where words go: results to standard output, all else to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from optrun.config.text import legible

__all__ = ["Output", "TextConsole", "print_json", "visible"]

ENDLESS = 1000
"""Columns where nothing sets an edge."""


class TextConsole(Console):
    """Shows whatever a stranger may have written as text: none of it is markup, and what a terminal would obey is
    escaped."""

    def __init__(self, **how: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for text, style, control in super().render(renderable, options):
            is_text = control or text.isprintable()
            yield Segment(text if is_text else "\n".join(map(visible, text.split("\n"))), style, control)


@dataclass
class Output:
    """How a command was asked to speak. `NO_COLOR` and terminals are rich's business."""

    json: bool = False
    quiet: bool = False
    silent: bool = False
    """Says nothing at all: another process speaks for this one."""

    @property
    def results(self) -> Console:
        """The console for results. Outside a terminal lines are not wrapped: half a name cannot be searched for."""
        console = TextConsole(soft_wrap=True, quiet=self.silent)
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = ENDLESS
        return console

    @property
    def remarks(self) -> Console:
        """The console for everything else; silent when quiet."""
        return TextConsole(stderr=True, soft_wrap=True, quiet=self.quiet or self.silent)

    def say(self, sentence: str) -> None:
        """A remark that may hold what a stranger wrote."""
        self.remarks.print(visible(sentence))

    @property
    def errors(self) -> Console:
        """The console for what went wrong: shown even when quiet, and so are warnings."""
        return TextConsole(stderr=True, soft_wrap=True, quiet=self.silent)

    def wrote(self, files: Iterable[Path]) -> None:
        """Say which files were written, each as soon as it is."""
        for path in files:
            self.remarks.print(f"wrote {path}")

    def warn(self, sentence: str) -> None:
        """A warning: shown even when quiet, since it may change what a result means."""
        self.errors.print(f"warning: {sentence}", style="yellow")


def visible(text: str) -> str:
    """`text` in one line, with an escape for each character that a terminal would not show but obey."""
    return legible(text, limit=len(text))


def print_json(value: Any) -> None:
    """The one JSON document of a command with `--json`."""
    from optrun.runs.record import strict_json

    sys.stdout.write(strict_json(value, indented=True) + "\n")
