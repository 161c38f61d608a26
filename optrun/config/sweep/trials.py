"""From the base of a sweep and the values of a point to the specs of its trials, every problem where it was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optrun.config.document import Document, Place
from optrun.config.loading import validate
from optrun.config.overrides import Assignment, assign
from optrun.config.spec import Spec
from optrun.config.sweep.file import Base
from optrun.config.sweep.grid import Combination, Product
from optrun.config.sweep.objective import Objective
from optrun.config.sweep.problems import told_once
from optrun.errors import ConfigError, Problem

__all__ = ["Point", "Trials", "as_trial", "distinct", "extremes"]


@dataclass(frozen=True)
class Point:
    """One setting of the axes, run with every seed."""

    settings: Mapping[str, Any]
    """The values by the keys of the axes, sorted; without `seed`. Empty for the base alone."""
    trials: tuple[Spec, ...]
    """One per seed."""


@dataclass(frozen=True)
class Trials:
    """What every trial of a sweep is made from."""

    base: Base
    folder: Path
    """Where relative paths start that do not come from the base's file."""
    seeds: tuple[int, ...] | None
    """None: each trial has the seed that its config gives."""

    def spec(self, combination: Combination) -> Spec:
        """The config of the base with the values of one combination, validated, with the first seed.

        Raises ConfigError.
        """
        seed = [_first_seed(self.seeds)] if self.seeds else []
        # Whole components first, then what is inside them.
        assignments = sorted([*combination.values(), *seed], key=lambda each: (len(each.parts), each.parts))
        document = assign(self.base.document, assignments)
        folders = {self.base.document.source: self.base.folder}
        return validate(document, folder=self.folder, stem=self.base.stem, folders=folders)

    def judged(
        self, combinations: Iterable[Combination], products: Sequence[Product]
    ) -> tuple[list[tuple[Combination, Spec]], list[Problem]]:
        """The combinations that are good with their specs, and what is wrong with the others of the products."""
        good: list[tuple[Combination, Spec]] = []
        problems: set[Problem] = set()
        for combination in combinations:
            try:
                good.append((combination, self.spec(combination)))
            except ConfigError as error:
                problems.update(error.problems)
        empty = [axis.parts for product in products for axis in product.values() if not axis.candidates]
        excused = {_lacking(self.base.document.data, parts) for parts in empty}
        return good, told_once([each for each in problems if each.key not in excused], products, self.spec)

    def point(self, combination: Combination, spec: Spec, objective: Objective) -> Point:
        """The point of a combination and its spec, with a trial for every seed."""
        settings = {key: chosen.given.data for key, chosen in sorted(combination.items()) if key != "seed"}
        return Point(settings, tuple(as_trial(spec, seed, objective) for seed in self.seeds or (spec.seed,)))


def _lacking(data: Any, parts: Sequence[str]) -> str | None:
    """The key in plain data of what lacks the first of these parts that is missing, so that it may be complained of."""
    for number, part in enumerate(parts):
        if not isinstance(data, Mapping) or part not in data:
            return ".".join(parts[:number])
        data = data[part]
    return None


def _first_seed(seeds: Sequence[int]) -> Assignment:
    place = Place("seeds", 0, 0)
    return Assignment(("seed",), Document(seeds[0], place.source, {(): place}, {(): place}))


def as_trial(spec: Spec, seed: int, objective: Objective) -> Spec:
    """The spec as a trial of a sweep: on one thread and with one checkpoint, where its config says nothing else."""
    changes: dict[str, Any] = {"seed": seed}
    if spec.threads == "auto":
        changes["threads"] = 1
    if "keep_checkpoints" not in spec.model_fields_set:
        changes["keep_checkpoints"] = "last"
    return spec.model_copy(update=changes).judged_by(objective.metric, objective.mode)


def distinct(points: Iterable[Point]) -> tuple[tuple[Point, ...], int]:
    """The points without trials that are there before, and the number of those.

    Points that differ in nothing but their seeds become one.
    """
    found: dict[str, tuple[Mapping[str, Any], dict[int, Spec]]] = {}
    duplicates = 0
    for point in points:
        essence = point.trials[0].model_copy(update={"seed": 0}).config_hash()
        _, trials = found.setdefault(essence, (point.settings, {}))
        for trial in point.trials:
            duplicates += trial.seed in trials
            trials.setdefault(trial.seed, trial)
    return tuple(Point(settings, tuple(trials.values())) for settings, trials in found.values()), duplicates


def extremes(axes: Product) -> Iterator[Combination]:
    """Every candidate of every axis once, with the first candidates of the other axes."""
    first = {key: axis.candidates[0] for key, axis in axes.items()}
    yield first
    for key, axis in axes.items():
        for candidate in axis.candidates[1:]:
            yield {**first, key: candidate}
