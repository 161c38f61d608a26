"""Every figure of a comparison equals what numpy and scipy make of the raw metrics."""

from __future__ import annotations

import itertools
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparing import METRIC, raw_values, write_run
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import optrun
from optrun.cli.compare_table import screen
from optrun.comparisons.answers import as_json
from optrun.comparisons.bands import band
from optrun.comparisons.comparison import Compared, Comparison
from optrun.comparisons.targets import Target

RATES = (0.1, 0.03, 0.01, 0.003)

VALUES = st.one_of(
    st.floats(-100, 100, allow_nan=False),
    st.sampled_from([0.0, 0.5, 0.5000000000000001, 1.0]),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
CURVES = st.lists(VALUES, min_size=1, max_size=4)
STUDIES = st.lists(st.dictionaries(st.integers(0, 4), CURVES, min_size=1), min_size=1, max_size=len(RATES))
"""Of each group the curve of every seed."""

Study = Sequence[Mapping[int, Sequence[float]]]


def written(directory: Path, study: Study, mode: str) -> dict[float, dict[int, Path]]:
    """The study's runs by learning rate and seed."""
    return {
        rate: {
            seed: write_run(directory / f"r-{rate}-{seed}", curve, seed=seed, mode=mode, config={"optimizer.lr": rate})
            for seed, curve in group.items()
        }
        for rate, group in zip(RATES, study)
    }


def value_of(path: Path, at: str, mode: str) -> float:
    """The best finite value of a run, or its last; NaN where that is not finite."""
    values = raw_values(path)
    if at == "last":
        return values[-1] if math.isfinite(values[-1]) else math.nan
    finite = [value for value in values if math.isfinite(value)]
    return (max if mode == "max" else min)(finite) if finite else math.nan


def same(one: float | None, other: float, tolerance: float = 1e-9) -> bool:
    return one is not None and math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)


@settings(max_examples=60, deadline=None)
@given(study=STUDIES, mode=st.sampled_from(["max", "min"]), at=st.sampled_from(["best", "last"]))
def test_every_figure_of_a_group_is_numpys(study: Study, mode: str, at: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = written(Path(folder), study, mode)
        found = optrun.compare(folder, mode=mode, metric=METRIC, at=at)  # type: ignore[arg-type]
        assert found.mode == mode
        assert len(found.groups) == len(runs)
        for each in found.groups:
            rate = each.group.outcomes[0].settings["optimizer.lr"]
            _check_group(each, [value_of(runs[rate][seed], at, mode) for seed in sorted(runs[rate])], mode)
        _check_order(found)


def _check_group(each: Compared, raw: Sequence[float], mode: str) -> None:
    finite = np.array([value for value in raw if math.isfinite(value)])
    assert each.n == len(finite)
    assert each.diverged == len(raw) - len(finite)
    assert list(each.values) == [value if math.isfinite(value) else None for value in raw]
    if not len(finite):
        assert each.mean is each.std is each.ci95 is each.best is None
        return
    assert same(each.mean, finite.mean())
    if len(finite) == 1:
        assert each.std is None
        assert each.ci95 is None
    else:
        assert same(each.std, finite.std(ddof=1), 1e-6)
        low, high = stats.t.interval(0.95, len(finite) - 1, finite.mean(), max(stats.sem(finite), 1e-300))
        assert each.ci95
        assert same(each.ci95[0], low, 1e-6)
        assert same(each.ci95[1], high, 1e-6)
    worst_first = sorted(raw, key=lambda value: (math.isfinite(value), value if mode == "max" else -value))
    assert each.best == worst_first[-1]
    assert each.worst == (worst_first[0] if math.isfinite(worst_first[0]) else None)
    middle = worst_first[(len(raw) - 1) // 2 : len(raw) // 2 + 1]
    if all(math.isfinite(value) for value in middle):
        assert same(each.median, float(np.mean(middle)))
    else:
        assert each.median is None


def _check_order(found: Comparison) -> None:
    """Groups without diverged runs first, then by their means."""
    sign = -1 if found.mode == "max" else 1
    places = [(each.diverged / max(len(each.values), 1), sign * (each.mean or 0.0)) for each in found.groups]
    for (share, mean), (next_share, next_mean) in itertools.pairwise(places):
        assert share <= next_share + 1e-12
        assert share < next_share or mean <= next_mean + 1e-9


CONTINUOUS = st.floats(-10, 10, allow_nan=False).map(lambda value: round(value, 3))


@settings(max_examples=60, deadline=None)
@given(
    study=st.lists(st.dictionaries(st.integers(0, 5), CONTINUOUS, min_size=2), min_size=2, max_size=4),
    mode=st.sampled_from(["max", "min"]),
)
def test_differences_tests_and_verdicts_are_scipys(study: Sequence[Mapping[int, float]], mode: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = written(Path(folder), [{seed: [value] for seed, value in group.items()} for group in study], mode)
        values = {rate: {seed: raw_values(path)[-1] for seed, path in of.items()} for rate, of in runs.items()}
        found = optrun.compare(folder)
        leader = found.groups[0].group.outcomes[0].settings["optimizer.lr"]
        p = {pair: _p(values[pair[0]], values[pair[1]]) for pair in itertools.combinations(values, 2)}
        if any(each is None for each in p.values()):
            return  # without spread: tests/test_statistics.py
        corrected = _holm({pair: each for pair, each in p.items() if each is not None})
        for each in found.groups[1:]:
            rate = each.group.outcomes[0].settings["optimizer.lr"]
            expected = corrected.get((rate, leader), corrected.get((leader, rate)))
            assert each.difference is not None
            assert same(each.difference.p, expected, 1e-6)
            mean = statistics.fmean(values[rate].values()) - statistics.fmean(values[leader].values())
            assert same(each.difference.mean, mean)
            assert (each.verdict == "worse") == (expected < 0.05)
            low, high = each.difference.ci95
            assert (low <= 0 <= high) == (each.verdict == "not distinguishable")


def _p(one: Mapping[int, float], other: Mapping[int, float]) -> float | None:
    """scipy's p, paired where the seeds are the same; None where there is next to no spread."""
    if set(one) == set(other):
        differences = np.array([one[seed] - other[seed] for seed in one])
        return None if np.ptp(differences) < 1e-6 else stats.ttest_1samp(differences, 0.0).pvalue
    steady, varying = sorted(([*one.values()], [*other.values()]), key=np.ptp)
    if np.ptp(varying) < 1e-6:
        return None
    if np.ptp(steady) == 0:  # Welch's test then is Student's of the other group; scipy warns of its own rounding there
        return stats.ttest_1samp(varying, steady[0]).pvalue
    return stats.ttest_ind(steady, varying, equal_var=False).pvalue


def _holm(p: Mapping[tuple[float, float], float]) -> dict[tuple[float, float], float]:
    """By the book: the smallest times m, the next times m - 1, … and never less than one before."""
    found, largest = {}, 0.0
    for done, pair in enumerate(sorted(p, key=lambda pair: p[pair])):
        largest = max(largest, min((len(p) - done) * p[pair], 1.0))
        found[pair] = largest
    return found


@settings(max_examples=40, deadline=None)
@given(study=STUDIES, mode=st.sampled_from(["max", "min"]), bound=st.floats(-100, 100, allow_nan=False))
def test_targets_areas_and_bands_are_numpys(study: Study, mode: str, bound: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = written(Path(folder), study, mode)
        found = optrun.compare(folder, mode=mode, metric=METRIC)  # type: ignore[arg-type]
        document = as_json(found, Target(METRIC, bound, mode))  # type: ignore[arg-type]
        for each, said in zip(found.groups, document["groups"]):
            paths = list(runs[each.group.outcomes[0].settings["optimizer.lr"]].values())
            curves = [raw_values(path) for path in paths]
            steps = [_first(curve, mode, bound) for curve in curves]
            median = statistics.median(steps)
            assert said["target"]["reached"] == sum(map(math.isfinite, steps))
            assert said["target"]["step"] == (median if math.isfinite(median) else None)
            areas = [_area(curve) for curve in curves if len(curve) > 1 and np.isfinite(curve).all()]
            assert (said["area"] is None) == (not areas)
            if areas:
                assert same(said["area"]["mean"], statistics.fmean(areas))
            _check_band(each, curves)


def _first(curve: Sequence[float], mode: str, bound: float) -> float:
    good = [i for i, value in enumerate(curve, 1) if (value >= bound if mode == "max" else value <= bound)]
    return 10 * good[0] if good else math.inf


def _area(curve: Sequence[float]) -> float:
    return float(np.trapezoid(curve)) / (len(curve) - 1)


def _check_band(each: Compared, curves: Sequence[Sequence[float]]) -> None:
    its = band(each.group, METRIC)
    for x, mean, low, high, n in zip(its.xs, its.mean, its.low, its.high, its.n):
        here = [curve[int(x) // 10 - 1] for curve in curves if len(curve) >= x // 10]
        finite = [value for value in here if math.isfinite(value)]
        assert 2 * len(finite) > len(curves)
        assert (n, low, high) == (len(finite), min(finite), max(finite))
        assert same(mean, statistics.fmean(finite))


@settings(max_examples=30, deadline=None)
@given(means=st.lists(CONTINUOUS, min_size=2, max_size=6), mode=st.sampled_from(["max", "min"]))
def test_the_best_of_k_is_the_mean_over_all_subsets(means: Sequence[float], mode: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for i, mean in enumerate(means):
            write_run(Path(folder) / f"r-{i}", [mean], mode=mode, config={"optimizer.lr": 0.1 / (i + 1)})
        document = as_json(optrun.compare(folder))
        for said in document["best_of_k"]["SGD"]:
            bests = [(max if mode == "max" else min)(each) for each in itertools.combinations(means, said["k"])]
            assert same(said["mean"], statistics.fmean(bests))


@settings(max_examples=30, deadline=None)
@given(values=st.lists(CONTINUOUS, min_size=8, max_size=8))
def test_importance_is_kruskals_h_and_sensitivity_takes_the_best(values: Sequence[float]) -> None:
    """Of two optimizers at four rates; Tomczak and Tomczak (2014): H / (N - 1)."""
    grid = list(itertools.product(("SGD", "Adam"), RATES))
    with tempfile.TemporaryDirectory() as folder:
        for i, ((name, rate), value) in enumerate(zip(grid, values)):
            write_run(Path(folder) / f"r-{i}", [value], config={"optimizer": {"name": name, "lr": rate}})
        document = as_json(optrun.compare(folder))
    shares = {each["key"]: each["share"] for each in document["importance"]}
    if len(set(values)) > 1:
        for key, place in {"optimizer.name": 0, "optimizer.lr": 1}.items():
            levels = sorted({point[place] for point in grid}, key=str)
            samples = [[v for point, v in zip(grid, values) if point[place] == level] for level in levels]
            assert same(shares[key], stats.kruskal(*samples).statistic / (len(values) - 1))
    for response in document["sensitivity"]:
        for spot in response["values"]:
            assert spot["mean"] == values[grid.index((response["optimizer"], spot["value"]))]


def test_what_only_some_settings_have_is_judged_among_these_unless_it_goes_along_with_another(tmp_path: Path) -> None:
    """`momentum` is one more thing that SGD was tried with; each `max_lr` is its optimizer once more."""
    optimizers: list[dict[str, Any]] = [{"name": "SGD", "momentum": 0.0}, {"name": "Adam"}, {"name": "RMSprop"}]
    largest = {"SGD": 0.1, "Adam": 0.01, "RMSprop": 0.001}
    grid = [
        ({**optimizer, "lr": lr}, {"name": "CyclicLR", "base_lr": 1e-5, "max_lr": largest[optimizer["name"]]})
        for optimizer, lr in itertools.product(optimizers, RATES[:2])
    ]
    optimizers.append({"name": "SGD", "momentum": 0.9})
    grid += [({**optimizer, "lr": lr}, None) for optimizer, lr in itertools.product(optimizers, RATES)]
    for number, (optimizer, scheduler) in enumerate(grid):
        value = optimizer.get("momentum", 0.5) + number / 1000
        write_run(tmp_path / f"r-{number}", [value], config={"optimizer": optimizer, "scheduler": scheduler})
    found = optrun.compare(tmp_path)
    having = [each.outcomes[0] for each in found.points if "optimizer.momentum" in each.outcomes[0].settings]
    samples = [[o.value for o in having if o.settings["optimizer.momentum"] == m] for m in (0.0, 0.9)]
    document = {each["key"]: each for each in as_json(found)["importance"]}
    assert set(document) == {"optimizer.name", "optimizer.lr", "optimizer.momentum", "scheduler.name"}
    momentum = document["optimizer.momentum"]
    assert momentum["n"] == len(having) == 10
    assert same(momentum["share"], stats.kruskal(*samples).statistic / 9)
    [sentence] = [part for part in map(str, screen(found, None, plot=False, width=200)) if "alone explains" in part]
    assert f"momentum {momentum['share']:.0%} (by chance 11%, of the 10 that have it)" in sentence


@pytest.mark.parametrize("mode", ["max", "min"])
def test_all_diverged_one_seed_and_no_spread_have_their_words(tmp_path: Path, mode: str) -> None:
    for seed in range(3):
        for rate, values in {0.1: [0.5], 0.03: [0.5], 0.01: [math.nan]}.items():
            status = "completed" if math.isfinite(values[0]) else "diverged"
            write_run(
                tmp_path / f"r-{rate}-{seed}",
                values,
                seed=seed,
                mode=mode,
                status=status,
                config={"optimizer.lr": rate},
            )
    found = optrun.compare(tmp_path)
    first, second, third = found.groups
    assert second.difference is not None
    assert second.difference.identical
    assert (second.difference.mean, second.difference.ci95, second.difference.p) == (0.0, (0.0, 0.0), 1.0)
    assert second.verdict == "not distinguishable"
    assert (third.n, third.diverged, third.mean) == (0, 3, None)
    assert third.difference is not None
    assert third.difference.p is not None
    alone = optrun.compare(tmp_path, where={"seed": 1})
    assert [each.std for each in alone.groups] == [None] * 3
    assert any("one seed only" in note for note in alone.notes)
    del first
