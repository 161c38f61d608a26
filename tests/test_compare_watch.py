"""`optrun compare` while runs go on: before anything has ended, and until nothing is running any more."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comparing import write_run
from experiments import DIGITS_MLP
from terminals import on_terminal

from optrun.cli.app import run

OPTRUN = [sys.executable, "-m", "optrun"]


@contextlib.contextmanager
def endless(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in `directory`/runs that trains until it is told to stop, and has been evaluated once."""
    config = {**DIGITS_MLP, "epochs": 100_000, "metrics": ["accuracy"], "log_every": 1000}
    (directory / "long.yaml").write_text(json.dumps(config))
    with subprocess.Popen(
        [*OPTRUN, "train", directory / "long.yaml", "--runs-dir", directory / "runs"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as training:
        assert training.stderr
        next(line for line in training.stderr if "val/accuracy" in line)
        try:
            yield training
        finally:
            training.send_signal(signal.SIGINT)
            training.communicate()


def watching(directory: Path) -> subprocess.Popen[str]:
    command = [*OPTRUN, "compare", "--watch", "--runs-dir", directory]
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def ended(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


def test_watch_ends_when_nothing_is_running(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / f"r-{seed}", [0.5 + seed / 100], seed=seed)
    shown = on_terminal(["compare", "--watch", "--runs-dir", str(tmp_path)], 120)
    assert shown.rstrip().endswith("nothing is running any more")


def test_watch_begins_before_anything_has_ended_and_sees_it_end(tmp_path: Path) -> None:
    with endless(tmp_path):
        watch = watching(tmp_path / "runs")
        assert watch.stdout
        seen = list(iter(watch.stdout.readline, "1 still running\n"))
    assert "no run has ended yet.\n" in seen
    assert "nothing is running any more" in ended(watch)


def test_watch_waits_for_the_first_run(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    watch = watching(tmp_path / "runs")
    assert watch.stdout
    assert watch.stdout.readline() == f"there are no runs to compare in {tmp_path / 'runs'}\n"
    write_run(tmp_path / "made", [0.5])
    shutil.move(tmp_path / "made", tmp_path / "runs" / "made")
    assert "nothing is running any more" in ended(watch)


@pytest.mark.parametrize("extra", [[], ["--json"], ["--metric", "val/accuracy"], ["--target", "0.9"], ["--plot"]])
def test_where_nothing_has_ended_that_is_what_is_said(
    tmp_path: Path, extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        write_run(tmp_path / f"r-{seed}", [0.5], seed=seed, status="interrupted")
    assert run(["compare", "--runs-dir", str(tmp_path), *extra]) == 0
    out, err = capsys.readouterr()
    assert "o run has a result to compare" in out
    if extra == ["--json"]:
        found: dict[str, Any] = json.loads(out)
        assert [group["verdict"] for group in found["groups"]] == ["no result"]
    else:
        assert "it was interrupted (after epoch 1 of 4)" in err


def test_a_path_that_does_not_exist_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "opts" / "r-0", [0.5])
    assert run(["compare", str(tmp_path / "opst"), "--watch", "--runs-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"there is no {tmp_path / 'opst'}; did you mean {tmp_path / 'opts'}?\n"
