"""Every test runs on one CPU thread: bits differ between thread counts, and test processes share the cores."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from optrun.components.registry import KINDS

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, here and in every process a test starts
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell has it ignored by what it starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _record_whatever_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests are short, and would hardly ever replay a tape if it had to pay."""
    monkeypatch.setattr("optrun.training.passes.WORTH", 0)
    monkeypatch.setattr("optrun.fused.stack.WORTH", 0)


@pytest.fixture(autouse=True)
def _forget_what_a_test_registers() -> Iterator[None]:
    """A component that one test registers is not there for the next, in whatever order they run."""
    before = {registry: dict(registry._registered) for registry in KINDS.values()}
    yield
    for registry, registered in before.items():
        registry._registered = registered
