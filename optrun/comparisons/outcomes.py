"""Run directories become outcomes: what each run was asked, how it ended, and its value of the metric."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from optrun.comparisons.settings import Flat, SettingsReader
from optrun.runs import files, reader
from optrun.runs.layout import Layout
from optrun.runs.reader import Run

__all__ = ["FIGURES", "At", "Outcome", "Skipped", "collect", "judged", "rows_with"]

At = Literal["best", "last"]

_COUNTED = ("completed", "diverged")
_ENDED = (*_COUNTED, "failed")


@dataclass(frozen=True)
class Skipped:
    """A run that is in no figure, and why."""

    path: Path
    reason: str


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
    value: float | None = None
    """The metric; None if the run failed, diverged, or has no finite one."""

    @property
    def counts(self) -> bool:
        """Whether the run is a result: it completed or diverged."""
        return self.status in _COUNTED

    def curve(self, metric: str, over: str = "step") -> tuple[list[float], list[float]]:
        """Where the metric was written down (in steps, or over `time` or `epoch`) and its values, NaN among them.

        Read from metrics.jsonl at every call; lines that are no rows are left out.
        """
        rows = [row for row in rows_with(self.path, metric) if isinstance(row.get(over), int | float)]
        return [row[over] for row in rows], [row[metric] for row in rows]


def collect(paths: Iterable[str | Path], runs_dir: Path) -> tuple[list[Outcome], list[Skipped]]:
    """The runs that `paths` mean (see `reader.find`), without values yet, and those that cannot be read.

    Raises NotARun for a path without any run.
    """
    settings_of = SettingsReader()
    outcomes: list[Outcome] = []
    skipped: list[Skipped] = []
    for run in reader.find(paths, runs_dir):
        try:
            outcomes.append(_outcome(run, settings_of))
        except ValueError as error:
            skipped.append(Skipped(run.path, str(error)))
    return outcomes, skipped


def _outcome(run: Run, settings_of: SettingsReader) -> Outcome:
    if run.problems:
        raise ValueError(run.problems[0].removeprefix(f"{run.path}/"))
    settings, about = settings_of.read(run)
    seed = about.get("seed", 0)
    if not isinstance(seed, int):
        raise ValueError("config.yaml has a seed that is no whole number")
    name = about.get("name")
    named = name if isinstance(name, str) else run.path.name
    return Outcome(run.path, named, seed, run.status, settings, about, run.summary)


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
            if values is None:
                skipped.append(Skipped(outcome.path, f"it has no {metric}"))
                continue
            outcome = replace(outcome, value=_best(values, mode) if at == "best" else _finite(values[-1]))
        elif outcome.status not in _ENDED:
            skipped.append(Skipped(outcome.path, _unfinished(outcome)))
        found.append(outcome)
    return found, skipped


def _unfinished(outcome: Outcome) -> str:
    done = outcome.summary.get("epochs")
    of = outcome.settings.get("epochs")
    far = f" after epoch {done} of {of}" if isinstance(done, int) and isinstance(of, int) else ""
    words = {"running": f"it is still running{far}", "interrupted": f"it was interrupted{far}"}
    return words.get(outcome.status, f"it was {outcome.status}{far}")


def _values(outcome: Outcome, metric: str, mode: str, at: At) -> list[Any] | None:
    """Values of which the best or the last is meant; None if the run has none of that metric."""
    summary = outcome.summary
    if at == "best":
        best = summary.get("best") or {}
        if (best.get("metric"), best.get("mode")) == (metric, mode) and best.get("value") is not None:
            return [best["value"]]
    final = summary.get("final") or {}
    if metric in final and (at == "last" or metric.startswith("test/")):  # the test part is evaluated once
        return [final[metric]]
    if metric in FIGURES:
        return _figure(summary, metric)
    values = [row[metric] for row in rows_with(outcome.path, metric)]
    return values or ([final[metric]] if metric in final else None)


FIGURES: Mapping[str, Literal["min", "max"]] = {
    "train_time": "min",
    "wall_time": "min",
    "samples_per_second": "max",
    "clipped_fraction": "min",
    "target.step": "min",
    "target.time": "min",
}
"""Figures of summary.json that runs can be compared by as well, and which way is better."""


def _figure(summary: Mapping[str, Any], metric: str) -> list[Any] | None:
    table, _, key = metric.rpartition(".")
    holder = (summary.get(table) if table else summary) or {}
    if table and holder.get("reached") is False:
        return [math.inf]
    return None if holder.get(key) is None else [holder[key]]


def _best(values: Sequence[Any], mode: str) -> float | None:
    finite = [value for value in map(_finite, values) if value is not None]
    return (min if mode == "min" else max)(finite, default=None)


def _finite(value: Any) -> float | None:
    try:
        return float(value) if math.isfinite(value) else None
    except (TypeError, OverflowError):
        return None


def rows_with(run: Path, metric: str) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl that have a number at `metric`. Only their lines are parsed."""
    try:
        data = files.read(Layout(run).metrics)
    except OSError:
        return []
    key = json.dumps(metric).encode() + b":"
    rows: list[dict[str, Any]] = []
    found, end = data.find(key), data.rfind(b"\n") + 1
    while 0 <= found < end:
        start, stop = data.rfind(b"\n", 0, found) + 1, data.find(b"\n", found)
        row = reader.row_of(data[start:stop])
        if row is not None and isinstance(row.get(metric), int | float):
            rows.append(row)
        found = data.find(key, stop)
    return rows
