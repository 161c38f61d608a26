"""Run directories become outcomes: what each run was asked, how it ended, and its value of the metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from optrun.comparisons.history import History, torn
from optrun.comparisons.settings import Flat, SettingsReader
from optrun.runs import finding
from optrun.runs.reader import Run

__all__ = ["FIGURES", "TIMES", "At", "Outcome", "Skipped", "collect", "judged"]

At = Literal["best", "last"]

_COUNTED = ("completed", "diverged")
_ENDED = (*_COUNTED, "failed")


@dataclass(frozen=True)
class Skipped:
    """A run that is in no figure, and why."""

    path: Path
    reason: str
    """What is of this run alone stands in brackets at its end: `it is still running (after epoch 3 of 20)`."""

    @property
    def kind(self) -> str:
        """The reason as far as others may share it."""
        return self.reason.partition(" (")[0]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One run as it is compared."""

    path: Path
    name: str
    seed: int
    status: str
    """`completed | diverged | failed | pruned | interrupted | running`."""
    settings: Flat
    """The config by dotted keys, without what runs of one group may differ in."""
    about: Flat
    """Those keys: seed, name, tags, device, threads, …"""
    summary: Mapping[str, Any]
    history: History
    value: float | None = None
    """The metric; None if the run failed, diverged, never reached the target, or has no finite one."""
    unreached: bool = False
    """Whether the metric is when the target was reached, and it never was."""

    @property
    def counts(self) -> bool:
        """Whether the run is a result: it completed or diverged."""
        return self.status in _COUNTED


def collect(paths: Iterable[str | Path], runs_dir: Path) -> tuple[list[Outcome], list[Skipped]]:
    """The runs that `paths` mean (see `finding.find`), without values yet, and those that cannot be read whole.

    Raises NotARun for a path without any run.
    """
    settings_of = SettingsReader()
    outcomes: list[Outcome] = []
    skipped: list[Skipped] = []
    for run in finding.find(paths, runs_dir):
        try:
            outcomes.append(_outcome(run, settings_of))
        except ValueError as error:
            skipped.append(Skipped(run.path, str(error)))
    return outcomes, skipped


def _outcome(run: Run, settings_of: SettingsReader) -> Outcome:
    if run.problems:
        raise ValueError(run.problems[0].removeprefix(f"{run.path}/"))
    steps = run.summary.get("steps")
    if run.status in _COUNTED and isinstance(steps, int) and (why := torn(run.path, steps)):
        raise ValueError(why)
    settings, about = settings_of.read(run)
    seed = about.get("seed", 0)
    if not isinstance(seed, int):
        raise ValueError("config.yaml has a seed that is no whole number")
    name = about.get("name")
    named = name if isinstance(name, str) else run.path.name
    return Outcome(run.path, named, seed, run.status, settings, about, run.summary, History(run.path))


def judged(
    outcomes: Sequence[Outcome], metric: str, mode: Literal["min", "max"], at: At = "best"
) -> tuple[list[Outcome], list[Skipped]]:
    """The outcomes with their values of the metric; those without it, or without an end, are skipped as well.

    Outcomes that ended are all there, the failed ones without a value; so are pruned and unfinished ones, to be listed.
    """
    found: list[Outcome] = []
    skipped: list[Skipped] = []
    for outcome in outcomes:
        if outcome.status == "completed":
            values = _values(outcome, metric, mode, at)
            if not len(values):
                skipped.append(Skipped(outcome.path, outcome.history.problem or f"it has no {metric}"))
                continue
            value = _best(values, mode) if at == "best" else _finite(values[-1])
            outcome = replace(outcome, value=value, unreached=value is None and metric in _TARGETS)
        elif outcome.status not in _ENDED:
            skipped.append(_unfinished(outcome))
        found.append(outcome)
    return found, skipped


def _unfinished(outcome: Outcome) -> Skipped:
    done, of = outcome.summary.get("epochs"), outcome.settings.get("epochs")
    far = f" (after epoch {done} of {of})" if isinstance(done, int) and isinstance(of, int) else ""
    words = {"running": "it is still running", "interrupted": "it was interrupted"}
    return Skipped(outcome.path, f"{words.get(outcome.status, f'it was {outcome.status}')}{far}")


def _values(outcome: Outcome, metric: str, mode: str, at: At) -> Sequence[float]:
    """Values of which the best or the last is meant; none if the run has none of that metric."""
    summary = outcome.summary
    if metric in FIGURES:
        return _figure(summary, metric)
    final = summary.get("final") or {}
    if metric.startswith("test/") or at == "last":  # the test part is evaluated once
        if metric in final:
            return [math.nan if final[metric] is None else final[metric]]
    else:
        best = summary.get("best") or {}
        if (best.get("metric"), best.get("mode")) == (metric, mode) and best.get("value") is not None:
            return [best["value"]]
    return outcome.history.curve(metric)[1]


FIGURES: Mapping[str, Literal["min", "max"]] = {
    "train_time": "min",
    "wall_time": "min",
    "samples_per_second": "max",
    "clipped_fraction": "min",
    "target.step": "min",
    "target.time": "min",
}
"""Figures of summary.json that runs can be compared by as well, and which way is better."""


TIMES = ("train_time", "wall_time", "samples_per_second", "target.time")
"""Those that a clock measured."""

_TARGETS = ("target.step", "target.time")


def _figure(summary: Mapping[str, Any], metric: str) -> Sequence[float]:
    table, _, key = metric.rpartition(".")
    holder = (summary.get(table) if table else summary) or {}
    if table and holder.get("reached") is False:
        return [math.inf]
    value = holder.get(key)
    return [value] if isinstance(value, int | float) else []


def _best(values: Sequence[float], mode: str) -> float | None:
    if len(values) == 1:
        return _finite(values[0])
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return float(known.min() if mode == "min" else known.max()) if known.size else None


def _finite(value: float) -> float | None:
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer of 400 digits
        return None
