"""A worker of the pool: a process that takes task after task from its driver, and ends when the driver does."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from optrun.components.plugins import import_file
from optrun.errors import OptrunError
from optrun.signals import StopRequest
from optrun.sweeps.executors.interface import Lost, attempt

__all__ = ["ENVIRONMENT", "GRACE", "MALLOC", "STOP", "return_memory", "work_off"]

ENVIRONMENT = dict.fromkeys(["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"], "1")
ENVIRONMENT["OMP_WAIT_POLICY"] = "PASSIVE"
"""One thread for each worker: they share the cores; and a process that has used two OpenMP threads cannot be forked."""

MALLOC = "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=1073741824"
"""Tensors of up to 32 MiB in memory that a process keeps while it works on a task: asking the kernel for fresh pages in
every step took a third of the time of a stack of runs. (Between tasks a worker gives back what it does not use.)"""

GRACE = 30.0
"""Seconds that the work has to save what it did, once the driver has died."""

STOP = b"stop"
"""What the driver sends instead of a pickled task when a signal has asked it to stop."""


def work_off(connection: Connection, imports: Sequence[str]) -> None:
    """Run the files `imports`, then work on what comes over the connection, until it closes.

    The driver hears ("ready", pid) or ("failed", sentence); then for each task ("begun", None), any number of times
    ("report", report) and ("ended", whether a signal came). After a signal this process takes no further task.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # the second and any further one: the work is stopping already
        signal.signal(number, signal.SIG_IGN)
    with StopRequest() as stop, contextlib.suppress(ConnectionError):  # the driver has gone, and the work is saved
        inbox = _Inbox(connection)
        try:
            for path in imports:
                import_file(path)
        except BaseException as error:  # whatever it is, the driver must hear of it
            _send(connection, "failed", str(error) if isinstance(error, OptrunError) else f"{path}: {error!r}")
            return
        _send(connection, "ready", os.getpid())
        while True:
            message = inbox.next()
            if stop.signal is not None:
                return
            _work_on(message, connection)
            del message
            inbox.idle = True
            _send(connection, "ended", stop.signal is not None)
            return_memory()


def _send(connection: Connection, kind: str, content: Any) -> None:
    """Pickled by value: multiprocessing's own way would keep tensors in memory shared with this process."""
    connection.send_bytes(pickle.dumps((kind, content), pickle.HIGHEST_PROTOCOL))


def _work_on(message: bytes, connection: Connection) -> None:
    """Work on one task and report. Whatever is wrong with the task is a report as well."""
    _send(connection, "begun", None)
    try:
        work, task = pickle.loads(message)
        with contextlib.closing(attempt(work, task)) as reports:
            for report in reports:
                _send(connection, "report", report)
    except ConnectionError:
        raise
    except BaseException as error:  # what cannot be pickled, and what nobody should raise
        _send(connection, "report", Lost.by(error))


class _Inbox:
    """Takes what the driver sends as soon as it comes, in a thread of its own: so a wish to stop, and the driver's
    death, are heard while the main thread works."""

    def __init__(self, connection: Connection) -> None:
        self.idle = True
        self._connection = connection
        self._tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._main = threading.get_ident()
        threading.Thread(target=self._listen, name="inbox", daemon=True).start()

    def next(self) -> bytes:
        """The next task, pickled together with the work; waits for it."""
        return self._tasks.get()

    def _listen(self) -> None:
        stopping = False
        with contextlib.suppress(EOFError, OSError):
            while True:
                message = self._connection.recv_bytes()
                if message == STOP:
                    stopping = True
                    signal.pthread_kill(self._main, signal.SIGTERM)
                else:
                    self.idle = False
                    self._tasks.put(message)
        if not self.idle and not stopping:
            signal.pthread_kill(self._main, signal.SIGTERM)
            time.sleep(GRACE)
        os.killpg(os.getpgrp(), signal.SIGKILL)  # this process, and what the work may have started


def _trim() -> Callable[[int], Any] | None:
    """glibc's malloc_trim, where there is one."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None


_malloc_trim = _trim()


def return_memory() -> None:
    """Give back what the last task leaves, so that the next one finds as much as the first one did."""
    gc.collect()
    if len(gc.get_objects()) > 5000:  # modules and caches, which stay: each look at them would take milliseconds
        gc.freeze()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if _malloc_trim is not None:
        _malloc_trim(0)
