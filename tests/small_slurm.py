"""A Slurm of one machine for the tests: the commands that submitit calls, real processes, real signals.

`install(folder)` makes a directory of commands to be put on the PATH. Jobs wait for one of `SMALL_SLURM_NODES` nodes,
are cancelled, signalled and queued again; what becomes of them is in the folder. Only what submitit uses is here.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scancel", "scontrol")
KILL_WAIT = 5.0
"""Seconds between the SIGTERM of a `scancel` and the SIGKILL; Slurm's own default is 30."""


def install(folder: Path) -> Path:
    """The directory of commands; the state of the cluster is in the same folder."""
    folder.mkdir(parents=True)
    for command in COMMANDS:
        script = folder / command
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} "$0" "$@"\n')
        script.chmod(0o755)
    return folder


class Node:
    """What the commands share: a file for each thing that is known of a job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, job: str, what: str) -> str:
        with suppress(FileNotFoundError):
            return (self.folder / f"{job}.{what}").read_text()
        return ""

    def set(self, job: str, what: str, value: object) -> None:
        new = self.folder / f"{job}.{what}.{os.getpid()}.new"
        new.write_text(str(value))
        new.rename(self.folder / f"{job}.{what}")

    def jobs(self, array: str) -> list[str]:
        """Itself, or all of an array."""
        found = [path.stem for path in self.folder.glob("*.state")]
        return sorted(job for job in found if job == array or job.startswith(f"{array}_"))

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a node."""
        slots = int(os.environ.get("SMALL_SLURM_NODES", "2"))
        while True:
            for number in range(slots):
                with (self.folder / f"node-{number}").open("w") as file:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except OSError:
                        continue
                    yield
                    return
            time.sleep(0.02)


def sbatch(node: Node, script: str) -> None:
    text = Path(script).read_text()
    array = re.search(r"^#SBATCH --array=0-(\d+)", text, re.MULTILINE)
    with (node.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        number = int(node.get("last", "id") or 99) + 1
        node.set("last", "id", number)
    jobs = [f"{number}_{index}" for index in range(int(array[1]) + 1)] if array else [str(number)]
    for job in jobs:
        node.set(job, "state", "PENDING")
        (node.folder / f"{job}.script").write_text(text)
    for job in jobs:
        subprocess.Popen(
            [sys.executable, __file__, str(node.folder / "supervise"), job],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    print(f"Submitted batch job {number}")


def supervise(node: Node, job: str) -> None:
    """The life of one job."""
    while True:
        with node.slot():
            if node.get(job, "cancelled"):
                break
            node.set(job, "state", "RUNNING")
            code = _run(node, job)
        if not node.get(job, "requeue"):
            break
        (node.folder / f"{job}.requeue").unlink()
        node.set(job, "state", "PENDING")
        while node.get(job, "outdone") and not node.get(job, "cancelled"):  # others come first
            time.sleep(0.02)
    if node.get(job, "cancelled"):
        node.set(job, "state", "CANCELLED by 1000")
    else:
        node.set(job, "state", "COMPLETED" if code == 0 else "NODE_FAIL" if code == 137 else "FAILED")


def _run(node: Node, job: str) -> int:
    array, _, index = job.partition("_")
    of_array = {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": index} if index else {}
    environment = {
        **os.environ,
        "SLURM_JOB_ID": job if not index else f"9{array}{index}",
        "SLURM_PROCID": "0",
        **of_array,
    }
    batch = subprocess.Popen(["bash", str(node.folder / f"{job}.script")], env={**environment, "SMALL_SLURM_JOB": job})
    killed_at = float("inf")
    while batch.poll() is None:
        if (node.get(job, "cancelled") or node.get(job, "requeue")) and killed_at == float("inf"):
            killed_at = time.monotonic() + KILL_WAIT
        if time.monotonic() > killed_at:
            _signal(node, job, signal.SIGKILL)
        time.sleep(0.02)
    node.set(job, "step", "")
    return batch.returncode


def _signal(node: Node, job: str, number: int) -> None:
    if pid := node.get(job, "step"):
        with suppress(ProcessLookupError):
            os.kill(int(pid), number)


def srun(node: Node, *arguments: str) -> None:
    """Becomes the step."""
    job = os.environ["SMALL_SLURM_JOB"]
    array, _, index = job.partition("_")
    words = list(arguments)
    while words[0].startswith("-"):
        option = words.pop(0)
        if option in ("--output", "--error"):
            path = words.pop(0).replace("%A", array).replace("%a", index).replace("%j", job).replace("%t", "0")
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), 1 if option == "--output" else 2)
    node.set(job, "step", os.getpid())
    os.execvp(words[0], words)


def sacct(node: Node, *arguments: str) -> None:
    print("JobID|State|NodeList")
    for option, value in zip(arguments, arguments[1:]):
        for job in node.jobs(value) if option == "-j" else []:
            print(f"{job}|{node.get(job, 'state')}|here")


def scancel(node: Node, *arguments: str) -> None:
    words = list(arguments)
    number = None
    if "--signal" in words:
        at = words.index("--signal")
        number = getattr(signal, f"SIG{words[at + 1].removeprefix('SIG')}")
        del words[at : at + 2]
    for job in [job for word in words for job in node.jobs(word)]:
        if number is None and node.get(job, "state") in ("PENDING", "RUNNING"):
            node.set(job, "cancelled", 1)
        _signal(node, job, signal.SIGTERM if number is None else number)


def scontrol(node: Node, verb: str, job: str) -> None:
    assert verb == "requeue"
    node.set(job, "requeue", 1)
    _signal(node, job, signal.SIGTERM)


if __name__ == "__main__":
    at = Path(sys.argv[1])
    {**{command: globals()[command] for command in COMMANDS}, "supervise": supervise}[at.name](
        Node(at.parent), *sys.argv[2:]
    )
