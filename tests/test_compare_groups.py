"""Which runs a comparison takes, how it groups them, and what it says of those it cannot read."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from comparing import METRIC, write_run

import optrun
from optrun.cli.app import run
from optrun.errors import NotARun, UsageError


def labels(found: optrun.comparisons.Comparison) -> dict[str, int]:  # type: ignore[name-defined]
    return {each.group.label: len(each.group.outcomes) for each in found.groups}


def test_runs_that_differ_in_the_seed_alone_are_a_group(tmp_path: Path) -> None:
    beside_the_point = [
        {"notes": "first"},
        {"tags": ["a", "b"]},
        {"device": "cpu"},
        {"log_every": 3},
        {"checkpoint_every": 7},
        {"keep_checkpoints": "none"},
        {"threads": 2},
    ]
    for seed, config in enumerate(beside_the_point):
        write_run(tmp_path / f"name{seed}-x", [0.5 + seed / 100], seed=seed, config=config)
    found = optrun.compare(tmp_path)
    assert len(found.groups) == 1
    assert len(found.groups[0].values) == 7


@pytest.mark.parametrize(
    "config", [{"optimizer.momentum": 0}, {"optimizer.nesterov": False}, {"optimizer.lr": 0.1}, {"model.dropout": 0.0}]
)
def test_a_default_that_is_written_out_makes_no_group(tmp_path: Path, config: dict[str, object]) -> None:
    write_run(tmp_path / "r-0", [0.5], seed=0)
    write_run(tmp_path / "r-1", [0.6], seed=1, config=config)
    assert len(optrun.compare(tmp_path).groups) == 1


def test_columns_are_what_differs(tmp_path: Path) -> None:
    for i, (rate, clip) in enumerate([(0.1, None), (0.1, 1.0), (0.3, None)]):
        write_run(tmp_path / f"r-{i}", [0.5], config={"optimizer.lr": rate, "clip_norm": clip})
    found = optrun.compare(tmp_path)
    assert {tuple(each.group.settings) for each in found.groups} == {("optimizer.lr", "clip_norm")}
    assert labels(found) == {"lr 0.1, clip_norm none": 1, "lr 0.1, clip_norm 1": 1, "lr 0.3, clip_norm none": 1}


def test_group_by_takes_the_best_setting_of_each_and_says_of_how_many(tmp_path: Path) -> None:
    for name, rate, level in [("SGD", 0.1, 0.7), ("SGD", 0.3, 0.9), ("Adam", 0.1, 0.8), ("Adam", 0.3, 0.6)]:
        for seed in range(3):
            config = {"optimizer": {"name": name, "lr": rate}}
            write_run(tmp_path / f"{name}-{rate}-{seed}", [level + seed / 100], seed=seed, config=config)
    found = optrun.compare(tmp_path, group_by="optimizer")
    assert [(each.group.label, each.group.chosen_from) for each in found.groups] == [("SGD", 2), ("Adam", 2)]
    assert [each.group.settings["optimizer.lr"] for each in found.groups] == [0.3, 0.1]
    assert any("chosen by val/accuracy on the same runs" in note for note in found.notes)
    assert len(found.points) == 4
    both = optrun.compare(tmp_path, group_by=["optimizer", "lr"])
    assert [each.group.chosen_from for each in both.groups] == [1] * 4
    by_seedless_key = optrun.compare(tmp_path, group_by="optimizer.lr")
    assert {each.group.label for each in by_seedless_key.groups} == {"lr 0.1", "lr 0.3"}


def test_the_best_setting_is_chosen_by_what_the_runs_were_tuned_on(tmp_path: Path) -> None:
    """Judged by the test part afterwards, it stays the one that validation chose."""
    for rate, validation, tested in [(0.1, 0.9, 0.5), (0.3, 0.8, 0.7)]:
        final = {METRIC: validation, "test/accuracy": tested}
        write_run(tmp_path / f"r-{rate}", [validation], config={"optimizer.lr": rate}, summary={"final": final})
    found = optrun.compare(tmp_path, group_by="optimizer", metric="test/accuracy")
    assert [each.mean for each in found.groups] == [0.5]


def test_runs_sweeps_and_globs_may_be_mixed_and_none_counts_twice(tmp_path: Path) -> None:
    alone = write_run(tmp_path / "alone-0", [0.1], config={"optimizer.lr": 1.0})
    for i in range(3):
        write_run(tmp_path / "sweep" / f"t-{i}", [0.2], seed=i)
        write_run(tmp_path / "other" / f"u-{i}", [0.3], seed=i, config={"optimizer.lr": 0.5})
    found = optrun.compare([alone, tmp_path / "sweep", str(tmp_path / "o*" / "u-[01]"), tmp_path / "sweep" / "t-1"])
    assert sorted(len(each.values) for each in found.groups) == [1, 2, 3]


def test_of_two_runs_with_one_seed_the_one_that_ended_counts_then_the_newer(tmp_path: Path) -> None:
    """The newer is the one that was started later, whatever it is called."""
    for name, value, started in [("b", 0.1, "2026-01-01T00:00:00+02:00"), ("a", 0.2, "2025-12-31T23:00:00+00:00")]:
        path = write_run(tmp_path / f"{name}-20260101-000000-aaaa", [value])
        (path / "environment.json").write_text(json.dumps({"started": started}))
    write_run(tmp_path / "c-20260103-000000-aaaa", [0.3], status="interrupted")
    found = optrun.compare(tmp_path)
    assert found.groups[0].values == (0.2,)
    newer = tmp_path / "a-20260101-000000-aaaa"
    assert [each.reason for each in found.skipped if "repeats" in each.reason] == [
        f"it repeats the configuration and seed of another run ({newer})"
    ] * 2


@pytest.mark.parametrize("status", ["pruned", "interrupted", "running"])
def test_what_has_no_end_is_in_no_figure_and_is_named(tmp_path: Path, status: str) -> None:
    write_run(tmp_path / "r-0", [0.5], seed=0)
    left = write_run(tmp_path / "r-1", [0.9], seed=1, status=status)
    found = optrun.compare(tmp_path)
    assert found.groups[0].values == (0.5,)
    [skipped] = found.skipped
    assert skipped.path == left
    said = "interrupted" if status == "running" else status  # no process holds its lock: it is dead
    assert said in skipped.reason


def test_a_failed_run_is_counted_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "r-0", [0.5], seed=0)
    write_run(tmp_path / "r-1", [], seed=1, status="failed", summary={"error": "RuntimeError: no"})
    found = optrun.compare(tmp_path)
    assert (found.groups[0].n, found.groups[0].failed) == (1, 1)
    assert run(["compare", str(tmp_path)]) == 0
    assert "1 failed" in capsys.readouterr().out


def test_a_diverged_run_counts_as_the_worst_and_is_flagged(tmp_path: Path) -> None:
    for seed in range(4):
        write_run(tmp_path / f"a-{seed}", [0.5 + seed / 100], seed=seed)
        status = "diverged" if seed == 3 else "completed"
        write_run(tmp_path / f"b-{seed}", [0.9 + seed / 100], seed=seed, status=status, config={"optimizer.lr": 0.5})
    found = optrun.compare(tmp_path)
    assert [(each.group.settings["optimizer.lr"], each.diverged) for each in found.groups] == [(0.1, 0), (0.5, 1)]
    assert found.groups[1].worst is None
    assert found.groups[1].values[3] is None
    assert any("diverged runs" in note for note in found.notes)


def test_metrics_of_different_runs_must_be_told_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "r-0", [0.5])
    write_run(tmp_path / "r-1", [0.5], metric="val/loss", mode="min", config={"optimizer.lr": 0.5})
    with pytest.raises(UsageError, match=r"judged by different metrics .* choose one with --metric"):
        optrun.compare(tmp_path)
    found = optrun.compare(tmp_path, metric="val/loss")
    assert (found.mode, len(found.groups)) == ("min", 1)
    assert [each.reason for each in found.skipped] == ["it has no val/loss"]


def test_figures_of_the_summary_can_be_compared(tmp_path: Path) -> None:
    for i in range(3):
        write_run(tmp_path / f"r-{i}", [0.5], seed=i, summary={"train_time": 1.0 + i})
    found = optrun.compare(tmp_path, metric="train_time")
    assert found.mode == "min"
    assert found.groups[0].values == (1.0, 2.0, 3.0)


def test_without_runs_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotARun, match="no runs to compare"):
        optrun.compare(runs_dir=tmp_path)


@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "metrics.jsonl"])
def test_a_file_cut_anywhere_never_stops_a_comparison(tmp_path: Path, name: str) -> None:
    """Its run is as it was, or named in one line; the others are compared as before."""
    for i in range(3):
        write_run(tmp_path / f"r-{i}", [0.5, math.nan, 0.6 + i / 100], seed=i)
    victim = tmp_path / "r-1" / name
    whole = victim.read_bytes()
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        victim.write_bytes(whole[:length])
        found = optrun.compare(tmp_path, metric="val/accuracy")
        paths = [outcome.path.name for each in found.groups for outcome in each.group.outcomes if outcome.counts]
        assert {"r-0", "r-2"} <= set(paths)
        for each in found.skipped:
            assert each.path.name == "r-1"
            assert each.reason
            assert "\n" not in each.reason


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, b"\xff\xfe{", b"[1, 2]", b"null", b'{"best": 3, "final": []}', b'{"a": ' * 5000, b"9" * 5000],
)
@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "metrics.jsonl", "environment.json"])
def test_garbage_is_skipped_in_one_line(
    tmp_path: Path, name: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "r-0", [0.5], seed=0)
    write_run(tmp_path / "r-1", [0.6], seed=1)
    (tmp_path / "r-1" / name).write_bytes(content)
    assert run(["compare", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["groups"][0]["n"] + len(document["skipped"]) >= 1
    assert "Traceback" not in err
    assert run(["compare", str(tmp_path), "--html", str(tmp_path / "page.html")]) == 0
    assert len(capsys.readouterr().err.splitlines()) <= 2


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    write_run(tmp_path / "r-0", [0.5], seed=0)
    path = write_run(tmp_path / "r-1", [0.6], seed=1) / "summary.json"
    path.unlink()
    os.mkfifo(path)  # opening it would wait for ever
    found = optrun.compare(tmp_path)
    assert found.groups[0].n == 1
    assert [each.path.name for each in found.skipped] == ["r-1"]


@pytest.mark.parametrize(("key", "named"), [("name", "name"), ("tags", "tags"), ("device", "device")])
def test_runs_of_one_config_may_be_grouped_by_what_else_is_said_of_them(tmp_path: Path, key: str, named: str) -> None:
    values = {"name": ["before", "after"], "tags": [["before"], ["after"]], "device": ["cpu", "auto"]}[key]
    for number, value in enumerate(values):
        for seed in range(3):
            write_run(tmp_path / f"{number}-{seed}", [0.5 + number / 10 + seed / 100], seed=seed, config={key: value})
    found = optrun.compare(tmp_path, group_by=named)
    assert [each.n for each in found.groups] == [3, 3]
    assert [each.group.settings[key] for each in found.groups] == values[::-1]
    assert found.skipped == ()


def environment(path: Path, code: str | None = None, data: str | None = "d") -> None:
    imports = [] if code is None else [{"path": "/home/me/imp.py", "sha256": code}]
    (path / "environment.json").write_text(json.dumps({"imports": imports, "data_fingerprint": data}))


def test_runs_of_other_code_or_other_data_are_no_seeds_of_one_setting(tmp_path: Path) -> None:
    for seed in range(6):
        environment(write_run(tmp_path / f"r-{seed}", [0.5 + seed / 100], seed=seed), code="a" if seed < 3 else "b")
    [note] = [each for each in optrun.compare(tmp_path).notes if "imp.py" in each]
    assert note == "in 1 group (r) not only the seed differs: the runs were made with different imp.py"
    for seed in range(6):
        environment(tmp_path / f"r-{seed}", data="d" if seed else "e")
    found = optrun.compare(tmp_path)
    assert found.notes == ("in 1 group (r) not only the seed differs: the runs were made on different data",)
    assert found.groups[0].n == 6


def test_groups_on_other_data_sets_are_said_to_be(tmp_path: Path) -> None:
    for name in ("digits", "wine"):
        write_run(tmp_path / name, [0.5], config={"dataset": {"name": name, "batch_size": 64}})
    [note] = [each for each in optrun.compare(tmp_path).notes if "data sets" in each]
    assert note == (
        "the runs are on 2 data sets (digits, wine), which are not equally hard: a difference may be the data's; "
        "--where dataset=digits keeps one"
    )
    assert not any("data sets" in each for each in optrun.compare(tmp_path, where={"dataset": "digits"}).notes)


def test_times_that_are_common_to_several_runs_are_said_to_be(tmp_path: Path) -> None:
    for seed in range(4):
        engine = "fused" if seed < 3 else "loop"
        write_run(tmp_path / f"r-{seed}", [0.5 + seed / 100], seed=seed, summary={"engine": engine})
    common = "trained as one with others (fused), and times are common to these: they tell nothing of one setting"
    assert any(f"3 of 4 runs were {common}" in note for note in optrun.compare(tmp_path).notes)
    fused = {"where": {"seed": 0}}
    assert not any(common in note for note in optrun.compare(tmp_path, **fused).notes)
    assert any(
        f"1 of 1 run was {common}" in note for note in optrun.compare(tmp_path, metric="train_time", **fused).notes
    )


def test_groups_of_other_code_are_said_to_be(tmp_path: Path) -> None:
    for seed in range(6):
        path = write_run(tmp_path / f"r-{seed}", [0.5 + seed / 100], seed=seed, config={"optimizer.lr": 1 + seed // 3})
        environment(path, code="ab"[seed // 3])
    notes = optrun.compare(tmp_path).notes
    assert "not all groups were made with the same imp.py: a difference may be the code's" in notes
    for path in tmp_path.iterdir():
        environment(path, code="a")
    assert not any("imp.py" in each for each in optrun.compare(tmp_path).notes)
