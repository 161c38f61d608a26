"""Work for executors to do in the tests: functions of a module, so that other processes find them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optrun.signals import StopRequest


@dataclass(frozen=True)
class Count:
    """A task."""

    upto: int


def count(task: Count) -> Iterator[int]:
    """0, 1, … below `upto`."""
    yield from range(task.upto)


def here(_: object) -> Iterator[int]:
    """Which process works on it."""
    yield os.getpid()


def surroundings(_: object) -> Iterator[dict[str, Any]]:
    """What a worker has of its driver, and what of its own."""
    yield {
        "folder": os.getcwd(),
        "path": list(sys.path),
        "argv": list(sys.argv),
        "device": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "group": os.getpgrp(),
        "pid": os.getpid(),
    }


def doubled(data: bytes) -> Iterator[bytes]:
    """More than a pipe holds, both ways."""
    yield data + data


def fails(kind: str) -> Iterator[object]:
    """Reports once, then goes wrong in the way called `kind`."""
    yield "begun"
    if kind == "raises":
        raise ValueError("no such thing")
    if kind == "cannot be pickled":
        yield lambda: None
    if kind == "exits":
        sys.exit("enough")
    yield "ended"


def dies(task: tuple[str, Path, int]) -> Iterator[str]:
    """The first `times` times, its process ends in the way called `how`. Each attempt leaves a line in the file."""
    how, file, times = task
    yield "begun"
    with file.open("a") as attempts:
        attempts.write(f"{os.getpid()}\n")
    if len(file.read_text().split()) <= times:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        else:
            os._exit(3)
    yield "ended"


def with_child(how: str) -> Iterator[int]:
    """Starts a process that would live for ever, and reports it; then lives for ever, or dies."""
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as child:
        yield child.pid
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)


def until_stopped(file: Path | None) -> Iterator[object]:
    """Trains, as it were, until a signal comes; then saves its work, in the file if there is one."""
    with StopRequest() as stop:
        yield os.getpid()
        _wait(lambda: stop.signal is not None)
        if file is not None:
            file.write_text(f"saved after signal {stop.signal}")
        yield "saved"


def stubborn(_: object) -> Iterator[str]:
    """Hears of the first signal, and goes on."""
    with StopRequest() as stop:
        yield "begun"
        _wait(lambda: stop.signal is not None)
        yield "heard"
        _wait(lambda: False)


def deaf(_: object) -> Iterator[int]:
    """Never hears of a signal."""
    yield os.getpid()
    _wait(lambda: False)


def until_there(file: Path) -> Iterator[str]:
    """Waits for a file."""
    _wait(file.exists)
    yield "there"


def meets(files: tuple[Path, Path]) -> Iterator[str]:
    """Makes one file and waits for the other."""
    mine, other = files
    mine.touch()
    _wait(other.exists)
    yield "met"


def meets_others(task: tuple[Path, int]) -> Iterator[str | None]:
    """Waits until so many are at work, then says which device this one sees."""
    file, number = task
    with file.open("a") as present:
        present.write(f"{os.getpid()}\n")
    _wait(lambda: len(file.read_text().split()) == number)
    yield os.environ.get("CUDA_VISIBLE_DEVICES")


def prints(text: str) -> Iterator[str]:
    """Prints, in Python and below it."""
    print(f"{text} from Python")
    os.write(1, f"{text} from below\n".encode())
    yield text


def debugged(task: int) -> Iterator[int]:
    """Stops in a debugger, where the task may be changed."""
    breakpoint()
    yield task + 1


def fills(megabytes: int) -> Iterator[int]:
    """Its process's memory in bytes, before; what it takes then is only freed by the garbage collector."""
    yield int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    cycle: list[Any] = [os.urandom(2**16) for _ in range(16 * megabytes)]
    cycle.append(cycle)


def registered(name: str) -> Iterator[bool]:
    """Whether there is a metric of that name."""
    from optrun.components.registry import metrics

    yield name in metrics.names()


def torch_threads(_: object) -> Iterator[dict[str, int]]:
    """How many threads torch computes with, and how many this process has once it has computed."""
    import torch

    (torch.ones(500, 500, requires_grad=True) @ torch.ones(500, 500)).sum().backward()
    yield {"torch": torch.get_num_threads(), "process": len(os.listdir("/proc/self/task"))}


def _wait(condition: Any) -> None:
    """Looks every hundredth of a second; fails after a minute."""
    until = time.monotonic() + 60
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("nothing has come")
        threading.Event().wait(0.01)
