"""Every test runs on one CPU thread: bits differ between thread counts, and test processes share the cores."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from optrun.components.registry import KINDS

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, here and in every process a test starts


@pytest.fixture(autouse=True)
def _forget_what_a_test_registers() -> Iterator[None]:
    """A component that one test registers is not there for the next, in whatever order they run."""
    before = {registry: dict(registry._registered) for registry in KINDS.values()}
    yield
    for registry, registered in before.items():
        registry._registered = registered
