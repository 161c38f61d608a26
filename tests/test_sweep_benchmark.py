"""What the sweep benchmark has others train is what optrun trains. How fast anybody is is not tested."""

from __future__ import annotations

from pathlib import Path

import pytest

import optrun
from benchmarks.rivals.trial import RATES, rates, train
from benchmarks.sweep_overhead import FEW, TOOLS, write_data

ROOT = Path(__file__).parent.parent


def test_a_rival_trains_the_very_same_trial(tmp_path: Path) -> None:
    write_data(tmp_path / "data.pt")
    for rate in rates(3):
        ours = optrun.train(tmp_path / "digits.yaml", {"optimizer.lr": rate, "threads": 1}, runs_dir=tmp_path)
        assert ours.summary["steps"] == 10
        assert train(str(tmp_path), rate) == pytest.approx(ours.summary["final"]["val/loss"], abs=1e-6)


def test_no_learning_rate_is_there_twice() -> None:
    assert len(set(rates(RATES))) == RATES
    assert all(0.01 <= rate < 0.3 for rate in rates(RATES))
    assert rates(200)[:FEW] == rates(FEW)


def test_every_rival_is_measured() -> None:
    programs = {path.stem for path in (ROOT / "benchmarks" / "rivals").glob("*.py")} - {"__init__", "trial"}
    assert {tool.module for tool in TOOLS if tool.module} == programs
