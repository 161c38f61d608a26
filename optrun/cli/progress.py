"""Training with somebody watching: what is seen of the run, its warnings, and what became of it."""

from __future__ import annotations

import contextlib
import math
import re
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optrun.cli.display import Bar, Display, Lines
from optrun.cli.output import Output, print_json
from optrun.cli.wording import brief, duration, print_named, rate
from optrun.errors import OptrunError

if TYPE_CHECKING:
    from optrun.experiment import Experiment

__all__ = ["conclusions", "follow", "warnings_as_sentences"]


def follow(experiment: Experiment | None, directory: Path, output: Output) -> None:
    """Train to the end and say what became of it; None is a run that was complete already.

    The run's path (with `--json` its summary) goes to standard output however the run ends, all else to standard
    error. Raises what the training raises.
    """
    if output.silent:
        for _ in experiment.events() if experiment else ():
            pass
        return
    if experiment is None:
        output.remarks.print(f"{directory} is complete already; epochs=N or steps=N makes it longer")
    else:
        for note in experiment.notes:
            output.warn(note)
        try:
            _watch(experiment, output)
        except OptrunError:
            _conclude(experiment, directory, output)
            raise
    _conclude(experiment, directory, output)


@contextlib.contextmanager
def warnings_as_sentences(output: Output) -> Iterator[None]:
    """Show what Python's `warnings` are given as `warning: …` lines, each sentence once, without lines of source."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        sentence = re.sub(r" \(Triggered internally at .*\)$", "", " ".join(str(message).split()))
        if sentence not in seen:
            seen.add(sentence)
            output.warn(sentence)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _watch(experiment: Experiment, output: Output) -> None:
    """Read the run's events to their end, showing them in the form that suits standard error."""
    from optrun.training.events import Evaluated

    console = output.remarks
    on_terminal = sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal
    kind = Bar if on_terminal and not output.quiet else Lines
    display: Display = kind(experiment, console)
    with contextlib.closing(experiment.events()) as events, display:
        for event in events:
            if isinstance(event, Evaluated):
                display.evaluated(event)
            elif event.row is not None:
                display.row = event.row
            if time.perf_counter() >= display.due:
                display.refresh()


def _conclude(experiment: Experiment | None, directory: Path, output: Output) -> None:
    """The summary for people, then what scripts read: the path, or one JSON document."""
    from optrun.runs.reader import read

    run = read(directory)
    if experiment is not None:
        print_named(output.remarks, conclusions(run.summary, experiment.state.total_steps))
    if output.json:
        print_json({**run.summary, "path": str(directory)})
    else:
        output.results.print(str(directory))


def conclusions(summary: Mapping[str, Any], total_steps: int | None) -> dict[str, str]:
    """What became of a run, as named sentences. Of a mangled summary, what there is of it."""
    steps, seconds = summary.get("steps") or 0, summary.get("train_time")
    of = f" of {total_steps:,}" if total_steps and steps < total_steps else ""
    speed = f", {rate(steps / seconds, 'steps')}" if steps and seconds else ""
    spent = f" in {duration(seconds)}{speed} ({duration(summary.get('wall_time'))} in all)" if seconds else ""
    said = {str(summary["status"]): f"{steps:,}{of} steps{spent}"}
    best, final, target = (summary.get(key) or {} for key in ("best", "final", "target"))
    if best.get("metric"):
        value, epoch, step = (brief(best.get(key)) for key in ("value", "epoch", "step"))
        said["best"] = f"{best['metric']} {value} at epoch {epoch}, step {step}"
    test = [f"{key.removeprefix('test/')} {brief(value)}" for key, value in final.items() if key.startswith("test/")]
    if test:
        said["test"] = ", ".join(test)
    if target.get("reached"):
        said["target"] = f"reached at step {brief(target.get('step'))} after {duration(target.get('time'))}"
    elif target:
        said["target"] = "not reached"
    clipped = summary.get("clipped_fraction")
    if clipped is not None and math.isfinite(clipped):
        said["clipped"] = f"{clipped:.0%} of the steps"
    return said
