"""How fast optrun is, beside what it cannot be without: ratios of CPU time taken by turns, and generous limits.

Only what is clearly slower than it should be fails; what is reached is measured by `python -m benchmarks`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.contest import BARE, OPTRUN, PEERS
from benchmarks.peers.measuring import measure_steps
from benchmarks.peers.workloads import WORKLOADS
from benchmarks.profile_step import PARTS
from benchmarks.profile_step import measure as profile
from benchmarks.start import COMMANDS, measure

ROOT = Path(__file__).parent.parent
TEXTBOOK = next(peer for peer in PEERS if peer.name == "textbook loop")


@pytest.fixture(scope="module")
def steps() -> dict[str, Any]:
    """Raises where the bits are not the bare loop's."""
    return measure_steps(WORKLOADS["digits"], [OPTRUN, BARE, TEXTBOOK], rounds=9)["peers"]


def test_a_step_costs_no_more_than_one_of_the_bare_loop(steps: dict[str, Any]) -> None:
    assert steps["optrun"]["cpu_ratio"]["lower_quartile"] < 1.0


def test_a_step_costs_much_less_than_one_of_the_textbooks_loop(steps: dict[str, Any]) -> None:
    assert steps["optrun"]["cpu_ratio"]["lower_quartile"] < 0.8 * steps["textbook loop"]["cpu_ratio"]["upper_quartile"]


def test_the_textbooks_loop_has_the_same_bits(steps: dict[str, Any]) -> None:
    assert {its["largest_difference"] for its in steps.values()} == {0.0}


@pytest.mark.parametrize(("command", "limit"), [("optrun --help", 2.0), ("optrun train, 1 step", 1.1)])
def test_a_command_starts_about_as_fast_as_what_it_imports(command: str, limit: float) -> None:
    figures = measure(rounds=2, patience=0, names=[COMMANDS[command].beside, command])
    assert figures["commands"][command]["cpu_ratio"]["min"] < limit


def test_the_profile_finds_every_part_of_a_step() -> None:
    config = ROOT / "configs" / "quickstart.yaml"
    parts = profile(config, ["log_every=1", "device=cpu", "threads=1", "clip_norm=0.1"], seconds=3)["parts"]
    shares = {part: its["share"] for part, its in parts.items()}
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares[part] for part in PARTS) >= 0
    assert all(shares[part] > 0.01 for part in ("batch", "clip", "optimizer", "logging"))
    assert shares["forward to backward, replayed"] + shares["forward"] + shares["backward"] > 0.3
