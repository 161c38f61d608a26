"""A comparison that is made anew while runs go on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optrun.cli.compare_table import screen, skipped_lines
from optrun.cli.output import Output, TextConsole, visible
from optrun.errors import NoRunsYet
from optrun.runs.layout import SweepLayout
from optrun.runs.lock import is_locked

if TYPE_CHECKING:
    from rich.live import Live

    from optrun.comparisons import Comparison
    from optrun.comparisons.targets import Target

__all__ = ["follow"]

REFRESH = 2.0
"""Seconds between two looks."""


def follow(
    look: Callable[[], Comparison],
    target: Callable[[Comparison], Target | None],
    *,
    plot: bool,
    output: Output,
) -> None:
    """Show what `look` finds until no run is running any more, or until Ctrl-C.

    A terminal shows the newest state in place, and keeps the last; elsewhere a state is printed when it has changed.
    """
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    console = output.results

    def picture() -> tuple[Any, bool]:
        try:
            found = look()
        except NoRunsYet as error:  # the first run has not begun
            return Text(visible(str(error))), True
        shown = screen(found, target(found), plot=plot, width=console.width)
        parts = [Text(part) if isinstance(part, str) else part for part in shown]
        going = Text(f"{found.unsettled} still running" if found.unsettled else "nothing is running any more", "dim")
        skipped = [Text(line, "dim") for line in skipped_lines(found) if "still running" not in line]
        return Group(*parts, *skipped, going), found.unsettled > 0 or _sweeping(found)

    try:
        if sys.stdout.isatty() and not console.is_dumb_terminal:
            in_place = TextConsole()  # wraps sentences, as a picture of a certain height has to
            last = _in_place(Live(console=in_place, auto_refresh=False, transient=True), picture)
            console.print(last, soft_wrap=False)
        else:
            _in_lines(console, picture)
    except KeyboardInterrupt:
        return


def _sweeping(found: Comparison) -> bool:
    """Whether a sweep of these runs goes on: between two trials none of them is running."""
    sweeps = {outcome.path.parent for group in found.points for outcome in group.outcomes}
    return any(is_locked(sweep) for sweep in sweeps if SweepLayout(sweep).config.is_file())


def _in_place(live: Live, picture: Callable[[], tuple[Any, bool]]) -> Any:
    """Show pictures until the last, and return that: it may be higher than the terminal."""
    with live:
        while True:
            shown, going = picture()
            live.update(shown, refresh=True)
            if not going:
                return shown
            time.sleep(REFRESH)


def _in_lines(console: Any, picture: Callable[[], tuple[Any, bool]]) -> None:
    before, going = "", True
    while going:
        shown, going = picture()
        with console.capture() as captured:
            console.print(shown, soft_wrap=False)
        if captured.get() != before:
            before = captured.get()
            console.file.write(before)
            console.file.flush()
        if going:
            time.sleep(REFRESH)
