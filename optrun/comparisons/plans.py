"""Trials that a sweep's directory holds and its plan no longer has: they are left out of its ranking.

The plan is read from sweep.yaml without validating it, so a trial is left out only where the plan surely has none like
it: its seed is not among the seeds, or in every product of the grid some setting differs. A search has no fixed points;
of it only the seeds and the base count.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optrun.comparisons.outcomes import Outcome, Skipped
from optrun.comparisons.settings import ABOUT, flat, same
from optrun.errors import ConfigError
from optrun.runs import files
from optrun.runs.layout import SweepLayout

__all__ = ["outside_the_plan"]

REASON = "it is no longer in the plan of its sweep"


@dataclass(frozen=True)
class Product:
    """What a trial of one product of the grid has at each key: one of these values."""

    allowed: Mapping[str, frozenset[Any]]

    def has(self, settings: Mapping[str, Any]) -> bool:
        """Whether nothing speaks against the settings being of the product."""
        return all(key not in settings or _same(settings[key]) in values for key, values in self.allowed.items())


@dataclass(frozen=True)
class Plan:
    """What is known of a sweep's trials."""

    products: tuple[Product, ...]
    seeds: frozenset[int] | None

    def has(self, outcome: Outcome) -> bool:
        if self.seeds is not None and outcome.seed not in self.seeds:
            return False
        return any(product.has(outcome.settings) for product in self.products)


def outside_the_plan(outcomes: Sequence[Outcome], named: Iterable[str | Path]) -> tuple[list[Outcome], list[Skipped]]:
    """The outcomes that their sweeps still plan, and the others. Runs that were `named` themselves stay."""
    kept: list[Outcome] = []
    left_out: list[Skipped] = []
    plans: dict[Path, Plan | None] = {}
    asked_for = {os.path.realpath(path) for path in named}
    for outcome in outcomes:
        sweep = outcome.path.parent
        if sweep not in plans:
            plans[sweep] = _plan(sweep)
        plan = plans[sweep]
        if plan is None or plan.has(outcome) or os.path.realpath(outcome.path) in asked_for:
            kept.append(outcome)
        else:
            left_out.append(Skipped(outcome.path, REASON))
    return kept, left_out


def _plan(directory: Path) -> Plan | None:
    """The plan of the sweep in the directory; None if there is no sweep, or none that can be read."""
    path = SweepLayout(directory).config
    if not os.path.isfile(path):
        return None
    from optrun.config import document

    with suppress(ConfigError, OSError):
        return _read(document.parse(files.read(path), str(path)).data)
    return None


def _read(sweep: Mapping[str, Any]) -> Plan | None:
    base, seeds = sweep.get("base"), sweep.get("seeds")
    if not isinstance(base, Mapping):
        return None
    given = seeds if isinstance(seeds, list) else range(seeds) if isinstance(seeds, int) else None
    space = (sweep.get("search") or {}).get("space", {}) if isinstance(sweep.get("search"), Mapping) else {}
    grid = sweep.get("grid", {})
    products = [_product(base, each, space) for each in (grid if isinstance(grid, list) else [grid])]
    return Plan(tuple(products), None if given is None else frozenset(given))


def _product(base: Mapping[str, Any], axes: Mapping[str, Sequence[Any]], space: Mapping[str, Any]) -> Product:
    """The values at each key: those of the base, where no axis is that key or is above or below it, and the axes'."""
    varied = [*axes, *space]
    allowed: dict[str, set[Any]] = {}
    for key, value in flat(base):
        if key in ABOUT or any(_overlap(key, axis) for axis in varied) or _is_length(key, varied):
            continue
        allowed[key] = {_same(value)}
    for axis, candidates in axes.items():
        for key, values in _of_axis(axis, candidates):
            if key not in ABOUT and not any(_overlap(key, other) for other in varied if other != axis):
                allowed[key] = values
    return Product({key: frozenset(values) for key, values in allowed.items()})


def _of_axis(axis: str, candidates: Sequence[Any]) -> Iterator[tuple[str, set[Any]]]:
    """The keys that an axis sets in all of its candidates, with their values. Of components that is their name."""
    if not isinstance(candidates, Sequence) or isinstance(candidates, str):
        return
    above, _, last = axis.rpartition(".")
    pairs = [dict(flat({last: candidate}, above)) for candidate in candidates]
    for key in set(pairs[0]).intersection(*pairs[1:]) if pairs else ():
        yield key, {_same(its[key]) for its in pairs}


def _overlap(key: str, axis: str) -> bool:
    return f"{key}.".startswith(f"{axis}.") or f"{axis}.".startswith(f"{key}.")


def _is_length(key: str, varied: Sequence[str]) -> bool:
    """Whether an axis sets the other way to say how long a run is."""
    return key in ("epochs", "steps") and not {"epochs", "steps"}.isdisjoint(varied)


def _same(value: Any) -> Any:
    """As in `settings`; names are matched whatever their case, and a path by its last part."""
    return same(os.path.basename(value).lower() if isinstance(value, str) else value)
