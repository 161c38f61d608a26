"""What is seen of a sweep, or of runs, that another process trains."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from optrun.cli.output import Output
from optrun.cli.ranking import ranking_table
from optrun.cli.sweep_screen import Lines, Screen, on_terminal
from optrun.cli.wording import clock, rate
from optrun.config.labels import Labels, counted
from optrun.sweeps.pace import PaceOfRecords
from optrun.sweeps.watching import Watched

if TYPE_CHECKING:
    from rich.console import RenderableType

    from optrun.sweeps.ledger import Trial
    from optrun.sweeps.tasks import Report

__all__ = ["WatchScreen", "follow", "print_once"]

IDLE = 4.0
"""How many times as long as it looks it waits at least: many thousand runs take a file server a while."""

WIDE = 90
"""Columns from which there is room for the pace of each trial."""

NARROW = 60
"""Columns below which there is none for the metric."""


def follow(watched: Watched, refresh: float, output: Output) -> None:
    """Look every `refresh` seconds and show what is there, until nothing runs any more, or until Ctrl-C."""
    told, state = 0, ""
    began = time.monotonic()
    events = list(watched.look())
    labels = _labels(watched)
    shown: Any = (
        WatchScreen(watched, labels, output)
        if on_terminal(output)
        else Lines(watched, labels, PaceOfRecords(watched), output)
    )
    try:
        with shown:
            shown.say(_beginning(watched), is_warning=False)
            while True:
                for event in events:
                    shown.heard(event)
                for note in watched.notes[told:]:
                    shown.say(note, is_warning=True)
                told = len(watched.notes)
                before, state = state, watched.state
                if state != before and state in ("silent", "queued"):
                    shown.say(conclusion(watched), is_warning=False)
                shown.heard(None)
                if watched.is_over:
                    break
                time.sleep(max(refresh, IDLE * (time.monotonic() - began)))
                began = time.monotonic()
                events = list(watched.look())
    except KeyboardInterrupt:
        return
    if watched.is_sweep:
        output.results.print(ranking_table(watched.ranking, watched.objective.metric), soft_wrap=False)
    output.results.print(conclusion(watched))


def print_once(watched: Watched, events: Iterable[tuple[Trial, Report]], output: Output) -> None:
    """How things stand, after these events."""
    screen = WatchScreen(watched, _labels(watched), output)
    screen.console = output.results
    for event in events:
        screen.pace.heard(*event)
    for line in screen.lines():
        output.results.print(line, soft_wrap=isinstance(line, str))


def _labels(watched: Watched) -> Labels:
    return Labels(trial.point.settings for trial in watched.trials)


def _beginning(watched: Watched) -> str:
    if not watched.trials:
        return f"there are no runs in {watched.directory} yet"
    counts = ", ".join(f"{number} {status}" for status, number in watched.counts.items())
    return f"{watched.directory}: {_of(watched.planned, watched)}, {counts}"


def conclusion(watched: Watched) -> str:
    """How things stand, in a sentence."""
    left = f"{watched.due} of {_of(watched.planned, watched)} {'is' if watched.due == 1 else 'are'} not done"
    since, jobs = clock_time(watched.last_sign), counted(watched.jobs, "job")
    return {
        "waiting": f"there are no runs in {watched.directory} yet",
        "running": f"{watched.directory} goes on: {left}",
        "silent": f"{watched.directory} has given no sign of life since {since}: {left}",
        "queued": f"{watched.directory} has no driver, but {jobs} that may be queued or running: {left}",
        "stopped": f"{watched.directory} has stopped: {left}",
        "completed": f"{watched.directory} is done",
    }[watched.state]


def _of(number: int, watched: Watched) -> str:
    return f"{number} {'trial' if watched.is_sweep else 'run'}{'' if number == 1 else 's'}"


def clock_time(seconds: float) -> str:
    """`14:03:10`, with its date unless that is today's."""
    then = datetime.fromtimestamp(seconds)
    return f"{then:%H:%M:%S}" if then.date() == datetime.now().date() else f"{then:%Y-%m-%d %H:%M:%S}"


class WatchScreen(Screen):
    """As the sweep itself shows it, with the pace of each trial, and what cannot be told."""

    unsaid = ()

    def __init__(self, watched: Watched, labels: Labels, output: Output) -> None:
        super().__init__(watched, labels, PaceOfRecords(watched), output)
        self.watched = watched
        self.columns = 4 if self.console.width >= WIDE else 3 if self.console.width >= NARROW else 2

    def progress(self, trial: Trial) -> list[str]:
        if trial in self.watched.silent:
            told = ["no sign of life", f"since {clock_time(self.watched.silent[trial])}"]
        else:
            told = super().progress(trial)
        rates = self.watched.rates
        pace = rate(rates[trial], "steps") if trial in rates and trial not in self.watched.silent else ""
        return [*told, *[""] * (3 - len(told)), pace][: self.columns]

    def lines(self) -> Iterator[RenderableType]:
        """The same where nothing can be drawn over."""
        from rich.text import Text

        if self.watched.standing.running:
            yield self.running(expand=False)
        left = f", {clock(self.pace.left)} left" if self.pace.left is not None else ""
        yield f"{self.pace.done} of {_of(self.watched.planned, self.watched)}, {self.pace.share:.0%}{left}"
        yield Text.assemble(*self.counts())
        yield conclusion(self.watched)
