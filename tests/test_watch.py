"""`optrun watch`: what is seen of sweeps and runs that other processes train, while they go on, die and end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from comparing import write_run
from experiments import write_config
from sweeping import BASE, optrun, write_sweep
from terminals import on_terminal
from test_sweep_crashes import running, started, wait_until

from optrun.runs.lock import Lock
from optrun.sweeps.executors.slurm.claims import Claims
from optrun.sweeps.executors.slurm.reports import Began, Outbox, Over
from optrun.sweeps.pace import PaceOfRecords
from optrun.sweeps.tasks import Ended
from optrun.sweeps.watching import Watched

LONG = {**BASE, "epochs": 400, "log_every": 10, "checkpoint_every": 20}
"""A trial of about a second."""
GRID = {"optimizer.lr": [0.01, 0.1, 0.3]}


def once(folder: Path, *arguments: str | Path) -> dict[str, Any]:
    done = optrun(folder, "watch", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def watching(folder: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "optrun", "watch", *map(str, arguments)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def files(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def elsewhere(run: Path, ago: float) -> None:
    """Make of a run one that goes on, or went on, on a machine whose locks are not seen here."""
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "status": "running"}))
    (run / ".lock").write_text("process 1234 on node-17")
    for path in run.rglob("*"):
        os.utime(path, (time.time() - ago,) * 2)


def test_a_sweep_is_followed_to_its_end(tmp_path: Path) -> None:
    path, sweep = write_sweep(tmp_path, LONG, grid=GRID, seeds=2), tmp_path / "runs" / "s"
    with running(started(tmp_path, path)) as driver:
        wait_until(lambda: [*sweep.glob("*/summary.json")] or driver.poll() is not None)
        with running(watching(tmp_path, sweep)) as watch:
            assert watch.stderr
            assert watch.stderr.readline().startswith(f"{sweep}: 6 trials, ")
            wait_until(lambda: driver.poll() is not None)
            out, err = watch.communicate(timeout=60)
    assert watch.returncode == 0, err
    assert err.splitlines()[-1].startswith("[6/6] lr ")
    assert out.splitlines()[-1] == f"{sweep} is done"
    told = driver.communicate()[0].splitlines()
    assert [*map(str.split, out.splitlines()[:-1])] == [*map(str.split, told[:-1])]
    before = files(sweep)
    assert once(tmp_path, "s")["counts"] == {"completed": 6}
    assert files(sweep) == before


def test_what_is_told_of_trials_that_run(tmp_path: Path) -> None:
    path, sweep = write_sweep(tmp_path, {**LONG, "epochs": 100_000}, grid=GRID), tmp_path / "runs" / "s"
    with running(started(tmp_path, path)) as driver:
        wait_until(lambda: len([*sweep.glob("*/checkpoints/last.pt")]) == 2 or driver.poll() is not None)
        found = once(tmp_path, sweep)
        shown = optrun(tmp_path, "watch", "--once", sweep).stdout.splitlines()
        wide = on_terminal(["watch", "--once", str(sweep)], 110).splitlines()
        narrow = on_terminal(["watch", "--once", str(sweep)], 60).splitlines()
        driver.kill()
        driver.wait()
    assert (found["state"], found["planned"], found["due"]) == ("running", 3, 3)
    assert found["counts"] == {"running": 2, "planned": 1}
    assert found["seconds_left"] > 0
    for trial in found["running"]:
        assert 0 < trial["epoch"] < trial["total_steps"] == 6 * 100_000
        assert trial["status"] == "running"
        assert trial["steps_per_second"] > 0
        assert trial["values"].keys() >= {"train/loss", "val/loss", "val/accuracy"}
    assert [line.split(", ")[0] for line in shown[:2]] == ["lr 0.01", "lr 0.1"]
    assert shown[-1] == f"{sweep} goes on: 3 of 3 trials are not done"
    assert "2 running, 1 planned" in shown
    assert "steps/s" in wide[0]
    assert "steps/s" not in narrow[0]
    assert max(map(len, narrow[:3])) <= 60


def test_a_killed_sweep_has_stopped(tmp_path: Path) -> None:
    path, sweep = write_sweep(tmp_path, {**LONG, "epochs": 100_000}, grid=GRID), tmp_path / "runs" / "s"
    with running(started(tmp_path, path)) as driver:
        wait_until(lambda: len([*sweep.glob("*/checkpoints/last.pt")]) == 2 or driver.poll() is not None)
        with running(watching(tmp_path, sweep)) as watch:
            assert watch.stderr
            assert "2 running" in watch.stderr.readline()
            os.killpg(driver.pid, signal.SIGKILL)
            out, err = watch.communicate(timeout=60)
    assert watch.returncode == 0, err
    assert out.splitlines()[-1] == f"{sweep} has stopped: 3 of 3 trials are not done"
    found = once(tmp_path, sweep)
    assert (found["state"], found["counts"]) == ("stopped", {"interrupted": 2, "planned": 1})


def test_on_a_terminal_it_ends_with_the_ranking(tmp_path: Path) -> None:
    done = optrun(tmp_path, "sweep", write_sweep(tmp_path, grid=GRID), "--executor", "inline", "-q")
    shown = on_terminal(["watch", str(tmp_path / "runs" / "s")], 90)
    for line in done.stdout.splitlines()[:-1]:
        assert line.rstrip() in shown
    assert shown.rstrip().endswith("runs/s is done")


def test_a_pruned_and_a_searched_sweep_are_done(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"grid": GRID, "prune": {"min_epochs": 1, "eta": 2}}
    assert optrun(tmp_path, "sweep", write_sweep(tmp_path, **keys), "--executor", "inline").returncode == 0
    found = once(tmp_path, "s")
    assert (found["state"], found["due"], found["counts"]) == ("completed", 0, {"completed": 2, "pruned": 1})
    search = {"sampler": "tpe", "trials": 3, "space": {"optimizer.lr": {"log": [0.01, 1]}}}
    path = write_sweep(tmp_path, {**BASE, "epochs": 1}, name="searched", search=search)
    assert optrun(tmp_path, "sweep", path, "--executor", "inline").returncode == 0
    assert once(tmp_path, "searched")["counts"] == {"completed": 3}
    best = optrun(tmp_path, "watch", "searched", "--once").stdout.splitlines()[1]
    assert best.startswith("3 completed  best val/accuracy 0.")
    assert "(lr 0." in best
    everything = once(tmp_path)
    assert (everything["state"], everything["counts"]) == ("completed", {"completed": 5, "pruned": 1})


def test_runs_of_another_machine_are_judged_by_their_signs_of_life(tmp_path: Path) -> None:
    for name, ago in (("r-1", 5.0), ("r-2", 3600.0)):
        elsewhere(write_run(tmp_path / name, [0.5, 0.6]), ago)
    found = once(tmp_path, tmp_path)
    assert (found["state"], found["counts"]) == ("running", {"running": 1, "silent": 1})
    assert [trial["status"] for trial in found["running"]] == ["running", "silent"]
    one = once(tmp_path, tmp_path / "r-2")
    assert (one["state"], one["seconds_left"]) == ("silent", None)
    shown = optrun(tmp_path, "watch", tmp_path / "r-2", "--once").stdout
    assert "no sign of life  since " in shown
    assert shown.splitlines()[-1].startswith(f"{tmp_path / 'r-2'} has given no sign of life since ")
    (tmp_path / "r-2" / ".lock").write_text(f"process 1 on {os.uname().nodename}")
    assert once(tmp_path, tmp_path / "r-2")["counts"] == {"interrupted": 1}


def test_a_trial_that_is_pruned_meanwhile_is_done(tmp_path: Path) -> None:
    elsewhere(write_run(tmp_path / "r-1", [0.5]), 5.0)
    watched = Watched(tmp_path)
    [*watched.look()]
    assert (watched.due, watched.counts, watched.is_over) == (1, {"running": 1}, False)
    (tmp_path / "r-1" / "summary.json").write_text('{"status": "pruned"}')
    assert [report.status for _, report in watched.look() if isinstance(report, Ended)] == ["pruned"]
    assert (watched.due, watched.counts, watched.state) == (0, {"pruned": 1}, "completed")


def test_a_trial_at_a_rung_has_not_ended(tmp_path: Path) -> None:
    sweep = tmp_path / "s"
    elsewhere(write_run(sweep / "t-1", [0.5]), 5.0)
    write_config(sweep / "sweep.yaml", {"name": "s"})
    watched = Watched(sweep)
    with Lock(sweep):
        [*watched.look()]
        (sweep / "t-1" / "summary.json").write_text('{"status": "interrupted"}')
        assert [report for _, report in watched.look()] == [Ended("paused")]
        assert (watched.counts, watched.state, [*watched.look()]) == ({"interrupted": 1}, "running", [])
    assert watched.state == "stopped"


def test_half_written_and_missing_files_are_waited_for(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r-1", [0.5, 0.6])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('mangled\n{"step": 30, "ep')
    elsewhere(run, 5.0)
    write_run(tmp_path / "r-2", [0.5])
    watched = Watched(tmp_path)
    [(trial, progress)] = watched.look()
    assert (trial.directory, progress.step, progress.epoch, progress.total_steps) == (run, 20, 2, 40)  # type: ignore
    for file in (run / "metrics.jsonl", run / "summary.json", tmp_path / "r-2" / "config.yaml", run / "config.yaml"):
        file.unlink()
        [*watched.look()]
        assert watched.planned == 2


def test_a_run_that_was_removed_is_to_be_made_again(tmp_path: Path) -> None:
    write_run(tmp_path / "r-1", [0.5, 0.6])
    elsewhere(write_run(tmp_path / "r-2", [0.5, 0.6]), 3600.0)
    watched = Watched(tmp_path)
    pace = PaceOfRecords(watched)
    for event in watched.look():
        pace.heard(*event)
    assert watched.counts == {"completed": 1, "silent": 1}
    for run in ("r-1", "r-2"):
        shutil.rmtree(tmp_path / run)
    told = [*watched.look()]
    for event in told:
        pace.heard(*event)
    assert [report for _, report in told] == [Ended("planned", "its directory is gone")] * 2
    assert (watched.counts, watched.state, pace.best, pace.left) == ({"planned": 2}, "stopped", None, None)
    assert [point.values for point in watched.ranking] == [(), ()]
    assert [*watched.look()] == []


def test_jobs_that_have_ended_are_not_waited_for(tmp_path: Path) -> None:
    """Their driver is gone, and has left it to the next one to hear of their end."""
    done = optrun(tmp_path, "sweep", write_sweep(tmp_path, grid=GRID), "--executor", "inline", "-q")
    assert done.returncode == 0, done.stderr
    sweep = tmp_path / "runs" / "s"
    shutil.rmtree(next(sweep.glob("t-*")))
    claims = Claims(sweep / ".slurm")
    both = [claims.submitted(claims.make(key, [f"t-{key}"]), "7") for key in ("1", "2")]
    Outbox(claims.reports(both[0])).put(Over())
    Outbox(claims.reports(both[1])).put(Began("7"))
    shown = optrun(tmp_path, "watch", "s", "--once").stdout.splitlines()[-1]
    assert shown == "runs/s has no driver, but 1 job that may be queued or running: 1 of 3 trials is not done"
    Outbox(claims.reports(both[1])).put(Over())
    assert once(tmp_path, "s")["state"] == "stopped"


def test_a_sweep_of_unknown_components_is_shown_by_its_runs(tmp_path: Path) -> None:
    sweep = tmp_path / "s"
    write_run(sweep / "t-1", [0.5], config={"model.name": "theirs"})
    base = json.loads(json.dumps({**BASE, "model": {"name": "theirs"}}))
    write_config(sweep / "sweep.yaml", {"name": "s", "base": base, "grid": GRID})
    done = optrun(tmp_path, "watch", sweep, "--once")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"{sweep} is done")
    assert "its plan cannot be read, and what it has begun is shown" in done.stderr
    assert "theirs" in done.stderr


def test_it_waits_for_the_first_run(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with running(watching(tmp_path)) as watch:
        assert watch.stderr
        assert watch.stderr.readline() == "there are no runs in runs yet\n"
        write_run(tmp_path / "made", [0.5])
        (tmp_path / "made").rename(tmp_path / "runs" / "made")
        out, _ = watch.communicate(timeout=60)
    assert (watch.returncode, out) == (0, "runs is done\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--once"], "there are no runs in runs yet\n"),
        (["rnus"], "there is no rnus; did you mean runs?\n"),
        (["--json", "runs/s"], "there is no run runs/s: runs holds no runs\n"),
    ],
)
def test_what_is_not_there_is_a_sentence(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    done = optrun(tmp_path, "watch", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
