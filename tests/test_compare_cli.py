"""`optrun compare` as a user types it: tables, formats, sentences, refusals; on a real sweep."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from experiments import DIGITS_MLP, write_config
from terminals import on_terminal

import optrun
from optrun.cli.app import run
from optrun.cli.compare_cells import sparkline

GRID = [
    {"optimizer": [{"name": "SGD"}, {"name": "Adam"}], "optimizer.lr": [0.003, 0.1]},
    {"optimizer": [{"name": "SGD"}], "optimizer.lr": [0.1], "clip_norm": [1.0]},
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of five settings with three seeds each."""
    directory = tmp_path_factory.mktemp("compared")
    base = {**DIGITS_MLP, "epochs": 2, "metrics": ["accuracy"]}
    sweep = write_config(directory / "study.yaml", {"name": "study", "base": base, "grid": GRID, "seeds": 3})
    optrun.sweep(sweep, runs_dir=directory, executor="inline")
    return directory


@pytest.fixture(autouse=True)
def _without_an_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


def compare(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> tuple[str, str]:
    """Standard output and standard error of the command."""
    assert run(["compare", *map(str, arguments)]) == code
    return capsys.readouterr()


def document(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    return json.loads(compare(capsys, *arguments, "--json")[0])


def cells(line: str) -> list[str]:
    """The cells of a line of the table, which two spaces or more divide."""
    return [cell for cell in line.split("  ") if cell.strip()]


def test_the_table_says_what_the_json_says(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "--runs-dir", runs)
    out, err = compare(capsys, "--runs-dir", runs)
    lines = out.splitlines()
    assert lines[0].startswith("val/accuracy of 5 groups, 15 runs: best evaluation, more is better")
    assert err == ""
    table = lines[3:8]
    for line, group in zip(table, found["groups"], strict=True):
        assert f"{group['mean']:.4f} ± {group['std']:.4f}" in line
        assert "{:.4f} … {:.4f}".format(*group["ci95"]) in line
        assert group["verdict"] in line
        assert str(group["settings"]["optimizer.name"]) in line
    assert f"{found['conclusion']}." in lines
    for note in found["notes"]:
        assert f"{note[0].upper()}{note[1:]}." in lines


def test_what_python_says_is_what_the_command_says(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = optrun.compare(runs / "study", group_by="optimizer", metric="val/loss", at="last")
    printed = document(capsys, runs / "study", "--group-by", "optimizer", "--metric", "val/loss", "--at", "last")
    for key, value in json.loads(json.dumps(found.as_json())).items():
        if key != "groups":
            assert printed[key] == value
    for group, said in zip(found.as_json()["groups"], printed["groups"], strict=True):
        assert said.items() >= {k: v for k, v in group.items() if k != "difference"}.items()
        assert (said["difference"] or {}).items() >= (group["difference"] or {}).items()
    assert printed["at"] == "last"


def test_a_group_is_named_by_what_tells_it_from_others(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {group["label"] for group in document(capsys, "--runs-dir", runs)["groups"]}
    assert labels == {
        f"{each}, clip_norm none" for each in ("SGD, lr 0.1", "SGD, lr 0.003", "Adam, lr 0.1", "Adam, lr 0.003")
    } | {"SGD, lr 0.1, clip_norm 1"}


def test_the_questions_about_optimizers_are_answered(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "--runs-dir", runs, "--target", "val/accuracy=0.5")
    assert found["target"] == {"metric": "val/accuracy", "value": 0.5}
    for group in found["groups"]:
        rows = [_rows(path) for path in _paths(runs, group["settings"])]
        reached = [next((r["step"] for r in its if r.get("val/accuracy", 0) >= 0.5), None) for its in rows]
        assert group["target"]["reached"] == sum(step is not None for step in reached)
        assert group["target"]["of"] == 3
        assert (group["clipped_fraction"] is None) == (group["settings"]["clip_norm"] is None)
        assert group["area"]["n"] == 3
    assert {each["key"] for each in found["importance"]} >= {"optimizer.name", "optimizer.lr"}
    assert {(each["key"], each["optimizer"]) for each in found["sensitivity"]} == {
        ("optimizer.lr", "SGD"),
        ("optimizer.lr", "Adam"),
    }
    assert [each["k"] for each in found["best_of_k"]["SGD"]] == [1, 2, 3]
    out, _ = compare(capsys, "--runs-dir", runs, "--target", "0.5", "--group-by", "optimizer,clip_norm")
    assert "steps to ≥ 0.5" in out
    assert "Each group by optimizer.name, clip_norm is its best setting" in out


def _paths(runs: Path, settings: dict[str, Any]) -> list[Path]:
    found = []
    for path in sorted((runs / "study").glob("*-*")):
        config = optrun.read(path).config
        its = {"optimizer.name": config["optimizer"]["name"], "optimizer.lr": config["optimizer"]["lr"]}
        if {**its, "clip_norm": config.get("clip_norm")} == settings:
            found.append(path)
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_csv_has_every_digit(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups = document(capsys, "--runs-dir", runs)["groups"]
    out, _ = compare(capsys, "--runs-dir", runs, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    for row, group in zip(rows, groups, strict=True):
        assert float(row["mean"]) == group["mean"]
        assert [float(value) for value in row["values"].split(";")] == group["values"]
        assert [float(row["ci95.low"]), float(row["ci95.high"])] == group["ci95"]
        assert row["optimizer.name"] == group["settings"]["optimizer.name"]
        assert row["clip_norm"] == ("null" if group["settings"]["clip_norm"] is None else "1.0")
        difference = group["difference"]
        assert row["difference.p"] == ("" if difference is None else str(difference["p"]))


def test_markdown_is_a_table_with_a_line_a_group(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = compare(capsys, "--runs-dir", runs, "--format", "markdown")
    lines = out.splitlines()
    assert len(lines) == 7
    assert {line.count(" | ") for line in lines} == {lines[0].count(" | ")}
    assert r"clip\_norm" in lines[0]
    assert set(lines[1]) <= set("| :-")
    assert "leads" in err


def test_latex_escapes_what_it_must(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = compare(capsys, "--runs-dir", runs, "--format", "latex")
    lines = out.splitlines()
    assert lines[0].startswith(r"\begin{tabular}{r")
    assert lines[-1] == r"\end{tabular}"
    assert r"clip\_norm" in out
    assert r"95 \% interval" in out
    assert r"$\pm$" in out
    rows = [line for line in lines if line.endswith(r"\\")]
    assert len(rows) == 6
    assert len({row.count(" & ") for row in rows}) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--format", "xml"], "there is no format xml; choose one of table, json, csv, markdown, latex"),
        (["--watch", "--json"], "--watch shows the table; leave out --format, --json, --html, --png and --svg"),
        (["--where", "optimizer"], "--where takes KEY=VALUE, such as optimizer.lr=0.1, not optimizer"),
        (["--where", "lr=0.2"], "no run has optimizer.lr=0.2; there is 0.1, 0.003"),
        (["--where", "momentun=0"], "no run has the setting momentun"),
        (["--group-by", "optimiser"], "no run has the setting optimiser; did you mean optimizer"),
        (["--group-by", "seed"], "groups are compared over their seeds, so seed makes no groups"),
        (["--target", "accuracy=0.9"], "no run has accuracy; --target 0.9 means val/accuracy"),
        (["--target", "nan"], "--target takes METRIC=VALUE, such as val/accuracy=0.97, not nan"),
        (["--plot", "--json"], "--plot draws below the table; leave out --format and --json"),
        (["--target", "fast"], "--target takes METRIC=VALUE, such as val/accuracy=0.97, not fast"),
        (["--baseline", "RMSprop"], "no group is the baseline RMSprop; there is"),
        (["--baseline", "lr=0.1"], "3 groups could be the baseline lr=0.1, such as"),
        (["--where", "lr=0.1", "--where", "lr=0.003"], "--where has lr twice, and there is one value of it; give it"),
        (["--baseline", "lr=0.1,lr=0.003"], "--baseline has lr twice"),
        (["--metric", "lr"], "nobody knows whether more or less lr is better; say it with --mode"),
        (["--metric", "val/acc"], "no run has val/acc; did you mean val/accuracy?"),
        (["--metric", "val/zeal"], "no run has val/zeal; there is grad_norm, lr, train/loss, val/accuracy or val/loss"),
        (["--metric", "val/f1"], "no run has val/f1; there is grad_norm, lr, train/loss, val/accuracy or val/loss"),
        (
            ["--metric", "target.step"],
            "no run has target.step; there is grad_norm, lr, train/loss, val/accuracy or val/",
        ),
        (["--mode", "up"], "the mode is min or max, not up"),
        (["--at", "first"], "at is best or last, not first"),
        (["nowhere"], "nowhere"),
    ],
)
def test_what_is_refused(runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    out, err = compare(capsys, "--runs-dir", runs, *arguments, code=2)
    assert out == ""
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_baseline_where_and_top(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "--runs-dir", runs, "--baseline", "optimizer=SGD,lr=0.003")
    verdicts = [group["verdict"] for group in found["groups"]]
    assert "leader" not in verdicts
    assert verdicts.count("baseline") == 1
    found = document(capsys, "--runs-dir", runs, "--where", "optimizer=sgd", "--where", "clip_norm=null")
    assert len(found["groups"]) == 2
    out, _ = compare(capsys, "--runs-dir", runs, "--top", "2")
    assert "2 of 5 groups are shown; all were tested." in out
    assert "1 of 5 groups is shown; all were tested." in compare(capsys, "--runs-dir", runs, "--top", "1")[0]


def test_plot_draws_curves_sensitivity_and_budgets(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = compare(capsys, "--runs-dir", runs, "--plot")
    for title in ("val/accuracy   ", "val/accuracy against optimizer.lr", "expected best val/accuracy of k settings"):
        assert f"\n{title}" in out


def test_damaged_runs_are_named_in_a_line_and_skipped(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "study", tmp_path / "study")
    first, second, third, *_ = sorted((tmp_path / "study").glob("*-*"))
    (first / "summary.json").write_bytes(b'{"run": "')
    (second / "config.yaml").write_bytes(b"\xff\xfe")
    (third / "metrics.jsonl").write_bytes((third / "metrics.jsonl").read_bytes()[:-7])
    out, err = compare(capsys, tmp_path / "study")
    assert f"skipped {first}: summary.json" in err
    assert f"skipped {second}: config.yaml" in err
    assert f"skipped {third}: metrics.jsonl is torn (its last line is no row)" in err
    assert len(err.splitlines()) == 3
    assert "of 5 groups, 12 runs" in out


def test_many_runs_that_are_skipped_for_one_reason_are_one_line(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for copy in ("study", "again"):
        shutil.copytree(runs / "study", tmp_path / copy)
    _, err = compare(capsys, tmp_path)
    [line] = err.splitlines()
    assert line.endswith(" and 12 more: it repeats the configuration and seed of another run")
    for path in (tmp_path / "again").glob("*-*/metrics.jsonl"):
        path.write_bytes(path.read_bytes()[: 100 + len(path.parent.name)])
    _, err = compare(capsys, tmp_path / "again", code=2)
    assert err.startswith(f"there are no runs to compare in {tmp_path / 'again'}; ")
    assert "metrics.jsonl is torn (its last line is no row)" in err


@pytest.mark.parametrize(
    "extra", [[], ["--format", "markdown"], ["--format", "latex"], ["--format", "csv"], ["--plot"]]
)
def test_no_escape_in_the_name_of_a_run_reaches_the_terminal(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str]
) -> None:
    """Of a directory, of a damaged one, of a metric, a group, a setting; nor what turns the text around."""
    shutil.copytree(runs / "study", tmp_path / "study")
    (tmp_path / "study" / "sweep.yaml").unlink()
    for number, path in enumerate(sorted((tmp_path / "study").glob("*-*"))):
        for name in ("config.yaml", "summary.json", "metrics.jsonl"):
            text = (path / name).read_text()
            text = text.replace("name: SGD", 'name: "SGD\u202e"').replace("val/accuracy", "val/accuracy\\u202e")
            (path / name).write_text(text)
        if number == 0:
            (path / "metrics.jsonl").unlink()
        path.rename(path.parent / f"q-\x1b[2J\x1b[31mPWNED-\u202e{number}")
    out, err = compare(capsys, tmp_path / "study", *extra)
    assert not {"\x1b", "\u202e"} & {*out, *err}
    assert r"q-\x1b[2J\x1b[31mPWNED-\u202e0: metrics.jsonl is missing" in err
    assert r"SGD\u202e" in out or r"SGD\textbackslash{}u202e" in out or r"SGD\\u202e" in out
    _, err = compare(capsys, "a\x1b[2J\u202e", code=2)
    assert r"a\x1b[2J\u202e" in err


def test_what_names_say_is_not_obeyed(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Escapes of a terminal, markup of rich, of LaTeX and of a spreadsheet in what a stranger wrote."""
    shutil.copytree(runs / "study", tmp_path / "study")
    for path in (tmp_path / "study").glob("*-*"):
        text = (path / "config.yaml").read_text()
        (path / "config.yaml").write_text(text.replace("name: SGD", 'name: "=1+[red]$x_1|"'))
    (tmp_path / "study" / "sweep.yaml").unlink()
    escaping = min((tmp_path / "study").glob("*-*")) / "config.yaml"
    escaping.write_text(escaping.read_text() + 'notes: "\\e[31m"\n')
    for form in ("table", "csv", "markdown", "latex"):
        out, err = compare(capsys, tmp_path / "study", "--format", form)
        assert "\x1b" not in out + err
        assert "red" in out
        if form == "csv":
            assert "'=1+" in out
            assert "\n=1+" not in out


def test_no_torch_and_nothing_slow_is_imported(runs: Path) -> None:
    slow = ["torch", "torchvision", "scipy.stats", "matplotlib", "pandas", "sklearn", "jsonschema"]
    program = (
        "import sys; from optrun.cli.app import run; code = run(sys.argv[1:]); "
        f"print([name for name in {slow} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    for extra in ([], ["--json"], ["--plot", "--group-by", "optimizer"], ["--format", "csv"]):
        done = subprocess.run(
            [sys.executable, "-c", program, "compare", "--runs-dir", runs, *extra], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == "[]"


def test_the_terminal_shows_what_there_is_room_for(runs: Path) -> None:
    wide, narrow = (on_terminal(["compare", "--runs-dir", str(runs)], columns) for columns in (200, 70))
    assert "samples/s" in wide
    assert "No room here" not in wide
    assert "No room here for: samples/s" in " ".join(narrow.split())
    assert all(len(line) <= 70 for line in narrow.splitlines())
    for settings in ("SGD", "Adam"):
        assert settings in narrow


@pytest.mark.parametrize("columns", [30, 40, 80, 120])
def test_no_width_costs_a_digit_or_a_name(runs: Path, columns: int) -> None:
    shown = on_terminal(["compare", "--runs-dir", str(runs)], columns)
    assert all(len(line) <= columns for line in shown.splitlines())
    words = " ".join(shown.split())
    for each in optrun.compare(runs_dir=runs).groups:
        assert f"{each.mean:.4f} ± {each.std:.4f}" in words
        assert each.verdict in words
    for settings in ("SGD", "Adam", "0.003"):
        assert settings in words


def test_a_sparkline_has_eight_heights() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 0, 7) == "▁▂▃▄▅▆▇█"
    assert sparkline([5.0], 5.0, 5.0) == "▁"
    assert sparkline([], 0, 1) == ""
    assert sparkline([-9, 99], 0, 1) == "▁█"
    assert len(sparkline(range(100), 0, 99)) == 12
