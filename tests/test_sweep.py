"""`optrun sweep`: the same numbers on every executor, and nothing is run twice."""

from __future__ import annotations

import json
import math
import platform
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from experiments import write_config
from sweeping import BASE, metrics, rows, statuses, write_sweep, written

import optrun
from optrun.cli.app import run as command
from optrun.config.sweep import load_sweep
from optrun.errors import ConfigError, RunLocked, UsageError
from optrun.runs.layout import SweepLayout
from optrun.runs.lock import GroupLock, Lock
from optrun.runs.reader import read
from optrun.signals import StopRequest
from optrun.sweeps.tasks import Ended, GroupTask, Progressed, Task
from optrun.sweeps.together import train_group
from optrun.sweeps.work import BETWEEN_REPORTS, train_trial

LR = {"optimizer.lr": [0.03, 0.1, 0.3]}
EXECUTORS = ["inline", "pool"]
REGISTERS = "import optrun, torch\n@optrun.models.register\ndef own(data, *, size: int = 4):\n"
SOUND = "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"


def swept(folder: Path, executor: str = "inline", **keys: Any) -> Any:
    """The sweep of these keys in `folder`, run there."""
    given = {key: keys.pop(key) for key in ("retry_failed", "rerun_changed", "imports", "overrides") if key in keys}
    path = write_sweep(folder, keys.pop("base", BASE), **keys)
    jobs = 2 if executor == "pool" else None
    overrides = given.pop("overrides", ())
    return optrun.sweep(path, overrides, executor=executor, jobs=jobs, runs_dir=folder / "runs", **given)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """24 trials of four optimizers and schedules, on each executor."""
    base = {**BASE, "metrics": ["accuracy"], "eval_every": 1}
    products = [
        {"optimizer": [{"name": "SGD", "lr": 0.1, "momentum": 0.9}, {"name": "Adam"}], "clip_norm": [None, 1.0]},
        {"optimizer.lr": [0.03, 0.3], "scheduler": ["CosineAnnealingLR", "ReduceLROnPlateau"]},
    ]
    found = {}
    for executor in EXECUTORS:
        folder = tmp_path_factory.mktemp(executor)
        sweep = swept(folder, executor, base=base, grid=products, seeds=3)
        assert sweep.counts == {"completed": 24}
        found[executor] = sweep.layout.directory
    return found


def test_inline_and_pool_give_the_same_bytes(grid: dict[str, Path]) -> None:
    inline, pool = (metrics(grid[executor]) for executor in EXECUTORS)
    assert len(inline) == 24
    assert inline == pool


def test_every_trial_repeats_as_a_run_of_its_own(grid: dict[str, Path], tmp_path: Path) -> None:
    for trial in sorted(grid["pool"].glob("t-*"))[::6]:
        alone = optrun.train(trial / "config.yaml", run_dir=tmp_path / trial.name)
        assert rows(alone.path / "metrics.jsonl") == rows(trial / "metrics.jsonl")
        assert alone.summary["config_hash"] == read(trial).summary["config_hash"]


def test_a_trial_leaves_what_every_run_leaves(grid: dict[str, Path]) -> None:
    for trial in grid["pool"].glob("t-*"):
        names = {path.name for path in trial.iterdir()}
        assert names == {"config.yaml", "metrics.jsonl", "summary.json", "environment.json", "checkpoints", ".lock"}
        assert [path.name for path in (trial / "checkpoints").iterdir()] == ["last.pt"]
        run = read(trial)
        assert trial.name == f"t-{run.summary['config_hash'][:8]}"
        assert (run.config["threads"], run.config["keep_checkpoints"]) == (1, "last")
        assert run.environment["objective"] == {"metric": "val/accuracy", "mode": "max"}


def test_the_sweep_file_left_behind_repeats_the_sweep(grid: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(grid["inline"], tmp_path / "runs" / "s")
    before = written(tmp_path / "runs" / "s")
    again = optrun.sweep(tmp_path / "runs" / "s" / "sweep.yaml", executor="inline", runs_dir=tmp_path / "runs")
    assert again.counts == {"completed": 24}
    assert written(tmp_path / "runs" / "s") == before


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_larger_grid_and_more_seeds_run_only_what_is_new(tmp_path: Path, executor: str) -> None:
    momentum = {"optimizer.momentum": [0.0, 0.5]}
    swept(tmp_path, executor, grid={**LR, **momentum}, seeds=2)
    before = written(tmp_path / "runs" / "s")
    assert len(before) == 12
    swept(tmp_path, executor, grid={"optimizer.lr": [0.03, 0.1, 0.3], "optimizer.momentum": [0.0, 0.5, 0.9]}, seeds=2)
    after = written(tmp_path / "runs" / "s")
    assert len(after) == 18
    assert before.items() <= after.items()
    larger = swept(tmp_path, executor, grid=LR, seeds=3)
    last = written(tmp_path / "runs" / "s")
    assert len(last) == 21
    assert after.items() <= last.items()
    assert [point.trials for point in larger.ranking] == [3, 3, 3]


def test_trials_out_of_the_plan_stay_and_are_not_ranked(tmp_path: Path) -> None:
    swept(tmp_path, grid=LR)
    smaller = swept(tmp_path, grid={"optimizer.lr": [0.3]})
    assert [dict(point.settings) for point in smaller.ranking] == [{"optimizer.lr": 0.3}]
    assert len(statuses(tmp_path / "runs" / "s")) == 3


def test_a_longer_sweep_goes_on_from_the_shorter_one(tmp_path: Path) -> None:
    swept(tmp_path / "short", grid=LR)
    longer = swept(tmp_path / "short", grid=LR, overrides={"epochs": 4})
    whole = swept(tmp_path / "whole", grid=LR, overrides={"epochs": 4})
    resumed = {trial.directory.name: trial.run.environment["resumes"] for trial in longer.trials}
    assert all([resume["step"] for resume in resumes] == [12] for resumes in resumed.values())
    for trial in whole.trials:
        assert rows(trial.directory / "metrics.jsonl") == metrics(longer.layout.directory)[trial.directory.name]
    assert len(statuses(longer.layout.directory)) == 6


def test_a_longer_sweep_begins_anew_where_the_schedule_depends_on_the_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(tmp_path, BASE, grid={"scheduler": [None, "CosineAnnealingLR"]})
    arguments = ["sweep", str(path), "--runs-dir", str(tmp_path / "runs"), "--executor", "inline"]
    assert command(arguments) == 0
    assert command([*arguments, "epochs=3"]) == 0
    said = capsys.readouterr().err
    assert "goes on from shorter runs" in said
    assert "begins anew, though shorter runs exist: CosineAnnealingLR.T_max was made for their length" in said
    whole = optrun.sweep(path, {"epochs": 3}, executor="inline", runs_dir=tmp_path / "whole")
    ours = metrics(tmp_path / "runs" / "s")
    assert all(ours[trial.directory.name] == rows(trial.directory / "metrics.jsonl") for trial in whole.trials)


def test_an_interrupted_trial_is_continued(tmp_path: Path) -> None:
    whole = swept(tmp_path / "whole", grid=LR)
    stopped = swept(tmp_path, grid=LR)
    for trial in stopped.trials[:2]:  # as a kill leaves them: in the middle, or before the first checkpoint
        summary = json.loads((trial.directory / "summary.json").read_text())
        (trial.directory / "summary.json").write_text(json.dumps({**summary, "status": "running"}))
        shutil.rmtree(trial.directory / "checkpoints")
    shutil.rmtree(stopped.trials[2].directory)
    again = swept(tmp_path, grid=LR)
    assert again.counts == {"completed": 3}
    assert metrics(again.layout.directory) == metrics(whole.layout.directory)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_one_failing_trial_fails_alone_and_is_tried_again_when_asked(tmp_path: Path, executor: str) -> None:
    parts = tmp_path / "parts.py"
    broken = "    if size == 5: raise RuntimeError('five is right out')\n"
    parts.write_text(REGISTERS + broken + SOUND)
    options: dict[str, Any] = {
        "base": {**BASE, "model": {"name": "own"}},
        "grid": {"model.size": [4, 5, 6]},
        "imports": [parts],
    }
    with pytest.raises(ConfigError, match="five is right out"):
        swept(tmp_path, executor, **options)  # this torch can tell before anything is trained
    parts.write_text(REGISTERS + broken.replace("size == 5", "size == 5 and data.train is None") + LATE + SOUND_LATE)
    failed = swept(tmp_path, executor, **options)
    assert failed.counts == {"completed": 2, "failed": 1}
    run = next(trial.run for trial in failed.trials if trial.status == "failed")
    assert "five is right out" in run.summary["error"]
    assert "Traceback" in (run.path / "error.txt").read_text()
    assert failed.ranking[-1].failed == 1
    before = written(failed.layout.directory)
    assert swept(tmp_path, executor, **options).counts == {"completed": 2, "failed": 1}
    assert written(failed.layout.directory) == before
    parts.write_text(REGISTERS + SOUND)
    kept = swept(tmp_path, executor, retry_failed=True, **options)
    assert kept.counts == {"completed": 3}
    changed = {name for name, when in written(failed.layout.directory).items() if before[name] != when}
    assert changed == {run.path.name}


LATE = """
    class Late(torch.nn.Sequential):
        calls = 0
        def forward(self, x):
            self.calls += self.training
            if size == 5 and self.calls > 3: raise RuntimeError('five is right out')
            return super().forward(x)
"""
SOUND_LATE = SOUND.replace("torch.nn.Sequential", "Late")


def test_changed_files_are_told_and_repeated_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts, table = tmp_path / "parts.py", tmp_path / "table.csv"
    parts.write_text(REGISTERS + SOUND)
    base = {**BASE, "model": {"name": "own"}}
    config = write_config(tmp_path / "c.yaml", base)
    arguments = ["sweep", str(config), "--grid", "optimizer.lr=0.1,0.2", "--runs-dir", str(tmp_path / "runs")]
    arguments += ["--executor", "inline", "--import", str(parts)]
    assert command(arguments) == 0
    before = written(tmp_path / "runs" / "c")
    parts.write_text(REGISTERS + "    torch.manual_seed(1)\n" + SOUND)
    capsys.readouterr()
    assert command(arguments) == 0
    assert "2 trials were made with other imported files than today's, and kept" in capsys.readouterr().err
    assert written(tmp_path / "runs" / "c") == before
    assert command([*arguments, "--rerun-changed"]) == 0
    assert "2 trials were made with other imported files than today's, and now made anew" in capsys.readouterr().err
    assert written(tmp_path / "runs" / "c").keys() == before.keys()
    assert len(list((tmp_path / "runs" / "c" / ".replaced").iterdir())) == 2

    lines = ["a,b,y", *(f"{i % 7},{i % 5},{(i % 7) * 2.5 + i % 5}" for i in range(60))]
    table.write_text("\n".join(lines))
    dataset = {"name": "csv", "path": str(table), "target": "y", "batch_size": 16}
    of_csv = {**BASE, "dataset": dataset, "model": "linear", "loss": "mse", "metrics": ["rmse"]}
    swept(tmp_path / "csv", base=of_csv, grid=LR)
    table.write_text("\n".join([*lines, "1,1,3"]))
    path = write_sweep(tmp_path / "csv", of_csv, grid=LR)
    capsys.readouterr()
    assert command(["sweep", str(path), "--runs-dir", str(tmp_path / "csv" / "runs"), "--executor", "inline"]) == 0
    assert "3 trials were made with other data than today's, and kept" in capsys.readouterr().err


def test_a_diverged_trial_is_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_sweep(tmp_path, {**BASE, "loss": "mse"}, grid={"optimizer.lr": [0.1, 1e30]}, seeds=2)
    arguments = ["sweep", str(path), "--runs-dir", str(tmp_path / "runs"), "--executor", "inline"]
    assert command(arguments) == 0
    assert statuses(tmp_path / "runs" / "s") == ["completed", "completed", "diverged", "diverged"]
    assert "2 diverged" in capsys.readouterr().out
    before = written(tmp_path / "runs" / "s")
    assert command(arguments) == 0
    assert written(tmp_path / "runs" / "s") == before


@pytest.mark.parametrize("executor", EXECUTORS)
def test_successive_halving(tmp_path: Path, executor: str) -> None:
    keys: dict[str, Any] = {
        "grid": {"optimizer.lr": [0.001, 0.01, 0.03, 0.1, 0.3]},
        "seeds": 2,
        "prune": {"min_epochs": 1, "eta": 2},
        "overrides": {"epochs": 4},
    }
    sweep = swept(tmp_path / executor, executor, **keys)
    assert sweep.counts == {"completed": 2 * 2, "pruned": 3 * 2} or sweep.counts == {"pruned": 8, "completed": 2}
    full = swept(tmp_path / "full", grid=keys["grid"], seeds=2, overrides={"epochs": 4})
    of_full = metrics(full.layout.directory)
    for trial in sweep.trials:
        mine = rows(trial.directory / "metrics.jsonl")
        theirs = of_full[trial.directory.name]
        assert mine == theirs[: len(mine)]
        assert (mine == theirs) == (trial.status == "completed")
    assert sweep.ranking[0].settings == full.ranking[0].settings
    assert [point.values for point in sweep.ranking if point.pruned] == [()] * sum(p.pruned > 0 for p in sweep.ranking)
    before = written(sweep.layout.directory)
    again = swept(tmp_path / executor, executor, **keys)
    assert (again.counts, written(sweep.layout.directory)) == (sweep.counts, before)
    del keys["prune"]  # then they are only not finished
    assert swept(tmp_path / executor, executor, **keys).counts == {"completed": 10}
    assert metrics(sweep.layout.directory) == of_full


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc"])
def test_a_search_is_replayed_from_its_runs(tmp_path: Path, sampler: str) -> None:
    space = {"optimizer.lr": {"log": [1e-3, 1.0]}, "clip_norm": {"choice": [None, 1.0]}}
    search = {"sampler": sampler, "trials": 6, "batch": 3, "space": space}
    whole = swept(tmp_path / "whole", "pool", search=search, seeds=2)
    assert whole.counts == {"completed": 12}
    part = swept(tmp_path, search={**search, "trials": 3}, seeds=2)
    shutil.rmtree(part.trials[0].directory)
    before = written(part.layout.directory)
    rest = swept(tmp_path, search=search, seeds=2)
    assert metrics(rest.layout.directory) == metrics(whole.layout.directory)
    assert before.items() <= written(rest.layout.directory).items()
    assert [point.values for point in rest.ranking] == [point.values for point in whole.ranking]


def test_the_objective_says_which_evaluation_is_best(tmp_path: Path) -> None:
    by_loss = swept(tmp_path, grid=LR, objective={"metric": "val/loss"})
    assert [trial.run.summary["best"]["metric"] for trial in by_loss.trials] == ["val/loss"] * 3
    assert by_loss.ranking[0].mean == min(point.mean for point in by_loss.ranking)
    by_accuracy = swept(tmp_path, grid=LR)  # of the same runs, which another objective does not change
    for point in by_accuracy.ranking:
        accuracies = [row["val/accuracy"] for row in rows(point.runs[0] / "metrics.jsonl") if "val/accuracy" in row]
        assert point.values == (max(accuracies),)
    optrun.resume(by_loss.trials[0].directory, {"epochs": 3})
    assert read(by_loss.trials[0].directory).summary["best"]["metric"] == "val/loss"


def test_what_only_torch_can_judge_is_judged_before_anything_runs(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, BASE, grid={"optimizer": [{"name": "SGD"}, {"name": "Muon"}], "optimizer.lr": [0.1]})
    for executor in EXECUTORS:
        with pytest.raises(ConfigError) as caught:
            optrun.sweep(path, executor=executor, runs_dir=tmp_path / "runs")
        (problem,) = caught.value.problems
        assert (problem.source, problem.key) == (str(path), "optimizer")
        assert problem.line == 1
        assert SweepLayout(tmp_path / "runs" / "s").trials() == {}


def test_dry_run_lists_the_trials_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_sweep(tmp_path, BASE, grid={"optimizer.lr": [0.1, 0.1, 0.3]}, seeds=2)
    arguments = ["sweep", str(path), "--dry-run", "--runs-dir", str(tmp_path / "runs")]
    assert command(arguments) == 0
    out, err = capsys.readouterr()
    assert [line.split()[1] for line in out.splitlines()] == ["planned"] * 4
    assert "4 trials, 4 to be run; 2 more are equal to one of these" in err
    assert not (tmp_path / "runs").exists()
    optrun.sweep(path, {"epochs": 1}, grid={"optimizer.lr": [0.1]}, executor="inline", runs_dir=tmp_path / "runs")
    arguments.append("epochs=1")
    assert command([*arguments, "--json"]) == 0
    trials = json.loads(capsys.readouterr().out)
    assert [trial["status"] for trial in trials] == ["completed", "completed", "planned", "planned"]
    assert trials[0]["settings"] == {"optimizer.lr": 0.1}
    assert Path(trials[0]["path"]).is_dir()


def test_json_and_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path / "q.yaml", BASE)
    arguments = ["sweep", str(config), "--grid", "optimizer.lr=0.1,0.3", "--seeds", "2", "--quiet"]
    arguments += ["--runs-dir", str(tmp_path / "runs"), "--executor", "inline"]
    assert command([*arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert err == ""
    assert (result["metric"], result["mode"], result["counts"]) == ("val/accuracy", "max", {"completed": 4})
    first = result["points"][0]
    assert math.isclose(first["mean"], sum(first["values"]) / 2)
    assert first["n"] == 2
    assert all(Path(run).is_dir() for run in first["runs"])
    assert command(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "runs" / "q")


def test_a_fast_trial_reports_no_more_than_anyone_reads(tmp_path: Path) -> None:
    """Each report takes the driver a moment, on a core that a worker wants."""
    spec = load_sweep(write_sweep(tmp_path, {**BASE, "epochs": 60})).points[0].trials[0]
    started = time.monotonic()
    *reports, end = train_trial(Task(spec, tmp_path / "runs" / "t", "sweep"))
    most = 1 + (time.monotonic() - started) / BETWEEN_REPORTS
    assert end == Ended("completed")
    assert isinstance(reports[0], Progressed)
    assert 3 <= len(reports) <= 1 + 2 * most  # the beginning, training and evaluations
    assert {"train/loss", "val/accuracy"} <= reports[-1].values.keys()


def test_one_process_drives_a_sweep(tmp_path: Path) -> None:
    swept(tmp_path, grid=LR)
    with Lock(tmp_path / "runs" / "s"), pytest.raises(RunLocked, match="in use by process"):
        swept(tmp_path, grid=LR)


def test_a_trial_that_waits_for_another_process_hears_of_a_signal(tmp_path: Path) -> None:
    spec = load_sweep(write_sweep(tmp_path)).points[0].trials[0]
    tasks = [Task(spec, tmp_path / name, "s") for name in ("a", "b")]
    [*train_trial(tasks[0])]
    with Lock(tmp_path / "a"), StopRequest():
        StopRequest.ask(signal.SIGINT)
        assert [*train_trial(tasks[0])] == [Ended("interrupted")]
        ends = [
            (number, said) for number, said in train_group(GroupTask((*tasks,), 1, False)) if isinstance(said, Ended)
        ]
        assert ends == [(0, Ended("interrupted")), (1, Ended("interrupted"))]


@pytest.mark.parametrize(("host", "patience"), [(platform.node(), 60), ("node-17", 150)])
def test_a_dead_machine_is_waited_for_longer(
    host: str, patience: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a file server has not yet given up is a lock of a trial, or of a group."""
    spec = load_sweep(write_sweep(tmp_path)).points[0].trials[0]
    task, now = Task(spec, tmp_path / "a", "s"), [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: now.__setitem__(0, now[0] + 1))
    monkeypatch.setattr("optrun.sweeps.work.time", clock)
    (tmp_path / "a").mkdir()
    with Lock(tmp_path / "a"):
        (tmp_path / "a" / ".lock").write_text(f"process 1 on {host}")
        assert [said.status for said in train_trial(task) if isinstance(said, Ended)] == ["failed"]
    assert now[0] == pytest.approx(patience, abs=2)
    with GroupLock(tmp_path, ["a"]) as lock:
        lock.path.write_text(f"process 1 on {host}\na\n")
        assert [said.status for said in train_trial(task) if isinstance(said, Ended)] == ["failed"]
    assert now[0] == pytest.approx(2 * patience, abs=4)


def test_a_run_in_the_place_of_the_sweep(tmp_path: Path) -> None:
    optrun.train(write_config(tmp_path / "c.yaml", {**BASE, "epochs": 1}), run_dir=tmp_path / "runs" / "s")
    with pytest.raises(UsageError, match="is a run; give the sweep another name"):
        swept(tmp_path, grid=LR)


def test_a_mangled_trial_is_mended(tmp_path: Path) -> None:
    sweep = swept(tmp_path, grid=LR)
    before = metrics(sweep.layout.directory)
    mangled, torn, without = (trial.directory for trial in sweep.trials)
    (mangled / "config.yaml").write_text("{{{")
    (mangled / "summary.json").write_text("half of a")
    (torn / "summary.json").write_bytes(b"")
    (torn / "checkpoints" / "last.pt").write_bytes(b"PK")
    (without / "summary.json").unlink()
    (without / "metrics.jsonl").write_bytes(b'{"step": 1, "epo')
    again = swept(tmp_path, grid=LR)
    assert again.counts == {"completed": 3}
    assert metrics(again.layout.directory) == before


@pytest.mark.parametrize("left", ["", "{{{", "[1, 2]", "name: half a config\n", "optimizer: {name: SGD, lr: 0.2}\n"])
def test_a_trial_that_goes_on_is_what_the_plan_says(
    left: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever has become of its config.yaml meanwhile."""
    path = write_sweep(tmp_path, BASE, grid=LR)
    spec = load_sweep(path).points[0].trials[0]
    directory = SweepLayout(tmp_path / "runs" / "s").trial(spec.name, spec.config_hash(), 8)
    *_, end = train_trial(Task(spec, directory, "interrupted", until=1))
    assert end == Ended("paused")
    (directory / "config.yaml").write_text(left)
    assert command(["sweep", str(path), "--executor", "inline", "--runs-dir", str(tmp_path / "runs")]) == 0
    assert "its config.yaml was not what the plan says, and is written again" in capfd.readouterr().err
    assert [resume["step"] for resume in read(directory).environment["resumes"]] == [6]
    assert read(directory).config["optimizer"] == {"name": "SGD", "lr": 0.03}
    whole = swept(tmp_path / "whole", grid=LR)
    assert metrics(tmp_path / "runs" / "s") == metrics(whole.layout.directory)
