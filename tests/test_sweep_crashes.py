"""Sweeps whose processes are killed: nothing is lost, nothing is doubled, and the numbers stay the same."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from processes import assert_dead, descendants
from sweeping import BASE, metrics, optrun, statuses, write_sweep, written

SLOW = {**BASE, "epochs": 12, "log_every": 1, "checkpoint_every": 1}
"""A trial of 72 steps, with a checkpoint after each epoch."""
GRID = {"optimizer.lr": [0.01, 0.03, 0.1, 0.3], "optimizer.momentum": [0.0, 0.5, 0.9], "clip_norm": [None, 1.0]}
TRIALS = 24
DEADLINE = 120.0


def started(folder: Path, *arguments: str | Path, jobs: int = 2, executor: str = "pool") -> subprocess.Popen[str]:
    """`optrun sweep` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "optrun", "sweep", *map(str, arguments), "--executor", executor, "--jobs", str(jobs)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(condition: Callable[[], Any]) -> Any:
    """Look again and again until there is something."""
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, "it never came to that"
        select.select([], [], [], 0.01)
    return found


def rows_in(sweep: Path) -> int:
    """Bytes of metrics in all trials: how far the sweep is."""
    return sum(path.stat().st_size for path in sweep.glob("*/metrics.jsonl"))


def is_so_far(sweep: Path, size: float, driver: subprocess.Popen[str]) -> bool:
    return rows_in(sweep) > size or driver.poll() is not None


def kill_a_worker(sweep: Path) -> bool:
    """One that is at a trial, if any is. It is stopped first: between two trials nothing would be lost by its death."""
    for lock in sweep.glob("*/.lock"):
        if words := lock.read_text().split():
            pid = int(words[1])
            os.kill(pid, signal.SIGSTOP)
            is_at_it = lock.read_text().split() == words
            os.kill(pid, signal.SIGKILL if is_at_it else signal.SIGCONT)
            if is_at_it:
                return True
    return False


@contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The rows of every trial of a sweep that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = optrun(folder, "sweep", write_sweep(folder, SLOW, grid=GRID), "--executor", "inline", "-q")
    assert done.returncode == 0, done.stderr
    return metrics(folder / "runs" / "s")


def test_a_driver_killed_five_times(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    path, sweep = write_sweep(tmp_path, SLOW, grid=GRID), tmp_path / "runs" / "s"
    whole = sum(len(json.dumps(row)) + 30 for rows in undisturbed.values() for row in rows)
    dice = random.Random(5)
    for _ in range(5):
        with running(started(tmp_path, path)) as driver:
            enough = rows_in(sweep) + dice.uniform(0.02, 0.15) * whole
            wait_until(partial(is_so_far, sweep, enough, driver))
            others = descendants(driver.pid)
            driver.kill()
            driver.wait()
            assert_dead(others)  # its workers end by themselves
    assert statuses(sweep) != ["completed"] * TRIALS
    done = optrun(tmp_path, "sweep", path, "--executor", "pool", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert statuses(sweep) == ["completed"] * TRIALS
    assert metrics(sweep) == undisturbed


def test_a_worker_killed_once(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    path, sweep = write_sweep(tmp_path, SLOW, grid=GRID), tmp_path / "runs" / "s"
    with running(started(tmp_path, path)) as driver:
        wait_until(lambda: (rows_in(sweep) > 2000 and kill_a_worker(sweep)) or driver.poll() is not None)
        _, said = driver.communicate(timeout=DEADLINE)
    assert driver.returncode == 0, said
    assert "killed by signal 9" in said
    assert metrics(sweep) == undisturbed


def test_a_trial_that_kills_its_worker_fails_alone(tmp_path: Path) -> None:
    parts = tmp_path / "parts.py"
    parts.write_text(
        "import os, signal, optrun, torch\n"
        "@optrun.models.register\n"
        "def own(data, *, size: int = 4):\n"
        "    class Own(torch.nn.Linear):\n"
        "        def forward(self, x):\n"
        "            if size == 5 and self.training: os.kill(os.getpid(), signal.SIGKILL)\n"
        "            return super().forward(x.flatten(1))\n"
        "    return Own(64, 10)\n"
    )
    path = write_sweep(tmp_path, {**BASE, "model": "own"}, grid={"model.size": [4, 5, 6, 7]})
    arguments = ["sweep", path, "--executor", "pool", "--jobs", "2", "--import", parts]
    done = optrun(tmp_path, *arguments)
    assert done.returncode == 4, done.stderr
    sweep = tmp_path / "runs" / "s"
    assert statuses(sweep) == ["completed"] * 3 + ["failed"]
    failed = next(p for p in sweep.glob("*/summary.json") if json.loads(p.read_text())["status"] == "failed")
    assert "killed by signal 9" in json.loads(failed.read_text())["error"]
    assert "killed by signal 9" in (failed.parent / "error.txt").read_text()
    before = written(sweep)
    assert optrun(tmp_path, *arguments).returncode == 4
    assert written(sweep) == before


def test_the_process_that_starts_workers_is_killed(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    """The sweep ends, but what runs is saved first."""
    path, sweep = write_sweep(tmp_path, {**SLOW, "checkpoint_every": "auto"}, grid=GRID), tmp_path / "runs" / "s"
    with running(started(tmp_path, path)) as driver:
        wait_until(lambda: rows_in(sweep) > 4000)
        others = descendants(driver.pid)
        os.kill(min(others), signal.SIGKILL)
        _, said = driver.communicate(timeout=DEADLINE)
        assert driver.returncode == 1, said
        assert_dead(others)
    assert "the process that starts workers was killed by signal 9" in said
    assert set(statuses(sweep)) <= {"completed", "interrupted"}
    for summary in sweep.glob("*/summary.json"):
        assert (summary.parent / "checkpoints" / "last.pt").exists()
    done = optrun(tmp_path, "sweep", path, "--executor", "inline")
    assert done.returncode == 0, done.stderr
    assert metrics(sweep) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_checkpoints_what_runs(undisturbed: dict[str, Any], tmp_path: Path, number: int) -> None:
    slow = {**SLOW, "checkpoint_every": "auto"}
    path, sweep = write_sweep(tmp_path, slow, grid=GRID), tmp_path / "runs" / "s"
    with running(started(tmp_path, path)) as driver:
        wait_until(lambda: rows_in(sweep) > 4000)
        others = descendants(driver.pid)
        os.kill(driver.pid, number)
        out, said = driver.communicate(timeout=DEADLINE)
        assert driver.returncode == 128 + number, said
        assert_dead(others)
    assert "the same command goes on from here" in said
    assert out.splitlines()[-1] == "runs/s"
    assert set(statuses(sweep)) <= {"completed", "interrupted"}
    for summary in sweep.glob("*/summary.json"):
        assert (summary.parent / "checkpoints" / "last.pt").exists()
    done = optrun(tmp_path, "sweep", path, "--executor", "inline")
    assert done.returncode == 0, done.stderr
    assert metrics(sweep) == undisturbed


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    parts = tmp_path / "parts.py"
    parts.write_text(
        "import optrun, pathlib, threading, torch\n"
        "@optrun.models.register\n"
        "def stuck(data):\n"
        "    class Stuck(torch.nn.Linear):\n"
        "        def forward(self, x):\n"
        "            if self.training:\n"
        "                pathlib.Path('stuck').touch()\n"
        "                threading.Event().wait()\n"
        "            return super().forward(x.flatten(1))\n"
        "    return Stuck(64, 10)\n"
    )
    path = write_sweep(tmp_path, {**BASE, "model": "stuck"}, grid={"optimizer.lr": [0.1, 0.2]})
    with running(started(tmp_path, path, "--import", parts)) as driver:
        wait_until((tmp_path / "stuck").exists)
        others = descendants(driver.pid)
        os.kill(driver.pid, signal.SIGINT)
        for line in driver.stderr or ():
            if "stopping" in line:
                break
        os.kill(driver.pid, signal.SIGINT)
        driver.communicate(timeout=DEADLINE)
        assert driver.returncode == 130
        assert_dead(others)
