"""What whole processes take, by the clock and of CPU, with everything they start."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Patience", "Times", "all_descendants", "environment", "installed", "timed"]

ROOT = Path(__file__).parent.parent

CALM = 0.1
"""The share of the machine's CPU time that others may have while something is measured."""


@dataclass
class Times:
    """Seconds by the clock and of CPU that a sweep took."""

    wall: float
    cpu: float
    others: float
    """Of the machine's CPU time meanwhile, the share that went to processes of others (Linux; else 0)."""


def timed(command: list[str], environment: Mapping[str, str], output: Path, expected: int = 0) -> Times:
    """What a command takes, its words written to `output`. Raises AssertionError if it ends with another status."""
    before, busy = _own_cpu(), _all_cpu()
    with output.open("w", encoding="utf-8") as file:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        wall = time.perf_counter() - started
    assert status == expected, (
        f"{' '.join(command[:4])} ended with {status}:\n{output.read_text(encoding='utf-8')[-3000:]}"
    )
    _wait_for_descendants()
    elapsed = time.perf_counter() - started
    cpu = _own_cpu() - before
    return Times(wall, cpu, max(0.0, _all_cpu() - busy - cpu) / elapsed / (os.cpu_count() or 1))


def environment(threads: int) -> dict[str, str]:
    """As a user has it who asks for so many threads and no network; a workplace's settings of the BLAS are left out."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    return {**kept, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}


def installed(python: str, packages: Iterable[str]) -> dict[str, str]:
    """The versions of those of the packages that a Python has."""
    program = (
        "import sys\n"
        "from importlib import metadata\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, metadata.version(name))\n"
        "    except metadata.PackageNotFoundError: pass"
    )
    command = [python, "-c", program, *sorted(set(packages))]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(line.split() for line in printed.splitlines())


class Patience:
    """So many seconds that may go into waiting for others to leave the machine alone, and into what is done again."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    def calmest(self, run: Callable[[], Times]) -> Times:
        """What a command takes while nobody else works on the machine, or the calmest of the attempts made."""
        tried: list[Times] = []
        while not tried or (tried[-1].others >= CALM and self.left > 0):
            started = time.monotonic()
            while self.left > time.monotonic() - started and not _calm():
                pass
            waited = time.monotonic()
            tried.append(run())
            self.left -= waited - started if tried[-1].others < CALM else time.monotonic() - started
        return min(tried, key=lambda times: times.others)


def _calm() -> bool:
    """Whether nobody worked on the machine for two seconds."""
    busy = _all_cpu()
    time.sleep(2)
    return (_all_cpu() - busy) / 2 / (os.cpu_count() or 1) < CALM


def _own_cpu() -> float:
    """CPU seconds of all processes started here that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def _all_cpu() -> float:
    """Seconds the machine's cores have been busy, or were taken from it (`steal`), since it started."""
    statistics = Path("/proc/stat")
    if not statistics.exists():
        return 0.0
    user, nice, system, _idle, _wait, interrupts, softirq, steal = map(int, statistics.read_text().split()[1:9])
    return (user + nice + system + interrupts + softirq + steal) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def all_descendants() -> Iterator[None]:
    """Processes whose parent has ended become children of this one, so that their CPU time can be known."""
    prctl: Callable[..., int] = ctypes.CDLL(None).prctl
    set_child_subreaper = 36
    prctl(set_child_subreaper, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(set_child_subreaper, 0, 0, 0, 0)


def _wait_for_descendants(seconds: float = 20) -> None:
    """Wait for what a tool left running, and end it after that time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            if time.monotonic() > deadline:
                for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
            time.sleep(0.01)
