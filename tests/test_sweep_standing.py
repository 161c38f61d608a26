"""What is due, running and done, what is shown of it, and how much that costs."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeping import BASE, write_sweep

import optrun
from optrun.cli.app import run as command
from optrun.config.sweep import Objective, load_sweep
from optrun.sweeps.driver import Sweep
from optrun.sweeps.executors.inline import Inline
from optrun.sweeps.ledger import Trial
from optrun.sweeps.pace import Pace
from optrun.sweeps.standing import Standing
from optrun.sweeps.tasks import Ended, Progressed, Report

OWN = """\
import optrun, pathlib, torch
@optrun.models.register
def own(data, *, fails: bool = False, unlucky: int = -1):
    fails |= torch.initial_seed() == unlucky
    if fails and pathlib.Path({folder!r}, "unbuildable").exists():
        raise RuntimeError("never")
    class Own(torch.nn.Linear):
        def forward(self, x):
            if fails and self.training and pathlib.Path({folder!r}, "broken").exists():
                raise RuntimeError("not yet")
            return super().forward(x.flatten(1))
    return Own(64, 10)
"""
LR = {"optimizer.lr": [0.001, 0.01, 0.03, 0.1, 0.3, 1.0]}
HALVING: dict[str, Any] = {"grid": LR, "prune": {"min_epochs": 1, "eta": 2}}
LONG = {**BASE, "epochs": 4}


def shown(capsys: pytest.CaptureFixture[str], path: Path, *more: str, code: int = 0) -> str:
    """What `optrun sweep` says on stderr."""
    capsys.readouterr()
    arguments = ["sweep", str(path), "--executor", "inline", "--runs-dir", str(path.parent / "runs"), *more]
    assert command(arguments) == code
    return capsys.readouterr().err


def counters(said: str) -> list[tuple[int, int]]:
    """(3, 8) of every `[3/8]`."""
    return [(int(done), int(all_)) for done, all_ in re.findall(r"^\[ *(\d+)/(\d+)\]", said, re.MULTILINE)]


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    """A component that fails (with one seed, if `unlucky`) while there is a file `broken`, and cannot be built while
    there is one `unbuildable`."""
    parts = tmp_path / "parts.py"
    parts.write_text(OWN.format(folder=str(tmp_path)))
    (tmp_path / "broken").touch()
    return parts


# What is due ----------------------------------------------------------------------------------------------------------


def test_after_a_halving_nothing_is_due_and_without_it_the_pruned_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(tmp_path, LONG, **HALVING)
    assert "6 trials, 6 to be run" in shown(capsys, path, "--dry-run")
    assert counters(shown(capsys, path))[-1] == (6, 6)
    assert "6 trials, 0 to be run" in shown(capsys, path, "--dry-run")
    assert counters(shown(capsys, path)) == []
    pruned = sum(line.split()[1] == "pruned" for line in dry_run(capsys, path))
    assert pruned > 1
    assert f"6 trials, {pruned} to be run" in shown(capsys, path, "--dry-run", "prune=null")
    assert counters(shown(capsys, path, "prune=null")) == [(6 - pruned + n, 6) for n in range(1, pruned + 1)]


def dry_run(capsys: pytest.CaptureFixture[str], path: Path) -> list[str]:
    assert command(["sweep", str(path), "--dry-run", "--runs-dir", str(path.parent / "runs")]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_half_done_halving_says_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown(capsys, write_sweep(tmp_path, LONG, **{**HALVING, "grid": {"optimizer.lr": [0.01, 0.1]}}))
    path = write_sweep(tmp_path, LONG, **HALVING)
    assert "6 trials, 5 to be run" in shown(capsys, path, "--dry-run")  # the one that was pruned may win now
    (first, *_, last) = counters(shown(capsys, path))
    assert first[0] >= 2
    assert last == (6, 6)


def test_what_has_failed_and_is_tried_again_is_not_done(
    failing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(tmp_path, {**BASE, "model": "own"}, grid={"model.fails": [False, True]}, seeds=3)
    options = ["--import", str(failing)]
    assert counters(shown(capsys, path, *options, code=4)) == [(n, 6) for n in range(1, 7)]
    (tmp_path / "broken").unlink()
    assert counters(shown(capsys, path, *options, "--retry-failed")) == [(4, 6), (5, 6), (6, 6)]


@pytest.mark.parametrize(("cause", "reason"), [("broken", "not yet"), ("unbuildable", "never")])
@pytest.mark.parametrize("prune", [None, {"min_epochs": 1, "eta": 2}])
def test_a_failed_trial_is_tried_again_once_in_a_call(
    prune: Any, cause: str, reason: str, failing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not at every rung that its point survives, whether it gets somewhere before it fails or not."""
    base = {**BASE, "model": {"name": "own", "unlucky": 1}, "epochs": 5}
    path = write_sweep(tmp_path, base, grid={"optimizer.lr": [0.1, 0.2]}, seeds=2, prune=prune)
    assert shown(capsys, path, "--import", str(failing), code=4).count("failed: ") == 2
    (tmp_path / "broken").unlink()
    (tmp_path / cause).touch()
    assert shown(capsys, path, "--import", str(failing), code=4).count("failed: ") == 0
    said = shown(capsys, path, "--import", str(failing), "--retry-failed", code=4)
    assert said.count("failed: ") == len(re.findall(rf"failed: .*{reason}", said)) == 2


# What is shown --------------------------------------------------------------------------------------------------------


def test_the_best_so_far_is_that_of_all_calls(tmp_path: Path) -> None:
    whole = optrun.sweep(write_sweep(tmp_path, BASE, grid=LR), executor="inline", runs_dir=tmp_path / "runs")
    best = max(whole.trials, key=lambda trial: trial.run.summary["best"]["value"])
    path = write_sweep(tmp_path, BASE, grid={"optimizer.lr": [*LR["optimizer.lr"], 1e-6]})
    with Sweep(load_sweep(path), tmp_path / "runs") as sweep, Inline() as executor:
        pace = Pace(sweep)
        for event in sweep.events(executor):
            if isinstance(event, tuple):
                pace.heard(*event)
                assert pace.best is not None
                assert pace.best[1].directory == best.directory
                assert pace.best[0] == best.run.summary["best"]["value"]
    assert (pace.done, pace.share) == (7, 1.0)


def test_quiet_shows_each_failure_when_it_happens(
    failing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(tmp_path, {**BASE, "model": "own"}, grid={"model.fails": [False, True]}, seeds=3)
    said = shown(capsys, path, "--import", str(failing), "--quiet", code=4).splitlines()
    assert [line.partition("  ")[2] for line in said[:-1]] == ["failed: RuntimeError: not yet"] * 3
    assert [line.rpartition("seed ")[2][0] for line in said[:-1]] == ["0", "1", "2"]
    assert said[-1].startswith("3 of 6 trials failed")


# How the books are kept -----------------------------------------------------------------------------------------------

STATUSES = ["planned", "interrupted", "completed", "failed", "diverged", "pruned"]
REPORTS: list[Report] = [
    Progressed(1, 4, 0),
    Progressed(3, 4, 1),
    *map(Ended, ["paused", "completed", "failed", "diverged", "pruned", "interrupted"]),
]
CHANGES = st.sampled_from([*REPORTS, "lost", "given up"])


def standing(statuses: list[str], retry_failed: bool = False) -> Standing:
    found = Standing(Objective("val/loss", "min"), retry_failed=retry_failed)
    point: Any = None
    found.add(Trial(point, point, Path(str(number)), status) for number, status in enumerate(statuses))
    return found


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(STATUSES), min_size=1, max_size=6),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 5), CHANGES), max_size=30),
)
def test_the_books_are_right_after_any_reports(
    statuses: list[str], retry: bool, changes: list[tuple[int, Report | str]]
) -> None:
    kept = standing(statuses, retry)
    for number, change in changes:
        trial = kept.trials[number % len(kept.trials)]
        if change == "lost":
            kept.lost(trial)
        elif change == "given up":
            kept.give_up(trial)
        elif not isinstance(change, str):
            kept.heard(trial, change)
        assert kept.counts == dict(Counter(trial.status for trial in kept.trials))
        assert kept.done == sum(not kept.is_due(trial) for trial in kept.trials)
        assert set(kept.running) == {trial for trial in kept.trials if trial.status == "running"}


def planned(folder: Path, trials: int) -> Sweep:
    """A sweep of which nothing is done, as it is when its first trial begins."""
    spec = load_sweep(write_sweep(folder, BASE, grid={"optimizer.lr": [n / 10**5 for n in range(1, trials + 1)]}))
    sweep = Sweep(spec, folder / "runs")
    sweep.standing.add(sweep.plan())
    return sweep


def calls_of_asking(sweep: Sweep) -> int:
    """How many functions and generators are entered for one trial that ends, and for all that is shown of it."""
    kept, pace = sweep.standing, Pace(sweep)
    entered = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal entered
        entered += event == "call"

    sys.setprofile(count)
    try:
        for report in (Progressed(1, 2, 0), Ended("failed")):
            kept.heard(kept.trials[0], report)
            pace.heard(kept.trials[0], report)
            assert pace.share <= 1
        assert (pace.done, kept.counts["failed"], len(kept.running)) == (1, 1, 0)
    finally:
        sys.setprofile(None)
    return entered


def test_a_trial_costs_the_same_however_many_there_are(tmp_path: Path) -> None:
    assert calls_of_asking(planned(tmp_path, 500)) == calls_of_asking(planned(tmp_path, 2))


@settings(deadline=None, max_examples=50)
@given(reports=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(REPORTS)), max_size=40))
def test_the_share_is_what_is_done_and_parts_of_the_rest(
    tmp_path_factory: pytest.TempPathFactory, reports: list[tuple[int, Report]]
) -> None:
    sweep = planned(tmp_path_factory.mktemp("share"), 4)
    pace, parts = Pace(sweep), dict[Trial, float]()
    for number, report in reports:
        trial = sweep.trials[number]
        sweep.standing.heard(trial, report)
        pace.heard(trial, report)
        if isinstance(report, Progressed):
            parts[trial] = report.step / report.total_steps
        elif report != Ended("paused"):
            parts.pop(trial, None)
        assert math.isclose(pace.share, min((pace.done + sum(parts.values())) / 4, 1.0), abs_tol=1e-9)
