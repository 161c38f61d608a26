"""Successive halving: the rungs, a point's value at a rung, and who goes on."""

from __future__ import annotations

import math
import random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrun.config.sweep import Prune
from optrun.sweeps.search.halving import point_value, rungs, survivors

FINITE = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.one_of(FINITE, st.sampled_from([math.nan, math.inf, -math.inf, None, 0.0, -0.0, 0.5]))
RACE = st.lists(VALUES, max_size=40).map(lambda values: dict(enumerate(values)))
ETA = st.integers(2, 6)
MODE = st.sampled_from(["min", "max"])
Mode = Literal["min", "max"]


@pytest.mark.parametrize(
    ("min_epochs", "eta", "epochs", "expected"),
    [
        (2, 3, 20, [2, 6, 18]),
        (2, 3, 18, [2, 6]),
        (1, 2, 8, [1, 2, 4]),
        (1, 2, 9, [1, 2, 4, 8]),
        (5, 2, 5, []),
        (5, 2, 3, []),
        (5, 2, 6, [5]),
    ],
)
def test_rungs(min_epochs: int, eta: int, epochs: int, expected: list[int]) -> None:
    assert rungs(Prune(min_epochs, eta), epochs) == expected


@given(st.integers(1, 50), ETA, st.integers(1, 10_000))
def test_rungs_are_the_powers_below_the_last_epoch(min_epochs: int, eta: int, epochs: int) -> None:
    found = rungs(Prune(min_epochs, eta), epochs)
    assert found == [min_epochs * eta**k for k in range(len(found))]
    assert all(rung < epochs for rung in found)
    assert min_epochs * eta ** len(found) >= epochs


def test_the_value_of_a_point() -> None:
    assert point_value([0.25, 0.75]) == 0.5
    assert point_value([0.25, None, 0.75]) == 0.5
    assert point_value([None, None]) is None
    assert point_value([]) is None
    for lost in (math.nan, math.inf, -math.inf):
        diverged = point_value([0.25, lost, None])
        assert diverged is not None
        assert math.isnan(diverged)


@given(st.lists(FINITE, min_size=1, max_size=10), st.randoms(use_true_random=False))
def test_the_value_does_not_depend_on_the_order_of_the_seeds(seeds: list[float], chance: random.Random) -> None:
    shuffled = chance.sample(seeds, len(seeds))
    value = point_value(seeds)
    assert value == point_value(shuffled)
    assert value is not None
    assert min(seeds) <= value <= max(seeds)
    assert point_value([seeds[0]] * 3) == seeds[0]


def test_the_best_go_on() -> None:
    values = {"a": 0.3, "b": 0.9, "c": 0.1, "d": 0.9, "e": 0.5, "f": 0.2, "g": 0.0}
    assert survivors(values, 3, "max") == ["b", "d", "e"]
    assert survivors(values, 3, "min") == ["g", "c", "f"]
    assert survivors(values, 100, "max") == ["b"]
    assert survivors({"only": 0.1}, 2, "max") == ["only"]
    assert survivors({}, 2, "max") == []


def test_a_diverged_point_counts_and_never_goes_on() -> None:
    values = {"a": math.nan, "b": 0.4, "c": math.inf, "d": -math.inf, "e": 0.6, "f": math.nan}
    assert survivors(values, 2, "min") == ["b", "e"]
    assert survivors(values, 3, "max") == ["e", "b"]
    assert survivors({"a": math.nan, "b": math.inf}, 2, "max") == []


def test_a_failed_point_is_out_of_the_race() -> None:
    assert survivors({"a": None, "b": 0.4, "c": None, "d": 0.6, "e": None}, 2, "max") == ["d"]
    assert survivors({"a": None}, 2, "max") == []


@given(RACE, ETA, MODE)
def test_how_many_go_on(values: dict[int, float | None], eta: int, mode: Mode) -> None:
    judged = [value for value in values.values() if value is not None]
    finite = sum(map(math.isfinite, judged))
    kept = survivors(values, eta, mode)
    assert len(kept) == len(set(kept)) == min(finite, math.ceil(len(judged) / eta))
    assert bool(kept) == bool(finite)


@given(RACE, ETA, MODE)
def test_no_other_point_is_better_than_one_that_goes_on(values: dict[int, float | None], eta: int, mode: Mode) -> None:
    sign = 1 if mode == "min" else -1
    kept = survivors(values, eta, mode)
    order = [(sign * values[point], point) for point in kept]
    assert order == sorted(order), "best first, ties in the order of the plan"
    left = [(sign * value, point) for point, value in values.items() if value is not None and math.isfinite(value)]
    assert all(entry >= order[-1] for entry in left if entry not in order)


@given(RACE, ETA, MODE, st.randoms(use_true_random=False))
def test_the_order_of_the_points_matters_to_ties_alone(
    values: dict[int, float | None], eta: int, mode: Mode, chance: random.Random
) -> None:
    shuffled = dict(chance.sample(list(values.items()), len(values)))
    before, after = survivors(values, eta, mode), survivors(shuffled, eta, mode)
    assert [values[point] for point in before] == [values[point] for point in after]
    if len(set(values.values())) == len(values):
        assert before == after


@given(RACE, ETA, MODE, st.data())
def test_a_better_value_never_costs_a_point_its_place(
    values: dict[int, float | None], eta: int, mode: Mode, data: st.DataObject
) -> None:
    kept = survivors(values, eta, mode)
    for point in kept:
        old = values[point]
        assert old is not None
        better = data.draw(st.floats(max_value=old) if mode == "min" else st.floats(min_value=old))
        if math.isfinite(better):
            assert point in survivors({**values, point: better}, eta, mode)


@given(RACE, ETA, MODE)
def test_a_larger_eta_keeps_the_first_of_those(values: dict[int, float | None], eta: int, mode: Mode) -> None:
    more, fewer = survivors(values, eta, mode), survivors(values, eta + 1, mode)
    assert more[: len(fewer)] == fewer


@given(RACE, ETA, MODE)
def test_failed_points_change_nothing_for_the_others(values: dict[int, float | None], eta: int, mode: Mode) -> None:
    without = {point: value for point, value in values.items() if value is not None}
    assert survivors(values, eta, mode) == survivors(without, eta, mode)
