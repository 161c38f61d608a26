"""The samplers of a search: what they may propose, that they repeat themselves exactly, and that they learn."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrun.config.sweep import SAMPLERS, Search, Space
from optrun.errors import UsageError
from optrun.sweeps.search.samplers import Sampler, sampler

NAMES = list(SAMPLERS)
NUMBERS = {
    "optimizer.lr": Space("log", 1e-4, 1.0),
    "model.dropout": Space("uniform", 0.0, 0.5),
    "model.depth": Space("int", 1, 7),
}
CHOICES = {
    "clip_norm": Space("choice", choices=(None, 1.0)),
    "optimizer": Space("choice", choices=({"name": "SGD", "lr": 0.1}, {"name": "Adam"}, "RMSprop")),
    "model.hidden": Space("choice", choices=([64], [128, 64])),
    "loss": Space("choice", choices=("cross_entropy",)),
}
Value = Callable[[int, Mapping[str, Any]], float | None]


def space(name: str) -> dict[str, Space]:
    """Everything that sampler can search."""
    return NUMBERS if name == "cmaes" else {**NUMBERS, **CHOICES}


def quadratic(index: int, point: Mapping[str, Any]) -> float:
    return (math.log10(point["optimizer.lr"]) + 2) ** 2 + (point["model.dropout"] - 0.2) ** 2


def with_losses(index: int, point: Mapping[str, Any]) -> float | None:
    """As `quadratic`, but every third point fails and every fourth diverges."""
    return None if index % 3 == 0 else math.nan if index % 4 == 0 else quadratic(index, point)


def play(chooser: Sampler, batches: list[int], value: Value) -> list[dict[str, Any]]:
    """What is proposed in those batches, each told before the next is asked for."""
    points: list[dict[str, Any]] = []
    for size in batches:
        batch = chooser.propose(size)
        for index, point in enumerate(batch, len(points)):
            chooser.tell(point, value(index, point))
        points += batch
    return points


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python process of its own, which can import what this one can."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run([sys.executable, "-c", program], env=variables, check=True, capture_output=True, text=True)


def fits(point: Mapping[str, Any], searched: Mapping[str, Space]) -> bool:
    return list(point) == list(searched) and all(
        any(value is choice for choice in given.choices)
        if given.kind == "choice"
        else type(value) is (int if given.kind == "int" else float) and given.low <= value <= given.high
        for value, given in zip(point.values(), searched.values())
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [quadratic, with_losses, lambda *_: math.nan, lambda *_: None, lambda *_: math.inf])
def test_what_is_proposed_lies_in_the_space(name: str, value: Value) -> None:
    """Whatever happens to the points: all of them may diverge, or fail."""
    points = play(sampler(Search(name, 24, space(name), seed=3, batch=8), "max"), [8, 8, 8], value)
    assert len(points) == 24
    assert all(fits(point, space(name)) for point in points)
    json.dumps(points, allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_tells_give_the_same_proposals(name: str) -> None:
    search = Search(name, 28, space(name), seed=5, batch=8)
    played = play(sampler(search, "max"), [8, 8, 8, 4], with_losses)
    assert play(sampler(search, "max"), [8, 8, 8, 4], with_losses) == played
    assert play(sampler(dataclasses.replace(search, seed=6), "max"), [8, 8, 8, 4], with_losses) != played


@pytest.mark.parametrize("name", NAMES)
def test_a_shorter_batch_is_the_beginning_of_a_longer_one(name: str) -> None:
    """So a search whose last batch was short can be given more trials."""
    search = Search(name, 24, space(name), batch=8)
    short, long = sampler(search, "min"), sampler(search, "min")
    assert play(short, [8, 8], quadratic) == play(long, [8, 8], quadratic)
    assert short.propose(3) == long.propose(8)[:3]


def test_proposals_are_the_same_in_another_process() -> None:
    program = (
        "import json, test_samplers as t\n"
        "searches = [t.Search(name, 20, t.space(name), 7, 5) for name in t.NAMES]\n"
        "print(json.dumps([t.play(t.sampler(search, 'min'), [5] * 4, t.with_losses) for search in searches]))"
    )
    searches = [Search(name, 20, space(name), 7, 5) for name in NAMES]
    here = [play(sampler(search, "min"), [5] * 4, with_losses) for search in searches]
    for hash_seed in ("1", "2"):
        assert json.loads(run(program, PYTHONHASHSEED=hash_seed).stdout) == here


@pytest.mark.parametrize(("name", "better"), [("tpe", 2), ("cmaes", 2), ("gp", 1000)])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_those_that_learn_beat_random_search(name: str, better: float, mode: str) -> None:
    """The median over seeds of the best of 32 points, on a quadratic."""
    searched = {key: NUMBERS[key] for key in ("optimizer.lr", "model.dropout")}
    sign = 1 if mode == "min" else -1

    def value(index: int, point: Mapping[str, Any]) -> float:
        return sign * quadratic(index, point)

    def typical(name: str) -> float:
        best = []
        for seed in range(3 if name == "gp" else 9):
            chooser = sampler(Search(name, 32, searched, seed=seed, batch=4), "min" if sign == 1 else "max")
            best.append(min(quadratic(0, point) for point in play(chooser, [4] * 8, value)))
        return statistics.median(best)

    assert typical(name) * better < typical("random")


def test_qmc_spreads_more_evenly_than_random() -> None:
    searched = {"optimizer.lr": Space("uniform", 0.0, 1.0), "momentum": Space("uniform", 0.0, 1.0)}

    def squares(name: str) -> int:
        """How many of the 64 squares of a chess board have a point among the first 65."""
        points = sampler(Search(name, 65, searched, seed=1, batch=65), "min").propose(65)
        return len({(int(point["optimizer.lr"] * 8), int(point["momentum"] * 8)) for point in points})

    assert squares("qmc") == 64 > squares("random")


# Random search alone: each value by itself.


def test_a_random_value_depends_on_seed_number_and_key_alone() -> None:
    full = {**NUMBERS, **CHOICES}
    points = sampler(Search("random", 50, full), "min").propose(50)
    for key, one in full.items():
        alone = sampler(Search("random", 9, {key: one}), "max")
        assert [*alone.propose(2), *alone.propose(7)] == [{key: point[key]} for point in points[:9]]


def test_random_values_stay_as_they_are() -> None:
    """They are what finished sweeps are found by: written down, so that no change here or in Python goes unseen."""
    assert sampler(Search("random", 2, {**NUMBERS, **CHOICES}), "min").propose(2) == GOLDEN


def _numbers(integers: bool) -> st.SearchStrategy[tuple[Any, Any]]:
    ends = st.integers(-(10**30), 10**30) if integers else st.floats(allow_nan=False, allow_infinity=False)
    return st.tuples(ends, ends).map(lambda pair: (min(pair), max(pair)))


POSITIVE = st.tuples(*[st.floats(1e-300, 1e300)] * 2).map(lambda pair: (min(pair), max(pair)))
SPACES = st.one_of(
    _numbers(True).map(lambda ends: Space("int", *ends)),
    _numbers(False).map(lambda ends: Space("uniform", *ends)),
    POSITIVE.map(lambda ends: Space("log", *ends)),
    st.lists(st.one_of(st.none(), st.booleans(), st.text(), st.lists(st.integers())), min_size=1).map(
        lambda choices: Space("choice", choices=tuple(choices))
    ),
)


@given(st.dictionaries(st.text(min_size=1), SPACES, min_size=1, max_size=5), st.integers())
def test_random_values_lie_in_any_space(searched: dict[str, Space], seed: int) -> None:
    for point in sampler(Search("random", 20, searched, seed), "min").propose(20):
        assert fits(point, searched)


MODEST = st.one_of(
    st.tuples(st.integers(-1000, 1000), st.integers(1, 100)).map(lambda v: Space("int", v[0], v[0] + v[1])),
    st.tuples(st.floats(-1e6, 1e6), st.floats(0.5, 1e6)).map(lambda v: Space("uniform", v[0], v[0] + v[1])),
    st.tuples(st.floats(1e-12, 1e6), st.floats(1.5, 1e6)).map(lambda v: Space("log", v[0], v[0] * v[1])),
    st.sampled_from([1, 2, 3]).map(lambda n: Space("choice", choices=([0], [1], None)[:n])),
)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.text("abc.", min_size=1), MODEST, min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["tpe", "cmaes", "qmc"]),
)
def test_values_from_optuna_lie_in_any_space(searched: dict[str, Space], seed: int, name: str) -> None:
    if name == "cmaes":
        searched = {key: one for key, one in searched.items() if one.kind != "choice"}
    chooser = sampler(Search(name, 20, searched, seed, 5), "max")
    assert all(fits(point, searched) for point in play(chooser, [5] * 4, lambda index, _: float(index)))


def test_an_int_reaches_both_ends_and_all_between_equally_often() -> None:
    points = sampler(Search("random", 3000, {"k": Space("int", -1, 1)}), "min").propose(3000)
    counts = [sum(point["k"] == k for point in points) for k in (-1, 0, 1)]
    assert sum(counts) == 3000
    assert all(900 < count < 1100 for count in counts)


def test_log_is_even_over_the_magnitudes() -> None:
    points = sampler(Search("random", 2000, {"lr": Space("log", 1e-4, 1.0)}), "min").propose(2000)
    assert all(400 < sum(math.floor(math.log10(p["lr"])) == k for p in points) < 600 for k in (-4, -3, -2, -1))


# What can be wrong.


@pytest.mark.parametrize(
    ("name", "gone", "missing"),
    [
        ("tpe", ["optuna"], "optuna"),
        ("cmaes", ["cmaes"], "cmaes"),
        ("cmaes", ["optuna", "cmaes"], "optuna and cmaes"),
        ("gp", ["scipy"], "scipy"),
        ("qmc", ["scipy"], "scipy"),
    ],
)
def test_a_missing_package(name: str, gone: list[str], missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in gone:
        monkeypatch.setitem(sys.modules, package, None)  # as Python marks what cannot be imported
    with pytest.raises(UsageError) as caught:
        sampler(Search(name, 8, NUMBERS), "min")
    assert str(caught.value) == (
        f"the sampler {name} needs {missing}, not installed here; pip install 'optrun[optuna]', "
        "or take the sampler random"
    )


def test_telling_out_of_order() -> None:
    chooser = sampler(Search("tpe", 8, NUMBERS), "min")
    first, second = chooser.propose(2)
    with pytest.raises(ValueError, match="not the oldest proposal that is still open"):
        chooser.tell(second, 1.0)
    chooser.tell(first, 1.0)
    chooser.tell(second, 1.0)
    with pytest.raises(ValueError, match="not the oldest proposal that is still open"):
        chooser.tell(second, 1.0)


def test_optuna_is_silent_here_and_nowhere_else() -> None:
    program = (
        "import test_samplers as t, optuna\n"
        "for name in t.NAMES:\n"
        "    search = t.Search(name, 20, t.space(name), batch=4)\n"
        "    t.play(t.sampler(search, 'min'), [4] * 5, t.with_losses)\n"
        "print('silent', flush=True)\n"
        "optuna.create_study(study_name='heard')"
    )
    done = run(program, PYTHONWARNINGS="always::UserWarning")
    assert done.stdout == "silent\n"
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("with name: heard\n")


def test_random_search_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from optrun.sweeps.search import halving, optuna_samplers, samplers\n"
        "print({'torch', 'numpy', 'scipy', 'optuna'} & set(sys.modules))"
    )
    assert run(program).stdout == "set()\n"


_SAME = {"optimizer": {"name": "Adam"}, "model.hidden": [64], "loss": "cross_entropy"}
_FIRST = {"optimizer.lr": 0.00038759278396060647, "model.dropout": 0.12746204089264995, "model.depth": 5}
_SECOND = {"optimizer.lr": 0.0014802656595153606, "model.dropout": 0.014382238086941612, "model.depth": 6}
GOLDEN = [{**_FIRST, "clip_norm": None, **_SAME}, {**_SECOND, "clip_norm": 1.0, **_SAME}]
