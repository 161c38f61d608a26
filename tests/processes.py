"""Executors, their processes, and programs that drive them, for the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from optrun.sweeps.executors.interface import Executor
from optrun.sweeps.executors.pool import Pool


def pool(jobs: int | None = 2, **options: Any) -> Pool:
    """Without torch, which most of these tasks do not need, it starts in a fraction of a second."""
    return Pool(jobs, **{"preload": (), **options})


def reports(executor: Executor, work: Any, given: Sequence[Any]) -> list[tuple[Any, Any]]:
    """All there are, but for those that say that there is nothing."""
    return [(task, report) for task, report in executor.run(work, given) if task is not None]


def descendants(ancestor: int) -> set[int]:
    """The processes below one, with those that are dead while nobody has waited for them."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = status.read_text().rpartition(")")
        except OSError:  # gone meanwhile
            continue
        parents[int(name.split()[0])] = int(rest.split()[1])
    below = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return below - {ancestor}


def lives(pid: int) -> bool:
    """Whether the process still does something."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def assert_dead(pids: Iterable[int]) -> None:
    """Soon: who is killed needs a moment."""
    until = time.monotonic() + 20
    while left := [pid for pid in pids if lives(pid)]:
        assert time.monotonic() < until, left


DRIVER = """\
import signal, sys
from pathlib import Path
import executor_tasks as tasks
from optrun.sweeps.executors.inline import Inline
from optrun.sweeps.executors.pool import Pool

with (Inline() if sys.argv[1] == "inline" else Pool(2, preload=())) as executor:
    given = [Path(file) for file in sys.argv[3:]]
    for task, report in executor.run(getattr(tasks, sys.argv[2]), given):
        if task is not None:
            print(task.name, report, flush=True)
    if executor.stopped is not None:
        print("stopped", executor.stopped, [*executor.run(tasks.here, [0])], flush=True)
"""


class Driver:
    """A program that runs an executor, in a process group of its own, as a shell would start it."""

    def __init__(self, *arguments: str | Path, program: str = DRIVER) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            env=environment,
        )

    def line(self) -> str:
        """What it prints next."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip()

    def signal(self, number: int) -> None:
        """As Ctrl-C does it: to the whole group."""
        os.killpg(self.process.pid, number)

    def end(self) -> tuple[int, str, str]:
        """Its exit code, and what it has printed since, to stdout and to stderr."""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err
