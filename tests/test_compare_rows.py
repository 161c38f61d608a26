"""The rows of runs: read fast, as the reader of run directories reads them, or named where they are not whole."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from comparing import METRIC, write_run
from hypothesis import given
from hypothesis import strategies as st

import optrun
from optrun.cli.app import run
from optrun.comparisons.answers import as_json
from optrun.comparisons.history import History
from optrun.errors import UsageError
from optrun.runs import files, reader
from optrun.runs.record import strict_json

NUMBERS = st.one_of(st.floats(), st.integers(-5, 10**30), st.floats(1e-300, 1e-3))
ROWS = st.lists(
    st.dictionaries(
        st.sampled_from(["train/loss", "val/loss", "lr", 'odd "name"', "top-5"]),
        st.one_of(NUMBERS, st.none(), st.lists(NUMBERS, min_size=1, max_size=3)),
        min_size=1,
    ),
    max_size=12,
)


@given(ROWS)
def test_a_curve_is_what_parsing_every_line_gives(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = [strict_json({"step": step, "epoch": 0, "time": 0.5, **row}) for step, row in enumerate(rows, 1)]
        (Path(folder) / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
        history, known = History(Path(folder)), reader.Run(Path(folder), {}, "completed").rows()
        for metric in ("train/loss", "val/loss", "lr", 'odd "name"', "top-5", "none"):
            having = [row for row in known if isinstance(row.get(metric), int | float)]
            steps, values = history.curve(metric)
            assert list(steps) == [row["step"] for row in having]
            assert str(list(values)) == str([float(row[metric]) for row in having])  # NaN equals nothing
            assert str(list(history.rows_with(metric))) == str(having)
        assert history.problem is None
        assert history.metrics() == {key for row in rows for key in row}


@pytest.mark.parametrize(
    "line",
    [b"", b"\0\0\0\0", b'{"step": 20, "epoch": 2', b'{"step": 20}{"step": 30}', b"[1]", b'{"step": 20, "x": "y"}',
     b'{"epoch": 2}', b'{"step": 20, "epoch": 2, "val/accuracy": 0.5.5}'],
)  # fmt: skip
@pytest.mark.parametrize("metric", ["train/loss", METRIC])
def test_a_run_with_a_line_that_is_no_row_is_named_and_skipped(tmp_path: Path, metric: str, line: bytes) -> None:
    for seed in range(3):
        write_run(tmp_path / f"r-{seed}", [0.5, 0.6, 0.7], seed=seed, metric=metric, mode="max")
    whole = tmp_path / "r-1" / "metrics.jsonl"
    first, _, *rest = whole.read_bytes().splitlines(keepends=True)
    whole.write_bytes(b"".join([first, line.replace(METRIC.encode(), metric.encode()), b"\n", *rest]))
    found = optrun.compare(tmp_path, metric=metric, mode="min", at="best")
    assert [(each.path.name, each.reason) for each in found.skipped] == [
        ("r-1", "metrics.jsonl is damaged (line 2 is no row)")
    ]
    assert found.groups[0].values == (0.5, 0.5)


@pytest.mark.parametrize("metric", [METRIC, "val/loss", "train/loss"])
def test_rows_that_are_missing_are_never_replaced_by_other_figures(tmp_path: Path, metric: str) -> None:
    """Neither the last evaluation for the best one, nor fewer rows than the run had; whatever is compared."""
    for seed in range(4):
        write_run(tmp_path / f"r-{seed}", [0.9, 0.5], seed=seed, metric=metric, mode="max")
    (tmp_path / "r-1" / "metrics.jsonl").unlink()
    cut = tmp_path / "r-2" / "metrics.jsonl"
    cut.write_bytes(cut.read_bytes().splitlines(keepends=True)[0])
    found = optrun.compare(tmp_path, metric=metric, mode="max")
    assert found.groups[0].values == (0.9, 0.9)
    assert [(each.path.name, each.reason) for each in found.skipped] == [
        ("r-1", "metrics.jsonl is missing"),
        ("r-2", "metrics.jsonl is torn (it ends at step 10 of 20)"),
    ]


def test_a_figure_that_only_the_summary_has_is_no_best_evaluation(tmp_path: Path) -> None:
    write_run(tmp_path / "r-0", [0.5], seed=0, summary={"final": {METRIC: 0.5, "val/loss": 0.1, "test/accuracy": 0.4}})
    assert optrun.compare(tmp_path, metric="test/accuracy").groups[0].values == (0.4,)
    assert optrun.compare(tmp_path, metric="val/loss", at="last").groups[0].values == (0.1,)
    with pytest.raises(UsageError, match="no run has val/loss"):
        optrun.compare(tmp_path, metric="val/loss")


@pytest.mark.parametrize(("table", "key"), [("best", "value"), ("final", METRIC), ("best", "metric")])
def test_a_summary_with_a_word_for_a_number_is_damaged(tmp_path: Path, table: str, key: str) -> None:
    write_run(tmp_path / "r-0", [0.5], seed=0)
    path = write_run(tmp_path / "r-1", [0.6], seed=1) / "summary.json"
    summary = json.loads(path.read_text())
    summary[table][key] = "x" if key != "metric" else 3
    path.write_text(json.dumps(summary))
    found = optrun.compare(tmp_path, metric=METRIC)
    assert (found.groups[0].n, found.groups[0].diverged) == (1, 0)
    reason = f"summary.json: {table} {key} is not what it should be, and left out"
    assert [(each.path.name, each.reason) for each in found.skipped] == [("r-1", reason)]


def test_a_run_whose_curve_is_damaged_is_named_where_its_curve_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its result stands in the summary, so it is compared; the curves leave it out, and that is said."""
    for seed in range(3):
        write_run(tmp_path / f"r-{seed}", [0.5, 0.6, 0.7], seed=seed)
    path = tmp_path / "r-1" / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"epoch": 2', b'"epoch" 2'))
    assert run(["compare", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "of 1 group, 3 runs" in out
    assert err == f"left out of curves {tmp_path / 'r-1'}: metrics.jsonl is damaged (line 2 is no row)\n"
    document = as_json(optrun.compare(tmp_path))
    assert document["groups"][0]["area"]["n"] == 2
    assert [each["reason"] for each in document["skipped"]] == [
        "it is left out of curves: metrics.jsonl is damaged (line 2 is no row)"
    ]


@pytest.mark.parametrize("metric", ["train/loss", METRIC])
def test_every_file_is_read_once(tmp_path: Path, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the value and for the curve of the same metric, beside a look at the end of the file."""
    for seed in range(3):
        write_run(tmp_path / f"r-{seed}", [0.5, math.nan, 0.7], seed=seed, metric=metric)
    read: list[Path] = []
    real = files.read

    def counting(path: Path, last: int | None = None) -> bytes:
        read.extend([path] if path.name == "metrics.jsonl" and last is None else [])
        return real(path, last)

    monkeypatch.setattr(files, "read", counting)
    as_json(optrun.compare(tmp_path, metric=metric))
    assert len(read) == len(set(read)) == 3


def test_where_no_file_is_whole_that_is_said_of_the_metric(tmp_path: Path) -> None:
    for seed in range(2):
        path = write_run(tmp_path / f"r-{seed}", [0.5, 0.6], seed=seed, metric="train/loss") / "metrics.jsonl"
        path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(
        UsageError, match=r"no run has train/loss; .*r-0: metrics.jsonl is damaged \(line 1 is no row\)"
    ):
        optrun.compare(tmp_path, metric="train/loss", mode="min")
