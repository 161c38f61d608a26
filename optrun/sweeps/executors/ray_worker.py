"""A worker on a node of a Ray cluster: an actor that takes task after task, as a worker of the pool does."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from optrun.components.plugins import import_file
from optrun.errors import OptrunError
from optrun.signals import StopRequest
from optrun.sweeps.executors.interface import attempt
from optrun.sweeps.executors.pool import PRELOAD
from optrun.sweeps.executors.worker import return_memory
from optrun.sweeps.freight import Freight, Stock
from optrun.sweeps.lodging import lodge, lodging
from optrun.sweeps.work import shared

__all__ = ["Ready", "Worker", "installed", "ring"]


@dataclass(frozen=True)
class Ready:
    """What a worker says of itself once it can work."""

    node: str
    pid: int
    lacks: tuple[str, ...] = ()
    """Files and folders of the driver that its node does not have."""
    trouble: str | None = None
    """Why it cannot work."""


class Worker:
    """Works on one task at a time, in the main thread of its process."""

    def __init__(self, freight: Sequence[Freight]) -> None:
        self.freight = freight

    def prepare(self, imports: Mapping[str, bytes], argv: Sequence[str], version: str) -> Ready:
        """Run the user's files, by their paths at the driver's, and import what every trial needs."""
        import ray

        self.node = node = ray.get_runtime_context().get_node_id()
        if installed() != version:
            there = f"optrun {installed()} is installed on {os.uname().nodename}, {version} here"
            return Ready(node, os.getpid(), trouble=f"{there}; install the same")
        sys.argv[:] = argv
        path = node
        try:
            self.lock = lodge(folder := lodging())
            self.stock = Stock(self.freight, folder)
            for number, (path, source) in enumerate(imports.items()):
                copy = Path(tempfile.gettempdir(), "imports", str(number), Path(path).name)
                copy.parent.mkdir(parents=True)
                copy.write_bytes(source)
                import_file(copy)
            for module in PRELOAD:
                importlib.import_module(module)
            return self.stocked()
        except BaseException as error:  # whatever it is, the driver must hear of it
            said = str(error) if isinstance(error, OptrunError) else f"{path}: {error!r}"
            return Ready(node, os.getpid(), trouble=said)

    def stocked(self) -> Ready:
        """Take the data from where it is on this node, as far as it is there."""
        places = self.stock.places()
        shared.moved = {path: place for path, place in places.items() if place is not None}
        return Ready(self.node, os.getpid(), tuple(path for path, place in places.items() if place is None))

    def receive(self, path: str, name: str | None, data: bytes) -> None:
        """A piece of the data."""
        self.stock.receive(path, name, data)

    def begin_to_receive(self) -> None:
        """What somebody else has received in part is received anew."""
        self.stock.clear()

    def wait(self) -> Ready:
        """Until another worker of this node has received the data."""
        self.stock.wait()
        return self.stocked()

    def work(self, work: Callable[[Any], Iterator[Any]], task: Any) -> Iterator[Any]:
        """The reports of `work` on `task`; the first SIGTERM is a wish, as everywhere."""
        with StopRequest(), contextlib.closing(attempt(work, task)) as reports:
            yield from reports
        return_memory()


def installed() -> str:
    """The version of optrun on this machine."""
    return metadata.version("optrun")


def ring(pids: Sequence[int]) -> None:
    """Ask the workers with these process ids, on this node, to save what they do and stop."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
