"""The statistics of `optrun compare`: every figure is scipy's, every rule of docs/statistics.md holds."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from optrun.comparisons.statistics import (
    MOST_SEEDS,
    POWER,
    Method,
    Mode,
    Values,
    detectable,
    difference,
    few_seeds,
    holm,
    interval,
    power,
    ranking,
    standings,
    summary,
)
from optrun.comparisons.statistics.pairs import separation_p

ROOT = Path(__file__).parent.parent

magnitudes = st.integers(-60, 60).map(lambda exponent: 10.0**exponent)
"""scipy's own tests overflow beyond."""
few_levels = st.integers(-3, 3).map(float)
any_number = st.one_of(few_levels, st.floats(-1000, 1000).filter(lambda value: value == 0 or abs(value) > 1e-3))


@st.composite
def samples(draw: st.DrawFn, groups: int = 1, smallest: int = 2, largest: int = 8) -> list[list[float]]:
    """Groups of values, of every magnitude, with ties; each group's spread is more than rounding."""
    found = [draw(st.lists(any_number, min_size=smallest, max_size=largest)) for _ in range(groups)]
    size = max(abs(value) for values in found for value in values)
    assume(all(np.std(values) > 1e-6 * size for values in found))
    factor = draw(magnitudes)
    return [[value * factor for value in values] for values in found]


def at_seeds(values: list[float] | list[float | None], first: int = 0) -> Values:
    return dict(enumerate(values, first))


def close(one: object, other: object) -> bool:
    return one == pytest.approx(other, rel=1e-7, abs=0)


@given(samples())
def test_a_group_in_figures_is_numpys_and_scipys(group: list[list[float]]) -> None:
    values = group[0]
    found = summary(at_seeds(values), "min")
    assert (found.n, found.diverged) == (len(values), 0)
    size = max(map(abs, values))
    assert found.mean == pytest.approx(np.mean(values), rel=1e-12, abs=1e-15 * size)
    assert close(found.std, np.std(values, ddof=1))
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert found.ci95 == pytest.approx(expected, rel=1e-9, abs=1e-12 * size)
    assert interval(values) == found.ci95
    assert (found.best, found.worst) == (min(values), max(values))
    assert found.median == pytest.approx(np.median(values), rel=1e-12, abs=0)
    assert summary(at_seeds(values), "max").best == max(values)


def test_one_value_has_no_spread_and_none_has_nothing() -> None:
    one = summary({3: 0.5}, "max")
    assert (one.n, one.mean, one.std, one.ci95, one.best, one.median, one.worst) == (1, 0.5, None, None, 0.5, 0.5, 0.5)
    none = summary({}, "max")
    assert (none.n, none.mean, none.std, none.ci95, none.best, none.median, none.worst) == (0, *[None] * 6)
    assert interval([1.0]) is None
    assert summary({0: 0.7, 1: 0.7}, "max").ci95 == (0.7, 0.7)


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -math.inf, 10**400])
def test_what_is_not_finite_is_a_diverged_run_and_the_worst(bad: float | None) -> None:
    found = summary({0: 0.8, 1: bad, 2: 0.9}, "max")
    assert (found.n, found.diverged, found.best, found.median, found.worst) == (2, 1, 0.9, 0.8, None)
    assert found.mean == pytest.approx(0.85)
    assert summary({0: 0.8, 1: bad}, "max").median is None
    assert difference({0: 0.8, 1: bad, 2: 0.9}, {0: 0.1, 1: 0.2, 2: 0.3}).mean is None
    assert ranking([{0: 0.9, 1: bad}, {0: 0.1, 1: 0.2}, {}, {0: bad}, {0: 0.3}], "max") == (4, 1, 0, 3, 2)


@given(samples(groups=2))
def test_different_seeds_are_tested_by_welch(pair: list[list[float]]) -> None:
    one, other = pair
    size = max(map(abs, [*one, *other]))
    found = difference(at_seeds(one), at_seeds(other, 100))
    expected = stats.ttest_ind(one, other, equal_var=False)
    assert (found.method, found.paired, found.n) == (Method.WELCH, False, (len(one), len(other)))
    assert close(found.p, expected.pvalue)
    low, high = expected.confidence_interval()
    assert found.ci95 == pytest.approx((low, high), rel=1e-7, abs=1e-9 * size)
    assert found.mean == pytest.approx(np.mean(one) - np.mean(other), rel=1e-9, abs=1e-12 * size)


@given(st.integers(2, 8).flatmap(lambda n: samples(2, n, n)))
def test_equal_seeds_are_tested_in_pairs(pair: list[list[float]]) -> None:
    one, other = pair
    differences = np.subtract(one, other)
    size = max(map(abs, [*one, *other]))
    assume(np.std(differences) > 1e-6 * size)
    shuffled = dict(reversed(list(at_seeds(other).items())))  # the order of a mapping means nothing
    found = difference(at_seeds(one), shuffled)
    expected = stats.ttest_rel(one, other)
    assert (found.method, found.paired) == (Method.PAIRED, True)
    assert close(found.p, expected.pvalue)
    assert found.ci95 == pytest.approx(tuple(expected.confidence_interval()), rel=1e-7, abs=1e-9 * size)


def test_seeds_that_match_in_part_are_not_paired() -> None:
    one, other = [0.9, 0.8, 0.85], [0.7, 0.75, 0.72, 0.71]
    found = difference(at_seeds(one), at_seeds(other))
    assert found.method == Method.WELCH
    assert close(found.p, stats.ttest_ind(one, other, equal_var=False).pvalue)


@given(samples(groups=2))
def test_one_group_without_spread_leaves_the_others_degrees_of_freedom(pair: list[list[float]]) -> None:
    one, other = pair
    found = difference(at_seeds([one[0]] * len(one)), at_seeds(other, 10))
    assert close(found.p, stats.ttest_1samp(other, one[0]).pvalue)


def test_equal_values_are_identical_and_not_nan() -> None:
    for one, other in [
        ({0: 0.1, 1: 0.2}, {0: 0.1, 1: 0.2}),
        ({0: 0.1 + 0.2, 1: 0.5}, {0: 0.3, 1: 0.5}),
        ({0: 0.7, 1: 0.7}, {2: 0.7, 3: 0.7, 4: 0.7}),
        ({0: 0.0, 1: 0.0}, {0: 0.0, 1: 0.0}),
        ({0: None, 1: 0.7}, {0: math.nan, 1: 0.7}),
    ]:
        found = difference(one, other)
        assert (found.identical, found.mean, found.ci95, found.p) == (True, 0.0, (0.0, 0.0), 1.0)
    alone = difference({0: 0.7}, {0: 0.7})
    assert (alone.identical, alone.mean, alone.ci95, alone.p) == (True, 0.0, None, None)
    assert not difference({0: 0.2, 1: 0.1}, {0: 0.1, 1: 0.2}).identical
    assert not difference({0: None, 1: None}, {0: None, 1: None}).identical


def test_a_difference_that_never_varies_is_judged_by_counting() -> None:
    """A t test would say p = 0, from two runs already; on coarse metrics equal groups come out like that."""
    steps = difference({0: 300 / 360, 1: 310 / 360, 2: 290 / 360}, {0: 301 / 360, 1: 311 / 360, 2: 291 / 360})
    assert (steps.method, steps.paired, steps.p, steps.ci95) == (Method.SIGNS, True, 0.25, None)
    assert steps.mean == pytest.approx(-1 / 360)
    assert steps.p == stats.binomtest(0, 3).pvalue
    constant = difference({0: 0.9, 1: 0.9, 2: 0.9}, {0: 0.8, 1: 0.8, 2: 0.8})
    assert (constant.method, constant.p) == (Method.SEPARATION, 2 / 4**3)
    assert difference({0: 0.9, 1: 0.9}, {4: 0.8, 5: 0.8, 6: 0.8}).method == Method.SEPARATION


@pytest.mark.parametrize(("n", "other"), [(2, 2), (3, 3), (5, 5), (2, 6), (7, 4)])
def test_two_constants_are_told_apart_as_by_barnards_test(n: int, other: int) -> None:
    assert separation_p(n, other) == pytest.approx(stats.barnard_exact([[n, 0], [0, other]]).pvalue, rel=1e-4)


@given(st.lists(st.lists(st.one_of(st.none(), any_number), min_size=2, max_size=6), min_size=2, max_size=6))
def test_diverged_runs_are_tested_by_ranks(groups: list[list[float | None]]) -> None:
    worst = [[-math.inf if value is None else value for value in group] for group in groups]
    everything = list(itertools.chain.from_iterable(worst))
    ranks = np.split(stats.rankdata(everything), np.cumsum([len(group) for group in groups])[:-1])
    found = standings([at_seeds(group, 10 * number) for number, group in enumerate(groups)], "max")
    for number, its in enumerate(found.groups):
        if its.difference is None or its.difference.method != Method.RANKS:
            continue
        one, other = ranks[number], ranks[found.reference or 0]
        assert None in groups[number] or None in groups[found.reference or 0]
        if np.ptp(one) == 0 and np.ptp(other) == 0:
            expected = 1.0 if one[0] == other[0] else separation_p(len(one), len(other))
        else:
            t = (one.mean() - other.mean()) / math.hypot(stats.sem(one), stats.sem(other))
            expected = 2 * stats.t.sf(abs(t), min(len(one), len(other)) - 1)
        assert close(its.difference.uncorrected_p, expected)
        if its.verdict != "not distinguishable":
            assert its.verdict == ("worse" if one.mean() < other.mean() else "better")


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_setting_that_always_diverges_is_worse_than_one_that_never_does(mode: Mode, sign: int) -> None:
    """Whichever way is better and whatever the sign: a group without any value has no mean that could be compared."""
    random = np.random.default_rng(0)
    groups: list[Values] = [at_seeds((sign * random.normal(0.9, 0.01, 5)).tolist()) for _ in range(10)]
    groups += [at_seeds([None] * 5) for _ in range(10)]
    found = standings(groups, mode)
    assert [its.verdict for its in found.groups[10:]] == ["worse"] * 10
    assert set(found.order[:10]) == set(range(10))
    last = found.groups[-1].difference
    assert last is not None
    assert (last.method, last.p, last.mean) == (Method.SEPARATION, 2 / 4**5, None)
    assert standings(groups, mode, baseline=19).groups[0].verdict == "better"


@pytest.mark.parametrize("others", [0, 1, 5, 11])
def test_divergence_here_and_there_makes_divergence_everywhere_mean_less(others: int) -> None:
    random = np.random.default_rng(0)
    groups: list[Values] = [at_seeds(random.normal(0.9, 0.01, 5).tolist()) for _ in range(8)]
    groups += [at_seeds([0.8, 0.9, None, None, 0.7])] * others
    last = standings([*groups, at_seeds([None] * 5)], "max").groups[-1].difference
    assert last is not None
    assert last.p == math.comb(others + 2, 2) * 2 / 4**5
    assert last.told == (others <= 5)


def test_one_run_is_not_tested_and_does_not_lead() -> None:
    """However good it is: what it is compared with would be one draw, and nothing could be told of any group."""
    found = standings([{0: 0.9}, {0: 0.1, 1: 0.1, 2: 0.1}, {0: 0.5}, {}, {0: 0.3, 1: 0.3, 2: 0.3}], "max")
    assert (found.order, found.reference, found.comparisons) == ((0, 2, 4, 1, 3), 4, 1)
    verdicts = [its.verdict for its in found.groups]
    assert verdicts == ["not tested", "worse", "not tested", "no result", "leader"]
    lone = found.groups[0].difference
    assert lone is not None
    assert (lone.method, lone.mean, lone.p, lone.ci95) == (Method.NONE, pytest.approx(0.6), None, None)
    assert found.groups[3].difference is None


def test_where_every_group_is_one_run_the_best_leads_and_nothing_is_tested() -> None:
    found = standings([{0: 0.5}, {0: 0.9}, {1: 0.1}], "max")
    assert (found.reference, found.comparisons) == (1, 0)
    assert [its.verdict for its in found.groups] == ["not tested", "leader", "not tested"]


@pytest.mark.parametrize("groups", [[], [{}], [{0: None, 1: None}, {}]])
def test_without_results_nothing_leads(groups: list[Values]) -> None:
    found = standings(groups, "min")
    assert found.reference is None
    assert [its.verdict for its in found.groups] == ["not tested" if its else "no result" for its in groups]


@given(st.lists(st.lists(st.lists(any_number, min_size=3, max_size=3), min_size=1, max_size=3), min_size=2, max_size=3))
def test_settings_that_were_not_chosen_count_as_compared_with_every_other_group(data: list[list[list[float]]]) -> None:
    """Holm over each setting and the best of every other group; with a baseline, of the pairs that one of it is in."""
    size = max(abs(value) for group in data for values in group for value in values)
    of = [group for group, its in enumerate(data) for _ in its]
    every = [at_seeds(values, 10 * number) for number, values in enumerate(itertools.chain.from_iterable(data))]
    assume(all(np.std(list(values.values())) > 1e-6 * size for values in every))
    best = [next(index for index in ranking(every, "max") if of[index] == group) for group in range(len(data))]
    unchosen = [[every[i] for i in range(len(of)) if of[i] == of[chosen] and i != chosen] for chosen in best]
    pairs = [pair for pair in itertools.combinations(range(len(every)), 2) if of[pair[0]] != of[pair[1]]]
    pairs = [pair for pair in pairs if pair[0] in best or pair[1] in best]
    raw = {pair: difference(every[pair[0]], every[pair[1]]).uncorrected_p for pair in pairs}
    for baseline in (None, 0):
        family = [pair for pair in pairs if baseline is None or baseline in (of[pair[0]], of[pair[1]])]
        corrected = dict(zip(family, textbook_holm([raw[pair] or 0.0 for pair in family])))
        found = standings([every[i] for i in best], "max", baseline=baseline, unchosen=unchosen)
        assert found.comparisons == len(family)
        assert found.reference is not None
        for group, its in enumerate(found.groups):
            if group != found.reference:
                assert its.difference is not None
                pair = sorted((best[group], best[found.reference]))
                assert close(its.difference.p, corrected[pair[0], pair[1]])


def textbook_holm(p: list[float]) -> list[float]:
    corrected, largest = [0.0] * len(p), 0.0
    for step, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, (len(p) - step) * p[index])
        corrected[index] = min(1.0, largest)
    return corrected


@given(st.lists(st.one_of(st.just(0.0), st.floats(1e-12, 1)), max_size=12), st.integers(0, 12))
def test_holm_is_the_textbooks(p: list[float], asked: int) -> None:
    corrected, factor = holm(np.array([math.nan, *p[:asked]]), np.array([*p[asked:], math.nan]))
    assert np.isnan(corrected[0])
    assert corrected[1:] == pytest.approx(textbook_holm(p)[:asked], rel=1e-12)
    assert all(1 <= its <= len(p) * (1 + 1e-12) for its in factor[1:])


@given(st.integers(2, 5).flatmap(lambda k: samples(k, 3, 3)), st.booleans())
def test_every_pair_counts_for_a_leader_and_every_group_for_a_baseline(data: list[list[float]], own: bool) -> None:
    size = max(abs(value) for values in data for value in values)
    assume(all(np.std(np.subtract(one, other)) > 1e-6 * size for one, other in itertools.combinations(data, 2)))
    groups = [at_seeds(values, 10 * own * number) for number, values in enumerate(data)]
    pairs = list(itertools.combinations(range(len(data)), 2))
    test = (lambda *pair: stats.ttest_ind(*pair, equal_var=False)) if own else stats.ttest_rel
    raw = {pair: float(test(data[pair[0]], data[pair[1]]).pvalue) for pair in pairs}
    corrected = dict(zip(pairs, textbook_holm(list(raw.values()))))
    found = standings(groups, "max")
    assert found.comparisons == len(pairs)
    leader = found.order[0]
    assert found.reference == leader
    for number, its in enumerate(found.groups):
        if number != leader:
            assert its.difference is not None
            assert close(its.difference.p, corrected[min(number, leader), max(number, leader)])
            assert its.verdict == ("worse" if its.difference.told else "not distinguishable")
    to_last = standings(groups, "max", baseline=len(data) - 1)
    against = textbook_holm([raw[number, len(data) - 1] for number in range(len(data) - 1)])
    assert to_last.comparisons == len(data) - 1
    assert [its.difference.p for its in to_last.groups if its.difference] == pytest.approx(against, rel=1e-7)
    assert to_last.groups[-1].verdict == "baseline"


@given(st.lists(st.lists(any_number, min_size=4, max_size=4), min_size=2, max_size=5), st.booleans())
def test_an_interval_leaves_out_zero_exactly_where_the_difference_is_told(data: list[list[float]], own: bool) -> None:
    found = standings([at_seeds(values, 10 * own * number) for number, values in enumerate(data)], "min")
    for number, its in enumerate(found.groups):
        if number == found.reference:
            continue
        assert its.difference is not None
        assert its.difference.told == (its.verdict in ("better", "worse"))
        p = its.difference.p
        if its.difference.ci95 and p is not None and abs(p - 0.05) > 1e-9:
            low, high = its.difference.ci95
            assert (low > 0 or high < 0) == (p < 0.05)
        if its.difference.told:
            assert its.more_seeds is None


def test_many_groups_are_corrected_for_all_pairs_without_testing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    groups = [at_seeds((random.normal(0, 1, 4) - 10 * (number > 0)).tolist()) for number in range(6)]
    by_holm = standings(groups, "max")
    monkeypatch.setattr("optrun.comparisons.statistics.verdicts.MOST_PAIRS", 14)
    by_bonferroni = standings(groups, "max")
    assert by_holm.comparisons == by_bonferroni.comparisons == 15
    for one, other in zip(by_holm.groups[1:], by_bonferroni.groups[1:]):
        assert one.difference is not None
        assert other.difference is not None
        assert other.difference.factor == 15
        assert (one.difference.p or 0) <= (other.difference.p or 0)


@given(st.lists(st.lists(any_number, min_size=3, max_size=3), min_size=2, max_size=4), st.integers(-900, 900))
def test_neither_the_unit_nor_the_direction_matters(data: list[list[float]], exponent: int) -> None:
    groups = [at_seeds(values) for values in data]
    scaled = [at_seeds([math.ldexp(value, exponent) for value in values]) for values in data]
    mirrored = [at_seeds([-value for value in values]) for values in data]
    as_they_are = standings(groups, "max")
    assert [its.verdict for its in standings(scaled, "max").groups] == [its.verdict for its in as_they_are.groups]
    turned = standings(mirrored, "min")
    assert turned.order == as_they_are.order
    for one, other in zip(as_they_are.groups, turned.groups):
        assert (one.verdict, one.more_seeds) == (other.verdict, other.more_seeds)
        if one.difference and other.difference:
            assert one.difference.p == other.difference.p
            assert one.difference.mean == pytest.approx(-(other.difference.mean or 0))


@given(st.floats(0, 12), st.integers(2, 60), st.floats(1e-6, 0.05))
def test_power_is_the_noncentral_ts(effect: float, df: int, level: float) -> None:
    critical = stats.t.isf(level / 2, df)
    expected = stats.nct.sf(critical, df, effect) if effect else level / 2
    assert power(effect, df, level) == pytest.approx(expected, rel=1e-6, abs=level / 2 * (1 + 1e-6))
    assert power(0.0, df, level) == pytest.approx(level, rel=1e-6)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(("n", "comparisons"), [(2, 1), (3, 10), (5, 1), (5, 190), (100, 45)])
def test_what_is_detectable_is_detected_four_times_out_of_five(n: int, comparisons: int, paired: bool) -> None:
    size = detectable(n, comparisons, paired=paired)
    effect, df = (size * math.sqrt(n), n - 1) if paired else (size * math.sqrt(n / 2), 2 * n - 2)
    assert power(effect, df, 0.05 / comparisons) == pytest.approx(POWER, abs=1e-6)
    with pytest.raises(ValueError, match="1 seeds have no spread"):
        detectable(1)


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 6), st.booleans(), st.floats(0.01, 2))
def test_more_seeds_are_the_fewest_with_enough_power(seed: int, n: int, own: bool, apart: float) -> None:
    random = np.random.default_rng(seed)
    one, other = random.normal(0, 1, n), random.normal(-apart, 2, n)
    found = standings([at_seeds(one.tolist()), at_seeds(other.tolist(), 10 * own)], "max")
    its = next(group for group in found.groups if group.difference)
    assert its.difference is not None

    def its_power(count: int) -> float:
        if own:
            squared = np.var(one, ddof=1) / count, np.var(other, ddof=1) / count
            df = sum(squared) ** 2 / (sum(part**2 for part in squared) / (count - 1))
            effect = abs(one.mean() - other.mean()) / math.sqrt(sum(squared))
        else:
            df = count - 1
            effect = abs(np.mean(one - other)) / np.std(one - other, ddof=1) * math.sqrt(count)
        return float(stats.nct.sf(stats.t.isf(0.025, df), df, effect))

    if its.difference.told:
        assert its.more_seeds is None
    elif its.more_seeds is None:
        assert its_power(n + MOST_SEEDS) < POWER
    else:
        assert its_power(n + its.more_seeds) >= POWER
        assert its.more_seeds == 1 or its_power(n + its.more_seeds - 1) < POWER


def test_more_seeds_where_nothing_varies() -> None:
    constant = standings([{0: 0.9, 1: 0.9}, {0: 0.8, 1: 0.8}], "max").groups[1]
    assert (constant.verdict, constant.more_seeds) == ("not distinguishable", 1)  # 2 / 4^3 < 0.05
    steps = standings([{0: 0.9, 1: 0.8}, {0: 0.8, 1: 0.7}], "max").groups[1]
    assert (steps.verdict, steps.more_seeds) == ("not distinguishable", 4)  # 1 / 2^5 < 0.05
    same = standings([{0: 0.9, 1: 0.8}, {0: 0.9, 1: 0.8}], "max").groups[1]
    assert same.more_seeds is None
    assert standings([{0: 0.9, 1: 0.8, 2: 0.7}, {0: 0.9, 1: 0.7, 2: None}], "max").groups[1].more_seeds is None


def test_few_seeds_are_said_to_be_few() -> None:
    assert few_seeds([5, 5, 10], 3) == []
    assert few_seeds([], 0) == []
    lone = "one seed only, which tells nothing of the spread over seeds:"
    assert few_seeds([1, 1], 0) == [f"every group has {lone} nothing can be tested"]
    assert few_seeds([1, 1, 5], 1) == [f"2 groups have {lone} they are not tested"]
    assert few_seeds([3, 3], 1) == [
        "every group has only 3 seeds: at that number a difference has to be about 3.1 standard deviations large to be "
        "told 4 times out of 5"
    ]
    assert few_seeds([4, 3, 5, 4], 1) == [
        "3 groups have only 3 to 4 seeds: with 3 a difference has to be about 3.1 standard deviations large to be told "
        "4 times out of 5"
    ]
    assert few_seeds([2, 5, 1], 10, paired=True) == [
        f"1 group has {lone} it is not tested",
        "1 group has only 2 seeds: at that number a difference has to be about 115 standard deviations of the "
        "difference large to be told 4 times out of 5",
    ]


def test_scipys_slow_part_is_not_imported() -> None:
    heavy = "{'torch', 'scipy.stats', 'pandas', 'matplotlib'}"
    code = f"import sys, optrun.comparisons.statistics; print(*{heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""
