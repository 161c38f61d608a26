"""One run on several processes of this machine: torch's elastic agent starts them and watches over them.

What `torchrun --standalone` does, with three differences: the processes find each other by files in a private directory
and talk over the loopback interface, so nothing listens to other machines; a signal reaches the first of them alone,
which agrees with the others on where to stop; and a run that ended by itself is never started again.

Source: https://docs.pytorch.org/docs/stable/elastic/agent.html
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from optrun.errors import Interrupted, RunError, UsageError
from optrun.runs import files
from optrun.training.ranks import MEETING

__all__ = ["demand_sensible", "end", "launch", "meet"]

MOST = 1024
GRACE = 20
"""Seconds that processes have to end in after one has died; torch before 2.12 knows only its own 30."""


def launch(arguments: Sequence[str], nproc: int, max_restarts: int, advice: Callable[[], str]) -> int:
    """Run `optrun` with `arguments` in `nproc` processes and return the exit code of the run.

    Raises RunError, with `advice()`, when one of them has died or failed, `max_restarts` times and once more.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("torch.distributed.elastic", "torch.distributed.launcher", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what has to be said is said below
    known = {field.name for field in dataclasses.fields(LaunchConfig)}
    with tempfile.TemporaryDirectory(prefix="optrun-") as meeting, _surroundings(meeting, nproc):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=nproc,
            run_id=os.path.basename(meeting),
            rdzv_backend="c10d",
            rdzv_endpoint=os.path.join(meeting, "agents"),
            rdzv_configs={"store_type": "file"},
            local_addr="localhost",
            max_restarts=max_restarts,
            signals_to_handle="SIGQUIT",
            **({"shutdown_timeout": GRACE} if "shutdown_timeout" in known else {}),  # type: ignore[arg-type]
        )
        with _forwarding_signals(Path(meeting)):
            try:
                elastic_launch(config, sys.executable)("-m", "optrun", *arguments)
            except ChildFailedError as error:
                code = _read(Path(meeting) / "ended")
                if code is not None:
                    return code
                if (number := _read(Path(meeting) / "stop")) is not None:
                    raise Interrupted(number, advice()) from error
                raise RunError(f"{_cause(error, nproc)}; {advice()}") from error
        return _read(Path(meeting) / "ended") or 0


@contextlib.contextmanager
def _surroundings(meeting: str, nproc: int) -> Iterator[None]:
    """The environment of the processes; what the user has set stays."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    defaults = {
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        "OMP_NUM_THREADS": str(max(1, cores // nproc)),
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    ours = {
        MEETING: meeting,
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # else the agent has a store that listens on every interface
    }
    before = dict(os.environ)
    os.environ.update({**defaults, **before, **ours})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _forwarding_signals(meeting: Path) -> Iterator[None]:
    """The first SIGINT or SIGTERM goes to the first process, which asks all to stop; the next one ends them. If
    there is no such process yet, the first one does."""

    def forward(number: int, frame: FrameType | None) -> None:
        for each, handler in before.items():
            signal.signal(each, handler)
        (meeting / "stop").write_text(str(number))
        try:
            os.kill(int((meeting / "first").read_text()), number)
        except (OSError, ValueError):
            raise SystemExit(128 + number) from None

    before: dict[int, Any] = {each: signal.signal(each, forward) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _read(path: Path) -> int | None:
    """The number in a file, if there is one."""
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def _cause(error: Any, nproc: int) -> str:
    """Which process was the first to go: the agent ends the others by SIGTERM then."""

    def order(each: tuple[int, Any]) -> tuple[bool, int, int]:
        return each[1].exitcode == -signal.SIGTERM, each[1].timestamp, each[1].exitcode

    rank, failure = min(error.failures.items(), key=order)
    if failure.exitcode < 0:
        return f"process {rank} of {nproc} was killed by {signal.Signals(-failure.exitcode).name}"
    return f"process {rank} of {nproc} has failed with exit code {failure.exitcode}"


def meet() -> None:
    """In a process that `launch` has started: let it know which one is the first. Ends the process if the run has been
    asked to stop meanwhile."""
    if not (meeting := os.environ.get(MEETING)):
        return
    if os.environ["RANK"] == "0":
        files.write_atomically(Path(meeting) / "first", str(os.getpid()).encode(), durable=False)
    if (number := _read(Path(meeting) / "stop")) is not None:
        end(128 + number)


def end(code: int) -> NoReturn:
    """End a process that is one of several and has ended its run with `code`. To the agent of `launch` only what should
    be tried again is a failure."""
    meeting = os.environ.get(MEETING)
    if meeting and code != RunError.exit_code:
        if os.environ["RANK"] == "0":
            (Path(meeting) / "ended").write_text(str(code))
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads may not survive the end of Python, and would make a failure of it


def demand_sensible(nproc: int, max_restarts: int) -> None:
    """Raises UsageError for what is no number of processes or of restarts."""
    if not 1 <= nproc <= MOST:
        raise UsageError(f"--nproc must be from 1 to {MOST}, not {nproc}")
    if max_restarts < 0:
        raise UsageError(f"--max-restarts must be 0 or more, not {max_restarts}")
