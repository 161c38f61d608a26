"""What the sweeps in a directory plan, by their sweep.yaml, for whoever does not drive them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from optrun.config.spec import Spec
from optrun.config.sweep import Objective, Point, load_sweep
from optrun.runs.layout import SweepLayout, is_run
from optrun.runs.reader import Run
from optrun.sweeps.driver import Sweep
from optrun.sweeps.ledger import Trial

__all__ = ["PlanOnDisk", "as_trial", "sweeps_in", "with_name"]

_DEPTH = 3
"""Levels below a directory at which sweeps are looked for."""


class PlanOnDisk:
    """What a sweep's sweep.yaml says."""

    def __init__(self, sweep: Path, version: tuple[int, int], begun: set[Path]) -> None:
        self.sweep, self.version = sweep, version
        self.objective: Objective | None = None
        self.axes: tuple[str, ...] = ()
        """The keys of a search's space."""
        self.is_open = True
        """Whether runs belong to it that it does not name."""
        self.searched = 0
        """How many trials a search will have."""
        self.begun = begun
        """Of these, the runs that there are."""

    def read(self) -> list[Trial]:
        """The trials it names. Raises OptrunError."""
        spec = load_sweep(SweepLayout(self.sweep).config)
        found = Sweep(spec, self.sweep.parent)
        found.layout = SweepLayout(self.sweep)  # by whichever name it is seen here
        self.objective = spec.objective
        if found.learns and spec.search is not None:
            self.axes = tuple(spec.search.space)
            self.searched = spec.search.trials * len(spec.seeds)
            return []
        self.is_open = False
        return found.plan()


def sweeps_in(directory: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """The sweeps at and below it."""
    if SweepLayout(directory).config.is_file():
        yield directory
    elif depth and not is_run(directory):
        with suppress(OSError):
            for below in sorted(directory.iterdir()):
                if below.is_dir() and not below.name.startswith("."):
                    yield from sweeps_in(below, depth - 1)


def with_name(trials: Iterable[Trial], sweep: str) -> Iterator[Trial]:
    """The trials of one of several sweeps, with its name among their settings."""
    points: dict[int, Point] = {}
    for trial in trials:
        settings = {"sweep": sweep, **trial.point.settings}
        trial.point = points.setdefault(id(trial.point), Point(settings, trial.point.trials))
        yield trial


def as_trial(run: Run, above: Path, axes: Iterable[str]) -> Trial:
    """A run as a trial to be shown. Its config is not judged: it may name components that only its maker has."""
    config = run.config
    seed, epochs, steps = (
        value if isinstance(value := config.get(key), int) else None for key in ("seed", "epochs", "steps")
    )
    spec = Spec.model_construct(seed=seed, epochs=epochs, steps=steps)
    name = run.path.name if run.path == above else str(run.path.relative_to(above))
    settings = {key: _at(config, key) for key in axes} or {"run": name}
    return Trial(Point(settings, (spec,)), spec, run.path)


def _at(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config
