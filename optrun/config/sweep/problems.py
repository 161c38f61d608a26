"""What is wrong with many trials, told once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from optrun.config.document import Place
from optrun.config.overrides import Assignment
from optrun.config.sweep.grid import Axis, Combination, Product
from optrun.config.writing import flow
from optrun.errors import ConfigError, Problem

__all__ = ["told_once"]


def told_once(
    problems: Iterable[Problem], products: Sequence[Product], judge: Callable[[Combination], object]
) -> list[Problem]:
    """The problems of trials, with what is wrong with every candidate of an axis told once, at the key of the axis.

    `judge` raises ConfigError for a combination that cannot be.
    """
    at: defaultdict[Place, set[Problem]] = defaultdict(set)
    for problem in problems:
        at[Place(problem.source, problem.line, problem.column)].add(problem)
    for product in products:
        for axis in product.values():
            wrong = {problem for place in axis.places for problem in at.get(place, ())}
            if not wrong or not all(at.get(place) for place in axis.places):
                continue
            if _lacks_brackets(axis, wrong, product, judge):
                said = {(axis.key, _brackets(axis))}
                wrong = {problem for problem in wrong if problem.key == axis.key}
            else:
                said = set.intersection(*({(p.key, p.message) for p in at[place]} for place in axis.places))
                wrong = {problem for problem in wrong if (problem.key, problem.message) in said}
            for place in axis.places:
                at[place] -= wrong
            at[axis.place] |= {Problem(*axis.place, *words) for words in said}
    return [problem for there in at.values() for problem in there]


def _lacks_brackets(axis: Axis, wrong: set[Problem], product: Product, judge: Callable[[Combination], object]) -> bool:
    """Whether none of the candidates is a value of the key, and the list of all of them is one."""
    places = {Place(problem.source, problem.line, problem.column) for problem in wrong if problem.key == axis.key}
    if axis.listed is None or places != axis.places:
        return False
    others = {key: other.candidates[0] for key, other in product.items() if other.candidates}
    try:
        judge({**others, axis.key: Assignment(axis.parts, axis.listed)})
    except ConfigError as error:
        return not any(f"{problem.key}.".startswith(f"{axis.key}.") for problem in error.problems)
    return True


def _brackets(axis: Axis) -> str:
    listed: Any = axis.listed.data if axis.listed else []
    text = flow([listed] if axis.place.line else listed)
    how = f"for this one write {text}" if len(text) <= 60 else "put this one into another pair of brackets"
    return f"each candidate must be a list itself; {how}"
