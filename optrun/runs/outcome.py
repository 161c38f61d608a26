"""What is said of a run by somebody else: by a sweep, of trials that could not begin, were lost, or are given up."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from optrun.config.spec import Spec
from optrun.config.writing import to_yaml
from optrun.errors import NotARun
from optrun.runs import files
from optrun.runs.layout import Layout
from optrun.runs.lock import Lock
from optrun.runs.reader import read
from optrun.runs.record import strict_json

__all__ = ["conclude"]


def conclude(
    directory: Path, spec: Spec, status: Literal["failed", "pruned"], *, error: str | None = None, trace: str = ""
) -> None:
    """Write into the summary of the run in `directory` that it has ended so; whatever else is there stays.

    A run that could not even begin gets its directory, its config.yaml and an otherwise empty summary. `trace` is what
    error.txt says. Raises RunLocked while the run is being trained, and RunError if the disk takes nothing.
    """
    paths = Layout(directory)
    with files.reporting("make", directory):
        files.make_directory(directory, exist_ok=True)
    with Lock(directory), files.reporting("write", paths.summary):
        try:
            before = read(directory).summary
        except NotARun:
            before = {}
            files.write_atomically(paths.config, to_yaml(spec.resolved()).encode())
        if error is not None:
            files.write_atomically(paths.error, f"{trace or error}\n".encode(errors="backslashreplace"))
        summary = {**_blank(directory, spec), **before, "status": status, "error": error}
        files.write_atomically(paths.summary, (strict_json(summary, indented=True) + "\n").encode())


def _blank(directory: Path, spec: Spec) -> dict[str, object]:
    """The summary of a run that has taken no step."""
    return {
        "run": directory.name,
        "name": spec.name,
        "status": "failed",
        "config_hash": spec.config_hash(),
        "epochs": 0,
        "steps": 0,
        "parameters": None,
        "train_time": 0.0,
        "wall_time": 0.0,
        "samples_per_second": None,
        "final": {},
        "best": None,
        "target": None,
        "clipped_fraction": None,
        "engine": "loop",
        "error": None,
    }
