"""The benchmark's two sides do the same work. How fast they are is not tested."""

from __future__ import annotations

from benchmarks.step_cost import TURN, measure


def test_optrun_and_the_bare_loop_end_with_the_same_bits() -> None:
    figures = measure(pairs=2)  # raises where a bit differs
    assert figures["same_bits_after"] == 3 * TURN * 23
    assert len(figures["ratios"]) == 2
