"""From the file of a sweep, or of one run and axes on the command line, to every trial, checked before any runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optrun.config.document import Document
from optrun.config.overrides import Assignment, plain_data
from optrun.config.spec import Spec
from optrun.config.sweep.file import open_sweep
from optrun.config.sweep.grid import Combination, Product, combinations, size
from optrun.config.sweep.keys import Told, read_keys
from optrun.config.sweep.objective import Objective, Prune, judge_prune, objective_of
from optrun.config.sweep.reading import KeyReader
from optrun.config.sweep.space import Search
from optrun.config.sweep.trials import Point, Trials, as_trial, distinct, extremes
from optrun.config.sweep.writing import content
from optrun.errors import ConfigError

__all__ = ["MOST_TRIALS", "SweepSpec", "load_sweep"]

MOST_TRIALS = 100_000
"""More are refused: a misplaced bracket in a grid soon makes a billion."""


@dataclass(frozen=True)
class SweepSpec:
    """Many runs as a sweep says them: every trial checked, or the search that proposes them."""

    name: str
    seeds: tuple[int, ...]
    """Those of all trials, in their order."""
    points: tuple[Point, ...]
    """In the order of the grid; empty for a search."""
    examples: tuple[Spec, ...]
    """Trials that show what all are like: one of each point; of a search, each bound and each choice once."""
    search: Search | None
    objective: Objective
    prune: Prune | None
    duplicates: int
    """Trials of the grid that repeat another one, and are left out."""
    notes: str
    tags: tuple[str, ...]
    _trials: Trials = field(repr=False)
    _space: Product = field(repr=False)
    _content: Mapping[str, Any] = field(repr=False)

    def point(self, settings: Mapping[str, Any]) -> Point:
        """The point of a search that has these values for the keys of its space.

        Raises ConfigError if its trials cannot be, ValueError for keys that are not those of the space.
        """
        if settings.keys() != self._space.keys():
            raise ValueError(f"a point has values for {sorted(self._space)}, not {sorted(settings)}")
        combination = {key: _proposed(self._space, key, value) for key, value in settings.items()}
        return self._trials.point(combination, self._trials.spec(combination), self.objective)

    def point_or_error(self, settings: Mapping[str, Any]) -> Point | ConfigError:
        """The same, with a ConfigError for a value."""
        try:
            return self.point(settings)
        except ConfigError as error:
            return error

    def resolved(self) -> dict[str, Any]:
        """The sweep as plain data: what sweep.yaml holds, and `optrun sweep` of it repeats."""
        return dict(self._content)


def _proposed(space: Product, key: str, value: Any) -> Assignment:
    axis = space[key]
    return Assignment(axis.parts, Document(plain_data(value), axis.place.source, {(): axis.place}, {(): axis.place}))


def load_sweep(
    path: str | Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    axes: Sequence[str] = (),
    seeds: str | None = None,
) -> SweepSpec:
    """The sweep in the file at `path`; or, of the run in it, the one that the command line says with `axes`
    (`["optimizer.lr=0.01,0.1"]`) and `seeds` (`5` or `0,3,7`).

    Overrides of a sweep's own keys change the sweep, all others its base. Raises ConfigError with everything that is
    wrong with the sweep or with any of its trials.
    """
    path = Path(path)
    reader, base = open_sweep(path, overrides, seeds)
    told = read_keys(reader, axes, path.stem)
    if _has_too_many(reader, told) or base is None:
        raise ConfigError(reader.problems)
    trials = Trials(base, path.parent, told.seeds)
    good, problems = trials.judged(
        extremes(told.space) if told.space else combinations(told.products),
        [told.space] if told.space else told.products,
    )
    reader.problems.extend(problems)
    objective = _judged(reader, told, [spec for _, spec in good])
    if objective is None or reader.problems:
        raise ConfigError(reader.problems)
    return _complete(trials, told, objective, good)


def _has_too_many(reader: KeyReader, told: Told) -> bool:
    """Whether there are more trials than anyone wants to run, which is complained of."""
    points = told.search.trials if told.search else size(told.products)
    trials = points * len(told.seeds or (0,))
    if trials > MOST_TRIALS:
        key = "search" if told.search else "grid"
        reader.complain((key,), f"these are {trials:,} trials, and {MOST_TRIALS:,} is the most")
    return trials > MOST_TRIALS


def _judged(reader: KeyReader, told: Told, specs: Sequence[Spec]) -> Objective | None:
    """The objective; None with problems. Judges pruning, too."""
    if not specs:
        return None
    if told.prune and told.search and told.search.sampler != "random" and not reader.said_of("search"):
        message = f"{told.search.sampler} proposes points from finished ones, and pruning finishes few"
        reader.complain(("prune",), f"{message}; take sampler: random, or remove prune")
    if told.prune:
        judge_prune(reader, told.prune, specs)
    if told.objective is None and reader.said_of("objective"):
        return None
    return objective_of(reader, told.objective, specs)


def _complete(trials: Trials, told: Told, objective: Objective, good: Sequence[tuple[Combination, Spec]]) -> SweepSpec:
    """The sweep of the good combinations."""
    points = [] if told.search else [trials.point(combination, spec, objective) for combination, spec in good]
    different, duplicates = distinct(points)
    examples = [point.trials[0] for point in different] or [as_trial(spec, spec.seed, objective) for _, spec in good]
    seeds = [trial.seed for point in different for trial in point.trials] or [spec.seed for _, spec in good]
    return SweepSpec(
        name=told.name,
        seeds=told.seeds or tuple(dict.fromkeys(seeds)),
        points=different,
        examples=tuple(examples),
        search=told.search,
        objective=objective,
        prune=told.prune,
        duplicates=duplicates,
        notes=told.notes,
        tags=told.tags,
        _trials=trials,
        _space=told.space,
        _content=content(trials, told, objective, good),
    )
