"""One run on many processes: what it computes, what it leaves, and what becomes of it when one of them dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ranks_matrix
import torch
import yaml

from optrun.cli.together import launched
from optrun.config.loading import load
from optrun.errors import UsageError
from optrun.training.ranks import Ranks, joined

TESTS = Path(__file__).parent
EPSILON = 2.0**-24
"""Half the distance of a float32 from 1 to the next one: the largest relative error of a float32 addition."""

CONFIG: dict[str, Any] = {
    "name": "digits",
    "steps": 60,
    "log_every": 1,
    "device": "cpu",
    "threads": 1,
    "checkpoint_every": {"steps": 10},
    "eval_every": {"steps": 20},
    "dataset": {"name": "digits", "batch_size": 65},
    "model": {"name": "mortal"},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "AdamW", "lr": 0.003},
    "scheduler": {"name": "CosineAnnealingLR", "interval": "step"},
    "clip_norm": 1.0,
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "digits.yaml"
    file.write_text(yaml.safe_dump(CONFIG))
    return file


def optrun(*arguments: object, mortal: bool = False, **environment_too: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own, with the model of `ranks_parts.py`."""
    environment = os.environ | environment_too | ({"MORTAL": "1"} if mortal else {})
    command = [sys.executable, "-m", "optrun", *map(str, arguments), "--import", str(TESTS / "ranks_parts.py")]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


def rows(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the times."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "time"} for line in lines]


def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


def environment(run: Path) -> dict[str, Any]:
    return json.loads((run / "environment.json").read_text())


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"]


def assert_same(run: Path, other: Path) -> None:
    assert rows(run) == rows(other)
    pairs = zip(weights(run).items(), weights(other).items())
    assert all(name == again and torch.equal(one, two) for (name, one), (again, two) in pairs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run on two processes that nobody disturbs."""
    directory = tmp_path_factory.mktemp("whole")
    file = directory / "digits.yaml"
    file.write_text(yaml.safe_dump(CONFIG))
    done = optrun("train", file, "--nproc", 2, "--run-dir", directory / "run", LISTENERS=str(directory / "listeners"))
    assert (done.returncode, done.stdout) == (0, f"{directory / 'run'}\n"), done.stderr
    return directory / "run"


def test_losses_are_those_of_one_process(tmp_path: Path) -> None:
    """At step k every loss, gradient norm and metric is within k · 8 · 2⁻²⁴ of one process's, relatively: sums of some
    hundred numbers in another order, from weights that were summed so k times. (Steps before 1 count as 1.)"""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    ranks_matrix.train_all(tmp_path / "one")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, str(TESTS / "ranks_matrix.py"), str(tmp_path / "two")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    worst: dict[str, float] = {}
    for name in ranks_matrix.matrix():
        one, two = rows(tmp_path / "one" / name), rows(tmp_path / "two" / name)
        assert [list(row) for row in one] == [list(row) for row in two]
        for row, other in zip(one, two):
            assert (row["step"], row["epoch"], row.get("lr")) == (other["step"], other["epoch"], other.get("lr")), name
            for key in row.keys() - {"step", "epoch", "lr"}:
                error = abs(row[key] - other[key]) / (abs(row[key]) * EPSILON * row["step"])
                worst[name] = max(worst.get(name, 0.0), error)
        ends = [summary(tmp_path / which / name) for which in ("one", "two")]
        assert [environment(tmp_path / which / name)["processes"] for which in ("one", "two")] == [1, 2]
        assert ends[0]["steps"] == ends[1]["steps"]
    amplified = {"LBFGS"}  # its line searches and its memory make more of an error than one step does
    assert {name: error for name, error in worst.items() if error > 8 and name not in amplified} == {}
    assert worst["LBFGS"] < 8 * 100


def test_shares_hold_every_example_once() -> None:
    for rows_, size in ((64, 2), (65, 2), (3, 4), (1, 3), (1000, 7)):
        pieces = [range(rows_)[Ranks(rank, size).share(rows_)] for rank in range(size)]
        assert [row for piece in pieces for row in piece] == list(range(rows_))
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


def test_what_a_run_leaves(whole: Path) -> None:
    assert sorted(path.name for path in whole.iterdir()) == [
        *(".lock", "checkpoints", "config.yaml", "environment.json", "metrics.jsonl", "summary.json"),
    ]
    assert environment(whole)["processes"] == 2
    assert summary(whole)["samples_per_second"] * summary(whole)["train_time"] == pytest.approx(2 * 1438 + 14 * 65)
    assert [row["step"] for row in rows(whole) if "val/loss" in row] == [20, 40, 60]


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux says who listens")
def test_nothing_listens_beyond_this_machine(whole: Path) -> None:
    """Neither the processes nor the one that started them."""
    found = set((whole.parent / "listeners").read_text().split())
    assert found == {"0100007F"}  # 127.0.0.1


def test_a_signal_checkpoints_and_two_processes_resume_to_the_same_bits(config: Path, whole: Path) -> None:
    run = config.parent / "run"
    done = optrun("train", config, "--nproc", 2, "--run-dir", run, "model.what=SIGTERM", mortal=True)
    assert (done.returncode, done.stdout) == (143, f"{run}\n"), done.stderr
    assert done.stderr.endswith(f"interrupted; go on with `optrun resume {run} --nproc 2`\n")
    assert summary(run)["status"] == "interrupted"
    assert 30 <= summary(run)["steps"] < 60
    done = optrun("resume", run, "--nproc", 2)
    assert done.returncode == 0, done.stderr
    assert_same(run, whole)


def test_a_killed_process_ends_the_run_and_it_resumes_to_the_same_bits(config: Path, whole: Path) -> None:
    run = config.parent / "run"
    done = optrun("train", config, "--nproc", 2, "--run-dir", run, mortal=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"process 1 of 2 was killed by SIGKILL; go on with `optrun resume {run} --nproc 2`"
    )
    assert "Traceback" not in done.stderr
    assert summary(run)["status"] == "failed"
    done = optrun("resume", run, "--nproc", 2)
    assert done.returncode == 0, done.stderr
    assert_same(run, whole)


def test_a_killed_process_is_started_again(config: Path, whole: Path) -> None:
    run = config.parent / "run"
    options = ("--nproc", 2, "--max-restarts", 1, "--run-dir", run, "model.rank=0")
    done = optrun("train", config, *options, mortal=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, str(run)), done.stderr
    assert_same(run, whole)
    assert len(json.loads((run / "environment.json").read_text())["resumes"]) == 1


def test_another_number_of_processes_goes_on(config: Path) -> None:
    """From one to two, which share its weights (one of them in two places) and what the optimizer knows, and back to
    one: within float32 error what one process computes, without dropout."""
    changes = ("model={name: tied}", "scheduler=null")
    run, alone = config.parent / "run", config.parent / "alone"
    assert optrun("train", config, *changes, "steps=20", "--run-dir", run).returncode == 0
    for nproc, steps, how in ((2, 40, "fsdp"), (1, 60, "ddp")):
        done = optrun("resume", run, f"steps={steps}", f"distributed={how}", "--nproc", nproc)
        assert done.returncode == 0, done.stderr
        assert f"the number of processes was {3 - nproc} and is {nproc}: bits may differ" in done.stderr
        assert environment(run)["processes"] == nproc
    assert optrun("train", config, *changes, "--run-dir", alone).returncode == 0
    for row, other in zip(rows(run), rows(alone), strict=True):
        assert row == pytest.approx(other, rel=60 * 8 * EPSILON)


def test_what_cannot_be_shared_is_refused(config: Path) -> None:
    """All of it at once, by one process, and nothing is written."""
    changes = ("dataset.batch_size=1", "sync_batch_norm=true", "distributed=fsdp", "optimizer={name: LBFGS}")
    done = optrun("train", config, "--nproc", 2, "--runs-dir", config.parent / "runs", *changes)
    assert (done.returncode, done.stdout) == (2, "")
    assert sorted(done.stderr.splitlines()) == [
        "override dataset.batch_size=1: dataset.batch_size: must be at least 2, the number of processes that share a "
        "batch, not 1",
        "override optimizer={name: LBFGS}: optimizer: LBFGS evaluates the whole model, and fsdp gives each process a "
        "part of every weight; use distributed: ddp",
        "override sync_batch_norm=true: sync_batch_norm: torch's SyncBatchNorm works on GPUs only; set it to false",
    ]
    assert not list((config.parent / "runs").iterdir())


def test_what_one_process_cannot_build_ends_all(config: Path) -> None:
    done = optrun("train", config, "--nproc", 2, "--run-dir", config.parent / "run", "model.what=building")
    assert done.returncode == 1
    first, last = done.stderr.splitlines()
    assert first.startswith("process 1 of 2: ConfigError: ")
    assert "model: no room (ValueError at ranks_parts.py:" in first
    assert last == "process 0 of 2 has failed with exit code 1; nothing was trained"
    assert not (config.parent / "run").exists()


def test_what_is_behind_two_dashes_stays_there(config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[str] = []
    monkeypatch.setattr("optrun.experiment.launching.launch", lambda arguments, *_: given.extend(arguments) or 0)
    monkeypatch.setattr(sys, "argv", ["optrun", "train", str(config), "--", "steps=3"])
    launched(2, 0, load(config, {"model": "linear"}), None, tmp_path / "runs", "run-dir")
    assert [given[0], *given[2:]] == ["train", str(config), "--", "steps=3"]
    assert given[1].startswith(f"--run-dir={tmp_path / 'runs'}")


def test_a_process_has_to_know_which_one_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(UsageError, match=r"^WORLD_SIZE is 2 and there is no LOCAL_RANK to tell which"), joined("cpu"):
        pass


def test_wrong_numbers_are_refused(config: Path) -> None:
    assert optrun("train", config, "--nproc", 0).stderr == "--nproc must be from 1 to 1024, not 0\n"


def test_one_process_imports_nothing_of_this(config: Path) -> None:
    program = (
        "import sys, optrun; sys.argv = ['x']\n"
        f"optrun.train({str(config)!r}, ['model=linear', 'steps=2'], run_dir={str(config.parent / 'run')!r})\n"
        "found = [name for name in sys.modules if name.startswith(('optrun.training.parallel', 'optrun.training.shar',"
        " 'torch.distributed.fsdp', 'torch.distributed.elastic.agent', 'torch.distributed.launcher'))]\n"
        "assert not found, found\n"
        "import torch; assert not torch.distributed.is_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
