"""Sweeps whose trials are jobs: of a small Slurm with real processes, of submitit's own local executor and mocks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import small_slurm
from submitit.core.utils import FailedJobError
from submitit.slurm.test_slurm import mocked_slurm
from sweeping import BASE, metrics, optrun, statuses, write_sweep
from test_sweep_crashes import running, wait_until

from optrun.errors import OptrunError, UsageError
from optrun.sweeps.executors.interface import Lost
from optrun.sweeps.executors.slurm.claims import Claims
from optrun.sweeps.executors.slurm.cluster import Cluster
from optrun.sweeps.executors.slurm.job import Job
from optrun.sweeps.executors.slurm.reports import Inbox, Outbox
from optrun.sweeps.tasks import Ended, Noted, Progressed, Refused, Verified

LONG = {**BASE, "epochs": 200, "checkpoint_every": 20}
"""A trial of seconds."""
GRID = {"optimizer.lr": [0.01, 0.1]}
JOBS = ["--executor", "slurm", "--slurm", "timeout_min=60"]


class Slurm:
    """A small cluster, and sweeps on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sweep = folder, folder / "runs" / "s"
        self.node = small_slurm.Node(small_slurm.install(folder / "cluster"))
        self.environment = {**os.environ, "PATH": f"{self.node.folder}{os.pathsep}{os.environ['PATH']}"}

    def start(self, path: Path, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "optrun", "sweep", str(path), *JOBS, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, path: Path, *arguments: str) -> tuple[int, str]:
        """Its exit code and what it says."""
        return ended(self.start(path, *arguments))

    def command(self, *words: str) -> None:
        subprocess.run(words, env=self.environment, check=True)

    def jobs(self) -> dict[str, str]:
        """Every job that there ever was, and its state."""
        return {path.stem: path.read_text() for path in self.node.folder.glob("*.state")}

    def steps(self) -> dict[str, int]:
        """The processes of jobs that train: those that have written rows."""
        found = {path.stem: path.read_text() for path in self.node.folder.glob("*.step")}
        return {job: int(pid) for job, pid in found.items() if pid}

    def held(self, driver: subprocess.Popen[str], number: int = 2) -> dict[str, int]:
        """So many jobs with their processes, which have trained a little and then been stopped, to go on with
        SIGCONT: none of them ends meanwhile."""
        found: dict[str, int] = {}

        def look() -> bool:
            steps = self.steps()
            for claim in Claims(self.sweep / ".slurm").left():
                if claim.job in steps and claim.job not in found and all(map(self._has_rows, claim.runs)):
                    os.kill(steps[claim.job], signal.SIGSTOP)
                    found[claim.job] = steps[claim.job]
            return len(found) == number or driver.poll() is not None

        wait_until(look)
        return found

    def _has_rows(self, run: str) -> bool:
        path = self.sweep / run / "metrics.jsonl"
        return path.exists() and path.stat().st_size > 5_000


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=120)
    return process.returncode, said


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """The rows of the long trials where nothing happened."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = optrun(folder, "sweep", write_sweep(folder, LONG, grid=GRID), "--executor", "inline", "-q")
    assert done.returncode == 0, done.stderr
    return metrics(folder / "runs" / "s")


def test_a_sweep_with_pruning_is_the_same_as_in_this_process(slurm: Slurm, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"grid": {"optimizer.lr": [0.01, 0.1, 0.3]}, "prune": {"min_epochs": 1, "eta": 2}}
    path = write_sweep(tmp_path, BASE, **keys)
    code, said = slurm.run(path)
    assert code == 0, said
    assert f"submitted 3 jobs, 100_0 to 100_2; their logs are in {slurm.sweep / '.slurm'}" in said
    inline = optrun(tmp_path, "sweep", path, "--executor", "inline", "--runs-dir", "inline", "-q")
    assert inline.returncode == 0, inline.stderr
    assert metrics(slurm.sweep) == metrics(tmp_path / "inline" / "s")
    assert statuses(slurm.sweep) == statuses(tmp_path / "inline" / "s") == ["completed", "completed", "pruned"]
    assert not [*slurm.sweep.glob(".slurm/*.claim"), *slurm.sweep.glob(".slurm/*.jsonl")]
    assert [*slurm.sweep.glob(".slurm/100_0_0_log.out")]


def test_settings_reach_sbatch_by_their_names(slurm: Slurm, tmp_path: Path) -> None:
    given = ["slurm_partition=gpu", "gpus_per_node=1", "slurm_array_parallelism=7", "slurm_signal_delay_s=30"]
    given += ["slurm_additional_parameters={requeue: true}"]
    path = write_sweep(tmp_path, grid=GRID)
    code, said = slurm.run(path, *[word for setting in given for word in ("--slurm", setting)])
    assert code == 0, said
    [script] = slurm.sweep.glob(".slurm/*_submission.sh")
    lines = script.read_text().splitlines()
    for line in ("partition=gpu", "gpus-per-node=1", "array=0-1%2", "signal=USR2@30", "requeue", "time=60"):
        assert f"#SBATCH --{line}" in lines, script.read_text()


def test_preempted_trials_are_saved_and_queued_again(
    slurm: Slurm, undisturbed: Mapping[str, Any], tmp_path: Path
) -> None:
    with running(slurm.start(write_sweep(tmp_path, LONG, grid=GRID))) as driver:
        for job, pid in slurm.held(driver).items():
            slurm.command("scancel", job, "--signal", "TERM")  # comes first when Slurm preempts
            os.kill(pid, signal.SIGCONT)
            slurm.command("scancel", job, "--signal", "USR2")
        code, said = ended(driver)
    assert code == 0, said
    assert len(re.findall("was stopped by the cluster, saved, and is queued again", said)) == 2
    assert metrics(slurm.sweep) == undisturbed
    for path in slurm.sweep.glob("*/environment.json"):
        environment = json.loads(path.read_text())
        [resume] = environment["resumes"]
        assert resume["step"] > 0
        for told in (environment, resume):
            assert Path(told["job"]["log"]).name == f"{told['job']['id']}_0_log.err"
            assert Path(told["job"]["log"]).is_file()


def test_a_group_is_one_job_and_is_queued_again(slurm: Slurm, undisturbed: Mapping[str, Any], tmp_path: Path) -> None:
    path = write_sweep(tmp_path, LONG, grid=GRID)
    with running(slurm.start(path, "--jobs", "1")) as driver:
        [(job, pid)] = slurm.held(driver, 1).items()
        slurm.command("scancel", job, "--signal", "USR2")
        os.kill(pid, signal.SIGCONT)
        code, said = ended(driver)
    assert code == 0, said
    assert f"job {job} was stopped by the cluster" in said
    assert metrics(slurm.sweep) == undisturbed


def test_a_job_that_dies_is_submitted_once_more(slurm: Slurm, undisturbed: Mapping[str, Any], tmp_path: Path) -> None:
    with running(slurm.start(write_sweep(tmp_path, LONG, grid=GRID))) as driver:
        for pid in slurm.held(driver).values():
            os.kill(pid, signal.SIGKILL)
        code, said = ended(driver)
    assert code == 0, said
    assert (
        len(re.findall(r"its job 100_\d ended as NODE_FAIL; see .*100_\d_0_log.err. It is tried once more", said)) == 2
    )
    assert metrics(slurm.sweep) == undisturbed


def test_the_jobs_of_a_killed_driver_are_waited_for(
    slurm: Slurm, undisturbed: Mapping[str, Any], tmp_path: Path
) -> None:
    path = write_sweep(tmp_path, LONG, grid=GRID)
    slurm.environment["SMALL_SLURM_NODES"] = "1"  # one of the two is still queued
    with running(slurm.start(path)) as driver:
        [pid] = slurm.held(driver, 1).values()
        driver.kill()
    with running(slurm.start(path)) as driver:
        assert driver.stderr
        assert driver.stderr.readline() == "2 jobs are there from an earlier call, and waited for\n"
        os.kill(pid, signal.SIGCONT)
        code, said = ended(driver)
    assert code == 0, said
    wait_until(lambda: slurm.jobs() == {"100_0": "COMPLETED", "100_1": "COMPLETED"})
    assert not [*slurm.sweep.glob(".slurm/*.claim")]
    assert metrics(slurm.sweep) == undisturbed
    assert not any(json.loads(path.read_text())["resumes"] for path in slurm.sweep.glob("*/environment.json"))


def test_a_job_whose_task_was_given_to_another_one_does_nothing(tmp_path: Path) -> None:
    """The driver was killed before it wrote down the job, and the next one submitted another."""
    claims = Claims(tmp_path)
    former = claims.make("key", ["t-1"])
    assert claims.left() == [former]
    claims.submitted(claims.make("key", ["t-1"]), "101")
    Job(print, None, claims, former, [], [])()  # type: ignore[arg-type]
    assert not claims.reports(former).exists()
    [left] = claims.left()
    assert (left.job, left.runs) == ("101", ("t-1",))


def test_a_claim_names_no_other_file_and_no_option(tmp_path: Path) -> None:
    for number, (token, job) in enumerate([("../" * 5 + "x", "1"), ("0" * 16, "--user=me"), ("1" * 16, "12_3")]):
        content = {"runs": ["t-1"], "token": token, "job": job}
        (tmp_path / f"{number}.claim").write_text(json.dumps(content))
    (tmp_path / "mangled.claim").write_text("{")
    assert [(claim.token[0], claim.job) for claim in Claims(tmp_path).left()] == [("0", None), ("1", "12_3")]


def test_a_signal_to_the_driver_saves_what_runs_and_cancels_the_rest(
    slurm: Slurm, undisturbed: Mapping[str, Any], tmp_path: Path
) -> None:
    path = write_sweep(tmp_path, LONG, grid=GRID)
    slurm.environment["SMALL_SLURM_NODES"] = "1"
    with running(slurm.start(path)) as driver:
        [pid] = slurm.held(driver, 1).values()
        driver.send_signal(signal.SIGINT)
        os.kill(pid, signal.SIGCONT)
        code, said = ended(driver)
    assert code == 130, said
    assert statuses(slurm.sweep) == ["interrupted"]
    wait_until(lambda: set(slurm.jobs().values()) == {"CANCELLED by 1000"})
    code, said = slurm.run(path)
    assert code == 0, said
    assert metrics(slurm.sweep) == undisturbed


def test_a_signal_to_the_driver_cancels_a_job_that_waits_to_begin_again(slurm: Slurm, tmp_path: Path) -> None:
    """It was saved when the cluster wanted its node back, which another job has now."""
    path = write_sweep(tmp_path, LONG, grid={"optimizer.lr": [0.01]})
    slurm.environment["SMALL_SLURM_NODES"] = "1"
    with running(slurm.start(path)) as driver:
        [(job, pid)] = slurm.held(driver, 1).items()
        slurm.node.set(job, "outdone", 1)
        slurm.command("scancel", job, "--signal", "USR2")
        os.kill(pid, signal.SIGCONT)
        assert driver.stderr
        while "is queued again" not in (said := driver.stderr.readline()):
            assert said
        driver.send_signal(signal.SIGINT)
        code, said = ended(driver)
    assert code == 130, said
    wait_until(lambda: slurm.jobs() == {"100": "CANCELLED by 1000"})


def test_of_many_arrays_those_are_cancelled_before_one_that_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("optrun.sweeps.executors.slurm.cluster.ARRAY", 1)
    cancelled: list[str] = []
    with mocked_slurm():
        cluster = Cluster(tmp_path, {"timeout_min": 5})
        submit, left = cluster._executor.submit_array, [None]

        def once(jobs: Any) -> Any:
            if not left:
                raise FailedJobError("AssocMaxSubmitJobLimit")
            left.pop()
            return submit(jobs)

        monkeypatch.setattr(cluster._executor, "submit_array", once)
        monkeypatch.setattr(cluster, "cancel", cancelled.extend)
        with pytest.raises(OptrunError, match="sbatch refuses the jobs: AssocMaxSubmitJobLimit"):
            cluster.submit([print, print])
    assert cancelled == ["12"]


def test_a_trial_that_was_given_too_little_time_says_so(slurm: Slurm, tmp_path: Path) -> None:
    path = write_sweep(tmp_path, LONG, grid=GRID)
    with running(slurm.start(path, "--slurm", "slurm_time=1", "--slurm", "slurm_max_num_timeout=0")) as driver:
        for job, pid in slurm.held(driver).items():
            slurm.command("scancel", job, "--signal", "USR2")
            os.kill(pid, signal.SIGCONT)
        code, said = ended(driver)
    assert code == 4, said
    assert "timed-out too many times; it is saved: raise timeout_min" in said
    code, said = slurm.run(path, "--retry-failed")
    assert code == 0, said


def test_submitits_local_executor_runs_it_without_a_cluster(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, grid=GRID)
    done = optrun(tmp_path, "sweep", path, *JOBS, "--slurm", "cluster=local")
    assert done.returncode == 0, done.stderr
    assert statuses(tmp_path / "runs" / "s") == ["completed", "completed"]


def test_states_are_those_that_submitit_knows(tmp_path: Path) -> None:
    with mocked_slurm() as mock:
        cluster = Cluster(tmp_path, {"timeout_min": 5, "slurm_array_parallelism": 3})
        assert cluster.parallelism == 3
        ids = cluster.submit([print, print])
        assert ids == ["12_0", "12_1"]
        assert not any(map(cluster.is_over, ids))
        mock.set_job_state("12", "NODE_FAIL", 2)
        other = Cluster(tmp_path, {"timeout_min": 5})
        assert not other.still_has(["12_0"])
        assert other.ending("12_0") == "NODE_FAIL"
        mock.set_job_state("13", "PENDING")
        assert other.still_has(["12_1", "13", "999"]) == {"13"}


def test_where_sacct_does_not_answer_no_job_is_taken_for_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*arguments: Any) -> str:
        raise subprocess.CalledProcessError(1, "sacct")

    with mocked_slurm() as mock:
        cluster = Cluster(tmp_path, {"timeout_min": 5})
        monkeypatch.setattr(mock, "sacct", fails)
        assert cluster.still_has([]) == set()
        with pytest.raises(OptrunError, match="jobs of an earlier call may still train"):
            cluster.still_has(["12"])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "each job needs a time limit: give its minutes, --slurm timeout_min=60"),
        ({"timeout_min": "long"}, 'Parameter "timeout_min" expected type'),
        ({"timeout_min": 5, "parts": 2}, "need to be prefixed by an executor name"),
        ({"timeout_min": 5, "slurm_partitoin": "gpu"}, "Unknown argument 'partitoin'"),
        ({"timeout_min": 5, "nodes": 2}, "each task would train the same trial"),
        ({"timeout_min": 5, "cluster": "moon"}, "there are slurm, and local"),
    ],
)
def test_what_submitit_refuses_is_a_sentence(settings: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with mocked_slurm(), pytest.raises(UsageError, match=re.escape(sentence)):
        Cluster(tmp_path, settings)


def test_without_submitit_or_slurm_it_says_what_to_do(tmp_path: Path) -> None:
    path = write_sweep(tmp_path, grid=GRID)
    here = optrun(tmp_path, "sweep", path, *JOBS)
    assert (here.returncode, "there is no srun here" in here.stderr) == (1, True), here.stderr
    (tmp_path / "submitit.py").write_text("raise ImportError('no such package')")
    missing = optrun(tmp_path, "sweep", path, *JOBS)
    assert (missing.returncode, missing.stderr.count("pip install 'optrun[slurm]'")) == (2, 1), missing.stderr
    other = optrun(tmp_path, "sweep", path, "--executor", "pool", "--slurm", "timeout_min=5")
    assert (other.returncode, other.stderr) == (2, "settings of Slurm are for --executor slurm, not pool\n")
    assert not (tmp_path / "runs").exists()


def test_reports_come_out_of_the_file_as_they_went_in(tmp_path: Path) -> None:
    said = [
        Progressed(3, 10, 1, {"train/loss": float("inf"), "lr": [0.1, 0.2]}),
        Noted("näh"),
        (4, Ended("failed", "why")),
        (None, Verified(3, 2.0, 0.0)),
        (None, Refused("no")),
        Lost("gone", again=True),
    ]
    inbox, outbox = Inbox(tmp_path / "file"), Outbox(tmp_path / "file")
    assert [*inbox.new()] == []
    for report in said:
        outbox.put(report)
    assert [*inbox.new()] == said
    with (tmp_path / "file").open("a") as file:
        file.write('nonsense\n{"kind": "Popen", "args": "ls"}\n{"kind": "Noted", "sent')
    assert [*inbox.new()] == []
    with (tmp_path / "file").open("a") as file:
        file.write('ence": "whole", "is_warning": true}\n')
    assert [*inbox.new()] == [Noted("whole")]
