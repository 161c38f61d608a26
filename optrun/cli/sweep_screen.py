"""What is seen of a sweep while it runs: on a terminal a line for each running trial, elsewhere one for each done."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from optrun.cli.output import Output, print_json
from optrun.cli.ranking import ranking_table
from optrun.cli.wording import BLUE, STATUS_STYLES, brief, clock, duration, fixed
from optrun.config.labels import Labels
from optrun.errors import OptrunError, TrialsFailed
from optrun.sweeps.pace import Followed, Pace
from optrun.sweeps.tasks import Ended, Noted

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from optrun.sweeps.driver import Sweep
    from optrun.sweeps.executors.interface import Executor
    from optrun.sweeps.ledger import Trial

__all__ = ["REFRESH", "Lines", "Screen", "follow_sweep", "on_terminal"]

REFRESH = 0.2
"""Seconds between two pictures."""


def follow_sweep(sweep: Sweep, executor: Executor, output: Output) -> None:
    """Run the sweep, within its block, and show it; the ranking and the path, or the JSON document, go to standard
    output.

    Raises what the sweep raises, and TrialsFailed at the end if some of its trials have failed.
    """
    searched = [dict.fromkeys(sweep.spec.search.space)] if sweep.spec.search else []
    labels = Labels([*(point.settings for point in sweep.spec.points), *searched])
    shown = Screen if on_terminal(output) else Lines
    screen = shown(sweep, labels, Pace(sweep), output)
    try:
        with executor, screen, contextlib.closing(sweep.events(executor)) as events:
            for event in events:
                screen.heard(event)
    except OptrunError:
        if sweep.trials:
            _conclude(sweep, output)
        raise
    _conclude(sweep, output)
    failed = [trial for trial in sweep.trials if trial.status == "failed"]
    if failed:
        raise TrialsFailed(
            f"{len(failed)} of {len(sweep.trials)} trials failed, such as {failed[0].directory.name}: "
            f"{failed[0].error}; --retry-failed runs them again"
        )


def on_terminal(output: Output) -> bool:
    """Whether there is a place for a picture that changes."""
    console = output.remarks
    return sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal and not output.quiet


def _conclude(sweep: Sweep, output: Output) -> None:
    ranking, objective = sweep.ranking, sweep.spec.objective
    if output.json:
        print_json(
            {
                "sweep": sweep.spec.name,
                "path": str(sweep.layout.directory),
                "metric": objective.metric,
                "mode": objective.mode,
                "counts": sweep.counts,
                "points": [point.as_json() for point in ranking],
            }
        )
        return
    console = output.results
    console.print(ranking_table(ranking, objective.metric), soft_wrap=False)
    console.print(str(sweep.layout.directory))


class Lines:
    """A line for each trial that has ended, and each sentence when it is said."""

    def __init__(self, sweep: Followed, labels: Labels, pace: Pace, output: Output) -> None:
        self.sweep, self.labels, self.pace, self.output = sweep, labels, pace, output
        self.console: Console = output.remarks

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: object) -> None:
        """Lines leave nothing to tidy up."""

    def heard(self, event: Any) -> None:
        """Show an event of the sweep."""
        if event is None:
            return
        if isinstance(event, Noted):
            sentence = re.sub(r" \(Triggered internally at .*\)$", "", " ".join(event.sentence.split()))
            self.say(sentence, event.is_warning)
            return
        trial, report = event
        self.pace.heard(trial, report)
        if isinstance(report, Ended) and self.tells(report.status):
            self.ended_line(trial, report)

    def say(self, sentence: str, is_warning: bool) -> None:
        """Show a sentence on the whole sweep."""
        if is_warning:
            self.output.warn(sentence)
        else:
            self.console.print(sentence)

    def tells(self, status: str) -> bool:
        """Whether a trial that ended so gets a line."""
        return status != "paused"

    def ended_line(self, trial: Trial, report: Ended) -> None:
        from rich.text import Text

        done, planned = self.pace.done, self.sweep.planned
        label = self.labels.line(trial.point.settings, trial.spec.seed)
        text = Text(f"[{done:>{len(str(planned))}}/{planned}] {label}  ")
        console = self.output.errors if report.status == "failed" and self.output.quiet else self.console
        if report.status == "completed":
            best = trial.run.summary.get("best") or {}
            text.append(f"{best.get('metric', '')} {brief(best.get('value'))}  ")
            text.append(duration(trial.run.summary.get("wall_time")), style="dim")
        else:
            text.append(report.status, style=STATUS_STYLES.get(report.status, ""))
            text.append(f": {report.error}" if report.error else "")
        console.print(text)


class Screen(Lines):
    """A picture that changes: what is running, how much is done, the best so far, the time left. Above it a line for
    each trial that failed or diverged."""

    columns = 3
    """Of what `progress` says."""
    unsaid: ClassVar[tuple[str, ...]] = ("planned", "running", "interrupted")
    """The statuses whose numbers are seen otherwise."""

    def __init__(self, sweep: Followed, labels: Labels, pace: Pace, output: Output) -> None:
        from rich.live import Live

        super().__init__(sweep, labels, pace, output)
        self.due = 0.0
        self.live = Live(console=self.console, auto_refresh=False, transient=True, redirect_stdout=sys.stdout.isatty())

    def __enter__(self) -> Any:
        self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.live.stop()

    def say(self, sentence: str, is_warning: bool) -> None:
        # Through the console of the picture, which thereby stays below.
        shown, style = (f"warning: {sentence}", "yellow") if is_warning else (sentence, None)
        self.console.print(shown, style=style)

    def tells(self, status: str) -> bool:
        return status in ("failed", "diverged")

    def heard(self, event: Any) -> None:
        super().heard(event)
        if time.monotonic() >= self.due:
            self.live.update(self.picture(), refresh=True)
            self.due = time.monotonic() + REFRESH

    def picture(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        return Group(self.running(), self.bar(), Text.assemble(*self.counts(), no_wrap=True, overflow="ellipsis"))

    def running(self, *, expand: bool = True) -> RenderableType:
        """A line for each running trial, as many as there is room for."""
        from rich.table import Table
        from rich.text import Text

        running = list(self.sweep.standing.running)
        room = max(self.console.height - 6, 1)
        table = Table.grid(padding=(0, 2, 0, 0), expand=expand)
        table.add_column(ratio=1 if expand else None, no_wrap=True, overflow="ellipsis")
        for _ in range(self.columns):
            table.add_column(no_wrap=True, justify="right")
        for trial in running[:room]:
            table.add_row(Text(self.labels.line(trial.point.settings, trial.spec.seed)), *self.progress(trial))
        if len(running) > room:
            table.add_row(f"and {len(running) - room} more")
        return table

    def progress(self, trial: Trial) -> list[str]:
        """`epoch 3/20`, `loss 0.41`, `val/accuracy 0.91`, or as much of it as is known."""
        progress, metric = trial.progress, self.sweep.objective.metric
        if progress is None:
            return ["starting"]
        epochs = f"/{trial.spec.epochs}" if trial.spec.epochs else ""
        loss, value = progress.values.get("train/loss"), progress.values.get(metric)
        return [
            f"epoch {progress.epoch}{epochs}",
            "" if loss is None else f"loss {fixed(loss)}",
            "" if value is None else f"{metric} {fixed(value)}",
        ]

    def bar(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True, justify="right")
        share = self.pace.share
        left = f"  {clock(self.pace.left)} left" if self.pace.left is not None else ""
        bar = ProgressBar(1.0, share, complete_style=BLUE, finished_style=BLUE)
        line.add_row(f"{self.pace.done}/{self.sweep.planned} trials", bar, f"{share:.0%}{left}")
        return line

    def counts(self) -> Iterator[Any]:
        """`12 completed, 1 failed, 6 pruned   best val/accuracy 0.981 (lr 0.1)`"""
        shown = [(s, n) for s, n in self.sweep.counts.items() if s not in self.unsaid]
        for index, (status, number) in enumerate(shown):
            yield ", " if index else ""
            yield (f"{number} {status}", STATUS_STYLES.get(status, ""))
        if self.pace.best is not None:
            value, trial = self.pace.best
            label = self.labels.line(trial.point.settings)
            yield f"  best {self.sweep.objective.metric} {brief(value)}" + (f" ({label})" if label else "")
