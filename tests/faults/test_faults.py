"""A part of every fault. `python tests/faults` tries as many as are wanted, and prints a table."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_mutations import is_yaml, mutant

from faults.catalog import FAULTS, Fault
from faults.texts import hostile_configs

pytestmark = pytest.mark.filterwarnings("always::UserWarning")  # as the command shows them

TOGETHER = {1: 5, 2: 2, 3: 5, 4: 2, 5: 26, 7: 4, 10: 100}
"""Trials of a row in one test: a process that runs tests has its references to make first."""


def parts() -> list[tuple[Fault, range]]:
    found = []
    for fault in FAULTS:
        size = TOGETHER.get(fault.row, 1)
        found += [(fault, range(start, min(start + size, fault.few))) for start in range(0, fault.few, size)]
    return found


@pytest.mark.parametrize(
    ("fault", "numbers"), parts(), ids=lambda each: f"{each.row}" if isinstance(each, Fault) else f"{each.start}"
)
def test_fault(fault: Fault, numbers: range, tmp_path: Path) -> None:
    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            fault.trial(number, folder)
        except BaseException as error:
            error.add_note(f"{fault.title}, number {number}: python tests/faults --row {fault.row} --only {number}")
            raise


def test_every_row_has_its_place() -> None:
    assert [fault.row for fault in FAULTS] == list(range(1, 15))
    assert len(list(hostile_configs(Path("x")))) >= 120


def test_enough_mutants_are_yaml_and_enough_are_valid() -> None:
    mutants = [mutant(100_000 + number) for number in range(1000)]
    assert sum(each.valid for each in mutants) >= 50
    assert sum(is_yaml(each.config) for each in mutants if not each.valid) >= 300
