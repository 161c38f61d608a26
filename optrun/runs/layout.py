"""Names in a run directory. No other file knows them.

    runs/<name>-<YYYYmmdd-HHMMSS>-<4 hex>/
        config.yaml              written first: a directory without it is no run
        metrics.jsonl
        summary.json
        environment.json
        checkpoints/last.pt      the newest
        checkpoints/previous.pt  the one before it, to fall back to
        checkpoints/best.pt
        error.txt                only when the run failed
        .lock                    held while a process works on the run

    runs/<sweep>/
        sweep.yaml               the sweep as resolved
        <trial>/                 a run: its name, then 8 hex of its config_hash
        .replaced/               trials that --rerun-changed began anew, as they were
        .groups/                 a file for each process that trains many of the trials at once, held meanwhile
        .slurm/                  jobs of a cluster: their logs, and what they report
        .lock                    held while a process drives the sweep

What begins with a dot is no run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from optrun.runs import files

__all__ = ["Layout", "SweepLayout", "is_run", "new_run_directory"]


@dataclass(frozen=True)
class Layout:
    """The paths of the run in `directory`; says nothing about what exists."""

    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.directory / "metrics.jsonl"

    @property
    def summary(self) -> Path:
        return self.directory / "summary.json"

    @property
    def environment(self) -> Path:
        return self.directory / "environment.json"

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.pt"

    @property
    def previous(self) -> Path:
        return self.checkpoints / "previous.pt"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.pt"

    @property
    def error(self) -> Path:
        return self.directory / "error.txt"

    @property
    def lock(self) -> Path:
        return self.directory / ".lock"


@dataclass(frozen=True)
class SweepLayout:
    """The paths of the sweep in `directory`."""

    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "sweep.yaml"

    @property
    def replaced(self) -> Path:
        return self.directory / ".replaced"

    @property
    def groups(self) -> Path:
        return self.directory / ".groups"

    @property
    def slurm(self) -> Path:
        return self.directory / ".slurm"

    def trial(self, name: str, config_hash: str, digits: int = 8) -> Path:
        """Where the trial with that hash begins."""
        return self.directory / f"{name}-{config_hash[:digits]}"

    def trials(self) -> dict[str, Path]:
        """The run directories there are, by the part of their hash that ends their name. Raises RunError."""
        with files.reporting("read", self.directory):
            try:
                names = sorted(os.listdir(self.directory))
            except FileNotFoundError:
                return {}
        runs = [self.directory / name for name in names if not name.startswith(".")]
        return {path.name.rpartition("-")[2]: path for path in runs if is_run(path)}


def is_run(path: Path) -> bool:
    """Whether `path` is a run directory: one that holds a config.yaml."""
    return os.path.isfile(Layout(path).config)


def new_run_directory(runs_dir: Path, name: str, now: datetime) -> Path:
    """Make `runs_dir/<name>-<date>-<time>-<4 hex>` and return it; no two calls in any processes get the same.

    Raises RunError if it cannot be made. `name` must be a single path component (the config checks this).
    """
    if os.path.basename(name) != name:
        raise ValueError(f"{name!r} is a path, not the name of a run")
    while True:
        # From the system's randomness: Python's own generator belongs to the training.
        directory = runs_dir / f"{name}-{now:%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
        with files.reporting("make", directory):
            files.make_directory(runs_dir, exist_ok=True)
            try:
                files.make_directory(directory)
            except FileExistsError:
                continue
        return directory
