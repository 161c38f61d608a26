"""What is said of groups that are no plain five seeds with values: verdicts, counts and words."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from comparing import write_run

import optrun
from optrun.cli.app import run
from optrun.comparisons.answers import as_json
from optrun.comparisons.wording import alike


def test_one_lucky_run_does_not_lead_a_study(tmp_path: Path) -> None:
    for rate, level in [(0.1, 0.9), (0.3, 0.5)]:
        for seed in range(5):
            config = {"optimizer.lr": rate}
            write_run(tmp_path / f"r-{rate}-{seed}", [level * (1 + seed / 1000)], seed=seed, config=config)
    write_run(tmp_path / "lucky", [0.99], config={"optimizer.lr": 0.2})
    found = optrun.compare(tmp_path)
    assert [each.verdict for each in found.groups] == ["not tested", "leader", "worse"]
    assert found.conclusion == "lr 0.1 leads; of the 2 other groups 1 is worse and 1 is not tested"
    assert any("1 group has one seed only" in note and note.endswith("it is not tested") for note in found.notes)
    assert [each.verdict for each in optrun.compare(tmp_path, top=1).groups] == ["not tested", "leader"]
    merged = optrun.compare(tmp_path, group_by="optimizer")
    assert [(each.group.outcomes[0].settings["optimizer.lr"], each.n) for each in merged.groups] == [(0.1, 5)]


def test_a_target_that_was_never_reached_is_no_divergence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rate, steps in [(0.1, [10, 20, 30]), (0.2, [10, 20, None]), (0.3, [None, None, None])]:
        for seed, step in enumerate(steps):
            target = {"reached": step is not None, "step": step, "time": step and step / 10}
            config = {"optimizer.lr": rate}
            write_run(tmp_path / f"r-{rate}-{seed}", [0.5], seed=seed, config=config, summary={"target": target})
    found = optrun.compare(tmp_path, metric="target.step")
    assert [(each.n, each.diverged, each.unreached) for each in found.groups] == [(3, 0, 0), (2, 0, 1), (0, 0, 3)]
    assert (
        "2 groups have runs that never reached the target, which count as the worst and are in no mean" in found.notes
    )
    assert not any("diverged" in note for note in found.notes)
    assert run(["compare", str(tmp_path), "--metric", "target.step", "--format", "markdown"]) == 0
    out = capsys.readouterr().out
    assert "diverged" not in out
    assert "3 never reached it" in out
    assert "| – | never | never | never | 0 |" in re.sub(r"\| +\|", "| – |", out)
    never = optrun.compare(tmp_path, metric="target.time", where={"lr": 0.3})
    assert never.conclusion == "no run reached the target"


def test_a_setting_that_diverged_at_every_seed_is_worse_where_less_is_better(tmp_path: Path) -> None:
    for seed in range(5):
        write_run(tmp_path / f"a-{seed}", [0.5 + seed / 100], seed=seed, metric="val/loss", mode="min")
        lost = {"optimizer.lr": 1e30}
        write_run(tmp_path / f"b-{seed}", [math.nan], seed=seed, status="diverged", metric="val/loss", config=lost)
    found = optrun.compare(tmp_path, metric="val/loss")
    assert [each.verdict for each in found.groups] == ["leader", "worse"]
    assert found.conclusion == "lr 0.1 leads; the other group is worse"
    assert optrun.compare(tmp_path, metric="val/loss", baseline={"lr": 0.1}).groups[1].verdict == "worse"


def test_a_setting_that_was_pruned_was_tried_too(tmp_path: Path) -> None:
    """Else the best of k would be what the survivor reached, as if the first setting had found it."""
    for number in range(9):
        status = "completed" if number == 4 else "pruned"
        write_run(tmp_path / f"r-{number}", [0.9], status=status, config={"optimizer.lr": 0.1 * 2**number})
    [*fewer, every] = as_json(optrun.compare(tmp_path))["best_of_k"]["SGD"]
    assert [each["k"] for each in fewer] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [each["mean"] for each in fewer] == [None] * 8
    assert (every["k"], every["mean"]) == (9, 0.9)


def test_the_document_has_a_verdict_for_every_group_and_whole_numbers_of_parameters(tmp_path: Path) -> None:
    for seed in range(4):
        write_run(tmp_path / f"r-{seed}", [0.5 + seed / 100], seed=seed, summary={"parameters": 17226})
    write_run(tmp_path / "f-0", [], status="failed", config={"optimizer.lr": 0.3})
    groups = as_json(optrun.compare(tmp_path))["groups"]
    assert [group["verdict"] for group in groups] == ["leader", "no result"]
    assert json.dumps([group["parameters"] for group in groups]) == "[17226, null]"


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ((0.9711, 0.0043), "0.9711 0.0043"),
        ((0.98760, 0.00002), "0.98760 0.00002"),
        ((50560.0, 2634.4676), "50,560 2,634"),
        ((6933.1169, 2.136e5), "6,933 213,600"),
        ((-0.0245, -0.00004), "−0.02450 −0.00004"),
        ((153.3, 20.2), "153.30 20.20"),
        ((2.5e-5, -1.3e-6), "2.500e-5 −0.130e-5"),
        ((3e12,), "3.000e12"),
        ((0.5, -1e-17), "0.5000 0.0000"),
        ((0.0,), "0.0000"),
        ((1.0,), "1.0000"),
        ((69.0,), "69"),
        ((4600.0, -20.0), "4,600 −20"),
    ],
)
def test_the_numbers_of_a_cell_are_written_alike(values: tuple[float, ...], written: str) -> None:
    assert " ".join(alike(*values)) == written


@pytest.mark.parametrize(
    ("metric", "at", "heading"),
    [
        ("val/accuracy", "best", "val/accuracy of 1 group, 1 run: best evaluation, more is better; mean ± deviation"),
        ("val/accuracy", "last", "val/accuracy of 1 group, 1 run: last evaluation, more is better; mean ± deviation"),
        (
            "test/accuracy",
            "best",
            "test/accuracy of 1 group, 1 run: evaluation at the end, more is better; mean ± deviation",
        ),
        ("train/loss", "best", "train/loss of 1 group, 1 run: best row, less is better; mean ± deviation"),
        ("train_time", "best", "train_time of 1 group, 1 run: less is better; mean ± deviation"),
    ],
)
def test_the_heading_says_which_value_of_a_run_is_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], metric: str, at: str, heading: str
) -> None:
    path = write_run(tmp_path / "r-0", [0.5], summary={"final": {"val/accuracy": 0.5, "test/accuracy": 0.4}})
    rows = (path / "metrics.jsonl").read_text()
    (path / "metrics.jsonl").write_text(rows.replace('"val/accuracy"', '"train/loss": 0.3, "val/accuracy"'))
    assert run(["compare", str(tmp_path), "--metric", metric, "--at", at]) == 0
    assert " ".join(capsys.readouterr().out.split()).startswith(heading)
