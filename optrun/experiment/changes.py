"""What a resume may change of a run, and what would make it another run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optrun.components.schedulers import uses_horizon
from optrun.config.loading import load
from optrun.config.spec import Spec
from optrun.errors import ConfigError, UsageError
from optrun.runs import environment, reader
from optrun.runs.layout import Layout

__all__ = [
    "CHANGEABLE",
    "as_it_was",
    "judged_as_before",
    "other_surroundings",
    "refuse_any",
    "refuse_changes",
    "refuse_edits",
]

CHANGEABLE = {
    *("epochs", "steps", "log_every", "checkpoint_every", "keep_checkpoints"),
    *("device", "distributed", "notes", "tags"),
}
"""What a resume may set otherwise: the length, and how the run is watched."""


def refuse_changes(before: Spec, after: Spec) -> None:
    """A resume may make a run longer, but not another run. Raises ConfigError naming each key that would."""
    problems = [
        after.problem(path, "cannot be changed by a resume; start a new run with `optrun train`")
        for path in differences(before.resolved(), after.resolved())
        if path[0] not in CHANGEABLE
    ]
    if (before.epochs, before.steps) != (after.epochs, after.steps) and after.scheduler:
        key = "epochs" if after.epochs else "steps"
        fixed = uses_horizon(after.scheduler)
        if fixed:
            message = f"cannot be changed: {', '.join(fixed)} was made for the run's first length; start a new run"
            problems.append(after.problem((key,), message))
    if problems:
        raise ConfigError(problems)


def refuse_edits(path: Path, saved: Mapping[str, Any] | None, after: Spec) -> None:
    """The config that was edited under a run is another run's. Raises UsageError naming each key.

    `saved` is the config in the checkpoint; None in those of optrun before it was kept there. A key that optrun did not
    have then stands for its default.
    """
    now = after.resolved()
    defaults = {key: value for key, value in now.items() if getattr(after, key) == Spec.model_fields[key].default}
    found = sorted(".".join(key) for key in differences(defaults | dict(saved or now), now))
    edited = [key for key in found if key.partition(".")[0] not in {*CHANGEABLE, "name"}]
    if edited:
        are = "is not what the checkpoint was" if len(edited) == 1 else "are not what the checkpoint was"
        raise UsageError(
            f"{path}: {', '.join(edited)} {are} made with; put it back, or start a new run with `optrun train`"
        )


def refuse_any(before: Spec, after: Spec) -> None:
    """A completed run is left as it is: a change is refused, not forgotten. Raises ConfigError."""
    message = "the run is complete and stays as it is; epochs=N or steps=N would make it longer"
    problems = [after.problem(path, message) for path in differences(before.resolved(), after.resolved())]
    if problems:
        raise ConfigError(problems)


def differences(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of keys at which two configs differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in old.keys() | new.keys():
            yield from differences(old.get(key), new.get(key), (*path, key))
    elif old != new:
        yield path


def as_it_was(directory: Path) -> Spec:
    """The spec in a run's config.yaml. Raises ConfigError, with what was imported for the run when it started."""
    try:
        return load(Layout(directory).config)
    except ConfigError as error:
        files = [each["path"] for each in reader.read(directory).environment.get("imports", [])]
        if not files:
            raise
        given = " ".join(f"--import {file}" for file in files)
        raise UsageError(f"{error}\nthis run was started with {given}; give it again if you trust it") from error


def other_surroundings(
    stored: Mapping[str, Any], fingerprint: str, imported: Sequence[Mapping[str, str]], device: str
) -> tuple[list[str], list[str]]:
    """What is not as environment.json (possibly mangled) says it was, in sentences.

    First what makes it another run: other data, or other imported files; then what may change bits: versions, device.
    """
    grave, slight = [], []
    if stored.get("data_fingerprint") not in (None, fingerprint):
        grave.append("the data is not what the run was begun with")
    files = stored.get("imports")
    then = {str(each.get("sha256")) for each in (files if isinstance(files, list) else []) if isinstance(each, dict)}
    if then and imported and then != {each["sha256"] for each in imported}:
        grave.append("the imported files are not those that the run was begun with")
    now, before = environment.versions(), environment.last_versions(stored)
    slight += [
        f"{name} was {before[name]} and is {now[name]}" for name in now if before.get(name, now[name]) != now[name]
    ]
    if stored.get("device") not in (None, device):
        slight.append(f"the device was {stored['device']} and is {device}")
    return grave, slight


def judged_as_before(spec: Spec, stored: Mapping[str, Any]) -> Spec:
    """The spec with the objective its sweep gave it, as environment.json (possibly mangled) remembers it."""
    match stored.get("objective"):
        case {"metric": str(metric), "mode": "min" | "max" as mode} if spec.objective is None and metric in spec.judges:
            return spec.judged_by(metric, mode)
    return spec
