"""Sweeps on a real Ray cluster of two nodes on this machine, and on the one that a sweep starts for itself."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import assert_dead, descendants
from sweeping import BASE, metrics, optrun, statuses, write_sweep, written
from test_sweep_crashes import DEADLINE, GRID, SLOW, TRIALS, rows_in, running, wait_until

from optrun.errors import UsageError
from optrun.sweeps import sweep

SURROUNDINGS = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-the-tests"}
"""What Ray reads when it is imported: everything is at 127.0.0.1."""

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
"""A node is known to be lost after some three seconds, which is, as by default, later than its workers are missed."""

ALONE = {**SLOW, "optimizer": {"name": "SGD", "lr": 0.1, "foreach": True}}
"""What a stack of trials has no rule for: each is a task of its own."""

OWN = """\
import csv, os, random, sys, optrun, torch
if "ray" in sys.modules:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "", "no GPU is reserved, none is to be seen"
@optrun.models.register
def own(data, *, hidden: int = 8):
    return torch.nn.Sequential(torch.nn.Linear(3, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 2))
"""

TABLE = {"name": "csv", "path": "/proc/self/cwd/own.csv", "target": "class", "batch_size": 32}
"""Where each process finds it in its own directory: the nodes' processes do not."""

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two nodes of one CPU each, with a temporary directory each. A test that removes one adds another."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SURROUNDINGS.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        made = Cluster()
        with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as short:  # as the names of sockets are in it
            made.add_node(**NODE, temp_dir=f"{short}/1", _system_config=QUICK)
            made.add_node(**NODE, temp_dir=f"{short}/2")
            yield made
            made.shutdown()


def on_ray(cluster: Any, *more: str | Path) -> list[str | Path]:
    return ["--executor", "ray", "--address", cluster.address, *more]


def started(directory: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    """`optrun sweep` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "optrun", "sweep", *map(str, arguments)],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The rows of every trial as the pool writes them."""
    where = tmp_path_factory.mktemp("undisturbed")
    done = optrun(where, "sweep", write_sweep(where, ALONE, grid=GRID), "--executor", "pool", "--jobs", "2", "-q")
    assert done.returncode == 0, done.stderr
    return metrics(where / "runs" / "s")


def assert_once(said: str) -> None:
    """Every trial has ended exactly once: one line for each."""
    lines = [line.partition("]")[2].split("  ")[0] for line in said.splitlines() if line[:1] == "[" and "/24] " in line]
    assert Counter(lines) == dict.fromkeys(lines, 1)
    assert len(lines) == TRIALS


def test_the_same_bits_as_in_the_pool(cluster: Any, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    """Trained as one in two groups, the same trials but for `foreach`, which changes no bit."""
    path = write_sweep(tmp_path, SLOW, grid=GRID)
    done = optrun(tmp_path, "sweep", path, *on_ray(cluster))
    assert done.returncode == 0, done.stderr
    assert_once(done.stderr)
    assert sorted(map(json.dumps, metrics(tmp_path / "runs" / "s").values())) == sorted(
        map(json.dumps, undisturbed.values())
    )
    before = written(tmp_path / "runs" / "s")
    assert optrun(tmp_path, "sweep", path, "--executor", "inline").returncode == 0
    assert written(tmp_path / "runs" / "s") == before


def test_a_node_is_lost(cluster: Any, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    path, sweep = write_sweep(tmp_path, ALONE, grid=GRID), tmp_path / "runs" / "s"
    lost = next(iter(cluster.worker_nodes))
    with running(started(tmp_path, path, *on_ray(cluster))) as driver:
        wait_until(lambda: rows_in(sweep) > 4000 or driver.poll() is not None)
        kill(lost)
        _, said = driver.communicate(timeout=DEADLINE)
    cluster.remove_node(lost)
    cluster.add_node(**NODE, temp_dir=lost._ray_params.temp_dir)
    assert driver.returncode == 0, said
    assert "its node left the cluster. It is tried once more" in said
    assert_once(said)
    assert metrics(sweep) == undisturbed
    assert statuses(sweep) == ["completed"] * TRIALS


def kill(node: Any) -> None:
    """As if its machine had been reset: its workers are missed before Ray knows that the node is lost."""
    for raylet in node.all_processes["raylet"]:
        for pid in [raylet.process.pid, *descendants(raylet.process.pid)]:
            os.kill(pid, signal.SIGKILL)


def test_the_driver_is_killed(cluster: Any, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    path, sweep = write_sweep(tmp_path, ALONE, grid=GRID), tmp_path / "runs" / "s"
    with running(started(tmp_path, path, *on_ray(cluster))) as driver:
        wait_until(lambda: rows_in(sweep) > 4000 or driver.poll() is not None)
        driver.kill()
        driver.communicate(timeout=DEADLINE)
    before = {name: when for name, when in written(sweep).items() if is_completed(sweep / name)}
    done = optrun(tmp_path, "sweep", path, *on_ray(cluster))
    assert done.returncode == 0, done.stderr
    assert metrics(sweep) == undisturbed
    assert statuses(sweep) == ["completed"] * TRIALS
    assert before.items() <= written(sweep).items()


def test_what_runs_is_saved_before_it_stops(cluster: Any, tmp_path: Path) -> None:
    """By SIGTERM, for which Ray has a handler of its own; none for SIGINT."""
    long = {**ALONE, "epochs": 100_000, "checkpoint_every": "auto"}
    path, sweep = write_sweep(tmp_path, long, grid={"optimizer.lr": [0.01, 0.02, 0.03]}), tmp_path / "runs" / "s"
    with running(started(tmp_path, path, *on_ray(cluster))) as driver:
        wait_until(lambda: len([*sweep.glob("*/metrics.jsonl")]) == 2 or driver.poll() is not None)
        driver.send_signal(signal.SIGTERM)
        _, said = driver.communicate(timeout=DEADLINE)
    assert driver.returncode == 143, said
    assert statuses(sweep) == ["interrupted"] * 2
    for run in sweep.glob("t-*"):
        assert (run / "checkpoints" / "last.pt").exists()


def is_completed(run: Path) -> bool:
    return json.loads((run / "summary.json").read_text())["status"] == "completed"


def test_own_files_and_halving(cluster: Any, tmp_path: Path) -> None:
    """A component and a table of the user's own, in a sweep in several goes."""
    (tmp_path / "parts.py").write_text(OWN)
    rows = [f"{i % 7},{i % 5},{i % 3},{'ab'[i % 2]}" for i in range(200)]
    (tmp_path / "own.csv").write_text("\n".join(["x,y,z,class", *rows]))
    base = {**BASE, "epochs": 4, "model": "own", "dataset": TABLE}
    sweep = {"grid": {"optimizer.lr": [0.01, 0.03, 0.1, 0.3]}, "prune": {"min_epochs": 1, "eta": 2}}
    found = {}
    for executor in ("inline", "ray"):
        where = tmp_path / executor
        arguments = on_ray(cluster) if executor == "ray" else ["--executor", "inline"]
        path = write_sweep(tmp_path, base, **sweep)
        given = [path, "--import", tmp_path / "parts.py", "--runs-dir", where, *arguments]
        done = optrun(tmp_path, "sweep", *given, "--json")
        assert done.returncode == 0, done.stderr
        found[executor] = (metrics(where / "s"), statuses(where / "s"), json.loads(done.stdout)["counts"])
    assert found["ray"] == found["inline"]
    assert found["ray"][2] == {"completed": 1, "pruned": 3}


def test_a_cluster_of_its_own_listens_on_the_loopback_interface_and_ends_with_the_sweep(tmp_path: Path) -> None:
    path, sweep = write_sweep(tmp_path, ALONE, grid=GRID), tmp_path / "runs" / "s"
    with running(started(tmp_path, path, "--executor", "ray")) as driver:
        wait_until(lambda: rows_in(sweep) > 2000 or driver.poll() is not None)
        others = descendants(driver.pid)
        heard_at = listening({driver.pid, *others})
        others = {pid for pid in others if b"Agent" not in Path(f"/proc/{pid}/cmdline").read_bytes()}  # in a minute
        driver.kill()
        driver.communicate(timeout=DEADLINE)
    assert len(heard_at) > 3
    assert set(heard_at) == {"127.0.0.1"}
    assert_dead(others)


def listening(pids: set[int]) -> list[str]:
    """The addresses that processes listen at, IPv4 ones as such."""
    own = set()
    for pid in pids:
        for file in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                own.add(os.readlink(file))
            except OSError:  # closed meanwhile
                continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                address = fields[1].partition(":")[0][-8:]
                found.append(".".join(str(byte) for byte in reversed(bytes.fromhex(address))))
    return found


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"executor": "pool", "cpus": 2}, "address, cpus and gpus are for --executor ray"),
        ({"executor": "ray", "cpus": 0}, "a trial cannot need 0 CPUs and 0 GPUs"),
        ({"executor": "ray", "address": "ray://there:10001"}, "the driver of a sweep is part of the cluster"),
    ],
)
def test_what_cannot_be(arguments: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = write_sweep(tmp_path, grid={"optimizer.lr": [0.1, 0.2]})
    with pytest.raises(UsageError, match=sentence):
        sweep(path, runs_dir=tmp_path / "runs", **arguments)
    assert not (tmp_path / "runs").exists()


def test_more_than_any_node_has(cluster: Any, tmp_path: Path) -> None:
    path = write_sweep(tmp_path, grid={"optimizer.lr": [0.1, 0.2]})
    done = optrun(tmp_path, "sweep", path, *on_ray(cluster, "--cpus", "3", "--gpus", "0.5"))
    assert done.returncode == 2
    assert "no node of the Ray cluster has 3 CPUs and 0.5 GPUs; the largest has 1 CPU" in " ".join(done.stderr.split())


def test_without_ray(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('there is none')")
    path = write_sweep(tmp_path, grid={"optimizer.lr": [0.1, 0.2]})
    done = optrun(tmp_path, "sweep", path, "--executor", "ray")
    assert done.returncode == 2
    assert "pip install 'optrun[ray]'" in done.stderr
