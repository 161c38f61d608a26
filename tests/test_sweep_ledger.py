"""What a sweep finds in its directory: which trial a run is, what a longer one goes on from, and that looking changes
nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from experiments import write_config
from sweeping import BASE, metrics, rows, statuses, write_sweep, written

import optrun
from optrun.cli.app import run as command
from optrun.errors import RunError
from optrun.runs.reader import read

SHORT = {**BASE, "epochs": 1}
ALIKE = (31480, 90425)
"""Seeds with which the hashes of `SHORT` begin with the same eight digits, found by trying."""
LR = {"optimizer.lr": [0.1, 0.3]}
REGISTERS = "import optrun, torch\n@optrun.models.register\ndef own(data):\n"
SOUND = "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
OTHER = REGISTERS + "    torch.manual_seed(1)\n" + SOUND


def swept(path: Path, **options: Any) -> Any:
    """The sweep in the file, run in this process beside it."""
    return optrun.sweep(path, executor="inline", runs_dir=path.parent / "runs", **options)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below, with what it holds and when that was written."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = (path.read_bytes(), path.stat().st_mtime_ns)
    return found


# Which run is which ---------------------------------------------------------------------------------------------------


def test_trials_whose_hashes_begin_alike_are_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_sweep(tmp_path, SHORT, seeds=ALIKE)
    first, second = sweep = swept(path).trials
    names = [trial.directory.name for trial in sweep]
    assert names == [f"t-{first.spec.config_hash()[:8]}", f"t-{second.spec.config_hash()[:16]}"]
    assert names[1].startswith(names[0])
    assert [trial.run.config["seed"] for trial in sweep] == list(ALIKE)
    before = contents(tmp_path / "runs")
    assert command(["sweep", str(path), "--dry-run", "--runs-dir", str(tmp_path / "runs")]) == 0
    assert "2 trials, 0 to be run\n" in capsys.readouterr().err
    swept(path)
    assert {**contents(tmp_path / "runs"), "s/.lock": None} == {**before, "s/.lock": None}


def test_a_trial_with_a_longer_name_is_found_without_the_other(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, SHORT, seeds=ALIKE)
    first, second = swept(path).trials
    shutil.rmtree(first.directory)
    before = written(tmp_path / "runs" / "s")
    again = swept(write_sweep(tmp_path, SHORT, seeds=ALIKE[1:]))
    assert [trial.directory for trial in again.trials] == [second.directory]
    assert written(tmp_path / "runs" / "s") == before


def test_a_proposed_point_whose_hash_begins_like_that_of_another_is_run(tmp_path: Path) -> None:
    """A search knows trials by their hashes, too."""
    space = {"optimizer.lr": {"choice": [0.1]}}
    search = {"sampler": "qmc", "trials": 1, "batch": 1, "space": space}
    assert swept(write_sweep(tmp_path, SHORT, seeds=ALIKE, search=search)).counts == {"completed": 2}
    assert len(statuses(tmp_path / "runs" / "s")) == 2


def test_looking_at_a_mangled_trial_leaves_it_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_sweep(tmp_path, SHORT, grid=LR)
    mangled = swept(path).trials[0].directory
    whole = metrics(tmp_path / "runs" / "s")
    (mangled / "config.yaml").write_text("{{{")
    (mangled / "summary.json").write_text("half of a")
    before = contents(tmp_path / "runs")
    assert command(["sweep", str(path), "--dry-run", "--runs-dir", str(tmp_path / "runs")]) == 0
    assert "2 trials, 1 to be run" in capsys.readouterr().err
    assert contents(tmp_path / "runs") == before
    assert swept(path).counts == {"completed": 2}
    assert metrics(tmp_path / "runs" / "s") == whole
    assert read(mangled).config["optimizer"] == {"name": "SGD", "lr": 0.1}


@pytest.mark.parametrize("place", ["runs", "runs/s"])
def test_a_file_in_the_place_of_the_sweep_is_a_sentence(place: str, tmp_path: Path) -> None:
    path = write_sweep(tmp_path, SHORT, grid=LR)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("no directory")
    with pytest.raises(RunError, match=r"runs/s: not a directory; mend the cause and try again"):
        swept(path)


# What a longer trial goes on from -------------------------------------------------------------------------------------


def test_a_longer_trial_does_not_go_on_from_other_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = tmp_path / "parts.py"
    parts.write_text(REGISTERS + SOUND)
    config = write_config(tmp_path / "c.yaml", {**BASE, "model": "own"})
    arguments = ["sweep", str(config), "--grid", "optimizer.lr=0.1,0.3", "--executor", "inline", "--import", str(parts)]
    assert command([*arguments, "--runs-dir", str(tmp_path / "runs")]) == 0
    parts.write_text(OTHER)
    capsys.readouterr()
    assert command([*arguments, "--runs-dir", str(tmp_path / "runs"), "epochs=4"]) == 0
    reason = "though shorter runs exist: they were made with other imported files than today's"
    assert f"and 1 more begin anew, {reason}" in capsys.readouterr().err
    assert command([*arguments, "--runs-dir", str(tmp_path / "whole"), "epochs=4"]) == 0
    whole = metrics(tmp_path / "whole" / "c")
    assert {name: rows_ for name, rows_ in metrics(tmp_path / "runs" / "c").items() if name in whole} == whole


def test_a_longer_trial_does_not_go_on_from_other_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.csv"
    lines = ["a,b,y", *(f"{i % 7},{i % 5},{(i % 7) * 2.5 + i % 5}" for i in range(60))]
    table.write_text("\n".join(lines))
    dataset = {"name": "csv", "path": str(table), "target": "y", "batch_size": 16}
    base = {**BASE, "dataset": dataset, "model": "linear", "loss": "mse", "metrics": ["rmse"]}
    path = write_sweep(tmp_path, base, grid=LR)
    swept(path)
    table.write_text("\n".join([*lines, "1,1,3"]))
    arguments = ["sweep", str(path), "--executor", "inline", "--runs-dir", str(tmp_path / "runs"), "epochs=4"]
    assert command(arguments) == 0
    assert "they were made with other data than today's" in capsys.readouterr().err
    assert statuses(tmp_path / "runs" / "s") == ["completed"] * 4


def test_what_goes_on_remembers_the_code_it_goes_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A longer trial has the imports of today, so that the next call knows them."""
    parts = tmp_path / "parts.py"
    parts.write_text(REGISTERS + SOUND)
    path = write_sweep(tmp_path, {**BASE, "model": "own"}, grid=LR)
    swept(path, imports=[parts])
    elsewhere = tmp_path / "moved.py"
    parts.rename(elsewhere)
    longer = swept(path, overrides={"epochs": 4}, imports=[elsewhere])
    assert [trial.run.environment["resumes"][0]["step"] for trial in longer.trials] == [12, 12]
    assert [trial.run.environment["imports"][0]["path"] for trial in longer.trials] == [str(elsewhere)] * 2


def test_a_longer_trial_goes_on_from_one_that_the_plan_still_has(tmp_path: Path) -> None:
    swept(write_sweep(tmp_path, BASE, grid={"epochs": [1, 2]}))
    longer = swept(write_sweep(tmp_path, BASE, grid={"epochs": [1, 2, 4]}))
    whole = swept(write_sweep(tmp_path / "whole", BASE, grid={"epochs": [4]}))
    (new,) = (trial for trial in longer.trials if trial.spec.epochs == 4)
    assert new.run.environment["resumes"][0]["step"] == 12
    assert rows(new.directory / "metrics.jsonl") == rows(whole.trials[0].directory / "metrics.jsonl")


def test_a_longer_trial_without_the_checkpoint_of_the_shorter_one_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(tmp_path, SHORT, grid=LR)
    first, _ = swept(path).trials
    (first.directory / "checkpoints" / "last.pt").unlink()
    assert command(["sweep", str(path), "epochs=2", "--executor", "inline", "--runs-dir", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr().err
    assert "begins anew, though shorter runs exist: their checkpoints are gone" in said
    assert "goes on from shorter runs" in said


# How much is read -----------------------------------------------------------------------------------------------------

COUNTS_READS = """\
import json, os, sys
from collections import Counter
import optrun
opened = Counter()
def hear(event, arguments):
    if event == "open" and arguments[1] is None and str(arguments[0]).endswith(("config.yaml", "summary.json")):
        opened[os.path.relpath(str(arguments[0]))] += 1
sys.addaudithook(hear)
from optrun.config.sweep import load_sweep
from optrun.sweeps.driver import Sweep
from optrun.sweeps.executors.choosing import choose
with Sweep(load_sweep(sys.argv[1])) as sweep, choose(sweep, "inline", None) as executor:
    for _ in sweep.events(executor):
        pass
print(json.dumps([opened, sweep.counts]))
"""


def test_runs_out_of_the_plan_are_looked_at_once(tmp_path: Path) -> None:
    """However many batches a search has."""
    before = swept(write_sweep(tmp_path, SHORT, grid={"optimizer.lr": [0.1, 0.2, 0.3]}))
    space = {"optimizer.lr": {"uniform": [0.4, 0.5]}}
    search = {"sampler": "qmc", "trials": 5, "batch": 1, "space": space}
    path = write_sweep(tmp_path, SHORT, search=search)
    done = subprocess.run(
        [sys.executable, "-c", COUNTS_READS, str(path)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    opened, counts = json.loads(done.stdout)
    assert counts == {"completed": 5}
    of_others = Counter({name: opened.get(name, 0) for trial in before.trials for name in _files(trial, tmp_path)})
    assert set(of_others.values()) <= {0, 1}, of_others


def _files(trial: Any, folder: Path) -> list[str]:
    return [str((trial.directory / name).relative_to(folder)) for name in ("config.yaml", "summary.json")]
