"""`optrun compare` claims as seldom and finds as often as it says: benchmarks/calibration.json in small.

The bounds are exact: with other seeds than these a test that is right would fail once in a million times.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.calibration import KINDS, coverage, false_claims, joint_coverage, planted, theory, welch_power
from benchmarks.calibration_merged import AS_ONE, TRIED_KINDS, merged_claims, merged_planted
from benchmarks.calibration_tables import detectable_differences, markdown

ROOT = Path(__file__).parent.parent


def at_most(share: float, studies: int) -> int:
    return int(stats.binom.isf(1e-6, studies, share))


def at_least(share: float, studies: int) -> int:
    return int(stats.binom.ppf(1e-6, studies, share))


@pytest.mark.parametrize("same_seeds", [False, True])
@pytest.mark.parametrize("k", [2, 5, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_groups_are_seldom_called_different(kind: str, k: int, same_seeds: bool) -> None:
    claimed = false_claims(kind, k, 5, same_seeds, 100, np.random.default_rng(7))
    assert claimed <= at_most(0.05, 100)


@pytest.mark.parametrize("same_seeds", [False, True])
@pytest.mark.parametrize(("k", "n"), [(2, 5), (5, 10)])
def test_a_difference_of_two_deviations_is_found_as_theory_says(k: int, n: int, same_seeds: bool) -> None:
    alone, verdict = planted(k, n, same_seeds, 200, np.random.default_rng(8))
    expected = theory(k, n, same_seeds)
    assert at_least(expected, 200) <= alone <= at_most(expected, 200)
    assert at_least(expected, 200) <= verdict
    assert k > 2 or verdict == alone


@pytest.mark.parametrize("same_seeds", [False, True])
@pytest.mark.parametrize("kind", TRIED_KINDS)
def test_the_best_of_many_equal_settings_is_seldom_called_different(kind: str, same_seeds: bool) -> None:
    """And much too often, if it were tested as the only setting that had been tried."""
    claimed = merged_claims(kind, (30, 1), 10, same_seeds, 100, np.random.default_rng(7))
    assert claimed > 10 if kind == AS_ONE else claimed <= at_most(0.05, 100)


@pytest.mark.parametrize("same_seeds", [False, True])
def test_a_difference_between_the_best_of_many_settings_is_found(same_seeds: bool) -> None:
    told, held = merged_planted((10, 10), 10, same_seeds, 100, np.random.default_rng(8))
    assert told >= at_least(0.5, 100)
    assert held >= at_least(0.95, 100)


def test_welchs_power_without_an_effect_is_its_level() -> None:
    assert welch_power(0.0, 5, 0.05) == pytest.approx(0.05, abs=0.006)


def test_intervals_hold_the_truth_95_times_in_100() -> None:
    random = np.random.default_rng(9)
    assert at_least(0.95, 2000) <= coverage("normal", 5, 2000, random) <= at_most(0.95, 2000)
    for k, apart in [(2, 0.0), (5, 0.0), (5, 100.0)]:
        assert joint_coverage(k, 5, False, apart, 200, random) >= at_least(0.95, 200)


def test_the_documentation_quotes_what_was_measured() -> None:
    figures = json.loads((ROOT / "benchmarks" / "calibration.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    for table in [*markdown(figures), detectable_differences()]:
        assert table in page, "python -m benchmarks calibration --output benchmarks/calibration.json prints the tables"
    prose = " ".join(page.split())
    real = {
        metric: f"{its['correlation_with_half_the_rate']:.2f}" for metric, its in figures["real"]["metrics"].items()
    }
    assert f"{real['val/accuracy']} for val/accuracy and {real['val/loss']} for val/loss over 200 seeds" in prose
    assert f"makes {figures['studies']:,} studies" in prose


def test_no_figure_contradicts_what_the_documentation_says_of_it() -> None:
    """At most 5 % of false claims, but for collapsing runs; power as in theory; intervals that cover at 95 %."""
    figures = json.loads((ROOT / "benchmarks" / "calibration.json").read_text(encoding="utf-8"))
    studies = figures["studies"]
    for found in figures["false_claims"]:
        if found["kind"] != "collapsing":
            assert found["share"] * studies <= at_most(0.05, studies), found
    for found in figures["merged"]["false_claims"]:
        if found["kind"] != AS_ONE:
            assert found["share"] * studies <= at_most(0.05, studies), found
    for found in figures["merged"]["planted"]:
        assert found["held"] * studies >= at_least(0.95, studies), found
    for found in figures["power"]:
        assert at_least(found["theory"], studies) <= found["alone"] * studies <= at_most(found["theory"], studies), (
            found
        )
    for found in figures["coverage"]:
        if found["kind"] == "normal":
            assert at_least(0.95, 10 * studies) <= found["share"] * 10 * studies <= at_most(0.95, 10 * studies), found
    for found in figures["joint_coverage"]:
        assert found["share"] * studies >= at_least(0.95, studies), found
    for metric, its in figures["real"]["metrics"].items():
        for k, share in its["false_claims"].items():
            assert share * studies <= at_most(0.05, studies), (metric, k)
