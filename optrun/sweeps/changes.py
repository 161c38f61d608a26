"""Trials made with other code or other data than today's: kept and said, or repeated."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optrun.components.registry import datasets
from optrun.config.spec import Spec
from optrun.runs import files
from optrun.runs.layout import SweepLayout
from optrun.runs.reader import read
from optrun.sweeps.executors.interface import Executor
from optrun.sweeps.ledger import Trial
from optrun.sweeps.tasks import Task
from optrun.sweeps.work import fingerprint

__all__ = ["begin_anew", "changed", "lengthened", "put_aside", "sentences"]


def changed(
    executor: Executor, trials: Sequence[Trial], imported: Sequence[Mapping[str, str]], sweep: str
) -> dict[Trial, str]:
    """Those of the trials that were begun with other imported files or other data, and which of the two. What a new
    trial would go on from is judged as its beginning."""
    begun = {trial: directory for trial in trials if (directory := _beginning(trial)) is not None}
    now = {file["sha256"] for file in imported}
    prints = _fingerprints(executor, list(begun), sweep)
    found = {}
    for trial, directory in begun.items():
        environment = read(directory).environment
        then = _hashes(environment.get("imports"))
        data = prints.get(repr(trial.spec.dataset))
        if then is not None and then != now:
            found[trial] = "imported files"
        elif data is not None and environment.get("data_fingerprint") not in (None, data):
            found[trial] = "data"
    return found


def sentences(changes: Mapping[Trial, str], renewed: Collection[Trial]) -> Iterator[str]:
    """What to say of them, of whom `renewed` begin anew."""
    for what in dict.fromkeys(changes.values()):
        trials = [trial for trial, kind in changes.items() if kind == what]
        anew = sum(trial in renewed for trial in trials)
        if kept := len(trials) - anew:
            yield f"{_trials(kept)} made with other {what} than today's, and kept; --rerun-changed repeats them"
        if anew:
            yield f"{_trials(anew)} made with other {what} than today's, and now made anew"


def lengthened(trials: Sequence[Trial]) -> Iterator[str]:
    """Which of the new trials go on from shorter runs of theirs, and which cannot."""
    new = [trial for trial in trials if trial.status == "planned"]
    if longer := [trial for trial in new if trial.shorter]:
        yield f"{_of(longer)} on from shorter runs of the same settings"
    for reason in dict.fromkeys(trial.restarts for trial in new if trial.restarts):
        again = [trial for trial in new if trial.restarts == reason]
        yield f"{_of(again, 'begins', 'begin')} anew, though shorter runs exist: {reason}"


def put_aside(layout: SweepLayout, trial: Trial) -> None:
    """Move the trial's run into `.replaced`, so that it begins anew. Raises RunError."""
    aside = layout.replaced
    with files.reporting("move", trial.directory):
        files.make_directory(aside, exist_ok=True)
        number = 1
        while (target := aside / f"{trial.directory.name}-{number}").exists():
            number += 1
        files.system.rename(trial.directory, target)
        files.sync_directory(aside)
    trial.status, trial.error = "planned", None
    trial.at.clear()


def begin_anew(trial: Trial, what: str) -> None:
    """Go on from no shorter run: there is one, but made with other `what`."""
    trial.shorter, trial.restarts = None, f"they were made with other {what} than today's"


def _beginning(trial: Trial) -> Path | None:
    """The run that a trial is, or goes on from; None for one that begins with nothing."""
    return trial.shorter if trial.status == "planned" else trial.directory


def _of(trials: Sequence[Trial], one: str = "goes", more: str = "go") -> str:
    """`digits-1f3a9c02 goes`, `digits-1f3a9c02 and 11 more go`."""
    first = trials[0].directory.name
    return f"{first} {one}" if len(trials) == 1 else f"{first} and {len(trials) - 1} more {more}"


def _trials(number: int) -> str:
    return "1 trial was" if number == 1 else f"{number} trials were"


def _hashes(imports: Any) -> set[str] | None:
    """The hashes in environment.json, which may be mangled."""
    if not isinstance(imports, list):
        return None
    return {str(file.get("sha256")) for file in imports if isinstance(file, dict)}


def _fingerprints(executor: Executor, trials: Sequence[Trial], sweep: str) -> dict[str, str | None]:
    """The fingerprints of today's data by the dataset's settings, where it can have changed: not for data that comes
    with optrun or scikit-learn, which would only cost loading it."""
    tasks = {repr(t.spec.dataset): Task(t.spec, t.directory, sweep) for t in trials if _can_change(t.spec)}
    found = executor.run(fingerprint, list(tasks.values()))
    return {repr(task.spec.dataset): value for task, value in found if task is not None and isinstance(value, str)}


def _can_change(spec: Spec) -> bool:
    component = datasets.find(spec.dataset.name)
    return component.origin != "optrun" or bool({"root", "path"} & spec.dataset.settings.keys())
