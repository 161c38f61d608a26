"""The process that workers are forked from: it has imported once what each of them needs.

`Template` is the driver's side of it. It is a process of our own, and not multiprocessing's forkserver, which there is
one of per program whatever was preloaded first, which runs the driver's `__main__` again, and which stays until the
program ends.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

from optrun.errors import OptrunError
from optrun.sweeps.executors.worker import ENVIRONMENT, MALLOC, work_off

__all__ = ["Template", "ending", "serve"]


class Template:
    """The driver's side. What there is to hear on `connection`: once ("ready", number of CUDA devices) or ("failed",
    sentence), then ("died", worker, exit code, or minus the signal) of each worker.

    It is in a session of its own, so that a Ctrl-C in the terminal does not reach it, and ends with the driver.
    """

    def __init__(self, preload: Sequence[str]) -> None:
        self.connection, theirs = Pipe()
        self._forked = False
        path = f"import sys; sys.path[:] = {[*map(str, sys.path)]!r}"
        start = f"{path}; from optrun.sweeps.executors.template import serve; serve"
        options = [f"-W{option}" for option in sys.warnoptions]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *options, "-c", f"{start}({theirs.fileno()}, {list(preload)!r})"],
                env={"GLIBC_TUNABLES": MALLOC, **os.environ, **ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a driver prints may be JSON
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def fork(self, worker: int, imports: Sequence[str], device: str | None) -> Connection:
        """A new worker, in the driver's directory and with its `sys.path`; it sees the CUDA device `device` (None: what
        the driver sees). Returns the connection to it. When the template has died, that is about to be heard."""
        ours, theirs = Pipe()
        self._forked = True
        with theirs, contextlib.suppress(OSError):
            here = {"path": sys.path, "argv": sys.argv, "folder": os.getcwd()}
            self.connection.send(("fork", worker, {"imports": list(imports), "device": device, **here}))
            send_handle(self.connection, theirs.fileno(), self._process.pid)
        return ours

    def receive(self) -> tuple[Any, ...]:
        """The next message. Raises OptrunError if there will be none, since workers cannot be started."""
        try:
            message: tuple[Any, ...] = self.connection.recv()
        except (EOFError, ConnectionError):
            raise OptrunError(f"the process that starts workers {ending(self._process.wait())}") from None
        if message[0] == "failed":
            raise OptrunError(f"workers cannot start: {message[1]}")
        return message

    def kill(self, worker: int) -> None:
        """End a worker at once, with all that it started. ("died", …) follows."""
        with contextlib.suppress(OSError):
            self.connection.send(("kill", worker, {}))

    def end(self) -> int:
        """Kill every worker and then the template. When this returns nothing is left of them, unless the template
        itself was killed: it returns the exit code."""
        if not self._forked:
            self._process.kill()  # it need not import everything first
        with contextlib.suppress(OSError):
            self.connection.send(("end", 0, {}))
        code = self._process.wait()
        self.connection.close()
        return code


def ending(code: int) -> str:
    """How a process came to its end: its exit code, or minus the signal that killed it, in words."""
    if code >= 0:
        return f"ended with exit code {code}."
    name = signal.Signals(-code).name if -code in set(signal.Signals) else "a real-time signal"
    return f"was killed by signal {-code} ({name}){'; was the memory full?' if -code == signal.SIGKILL else '.'}"


def serve(channel: int, preload: Sequence[str]) -> None:
    """The life of the template's process: import, then fork workers on demand, and tell of their deaths."""
    connection = Connection(channel)
    for number in (signal.SIGINT, signal.SIGTERM):  # it ends with the driver, and workers must be able to save
        signal.signal(number, signal.SIG_IGN)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    gc.disable()
    try:
        for module in preload:
            importlib.import_module(module)
    except Exception as error:
        connection.send(("failed", f"{type(error).__name__}: {error}"))
        return
    woken, wakes = os.pipe()
    for end_of_pipe in (woken, wakes):
        os.set_blocking(end_of_pipe, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    connection.send(("ready", _cuda_devices()))
    gc.collect()
    gc.freeze()  # the garbage collector of a worker need not look at what was imported, nor copy its pages
    with contextlib.suppress(EOFError, ConnectionError):
        _Nursery(connection, woken).look_after()
    while True:  # the driver has died, and the workers end by themselves: somebody must wait for them
        try:
            os.wait()
        except ChildProcessError:
            os._exit(0)


class _Nursery:
    """Forks workers and waits for them, as the driver orders. `woken` is readable when a child has died."""

    def __init__(self, connection: Connection, woken: int) -> None:
        self._connection, self._woken = connection, woken
        self._workers: dict[int, int] = {}  # process id: the driver's number for it

    def look_after(self) -> None:
        """Returns when the driver says so, once all workers are dead. Raises EOFError when the driver has died."""
        while True:
            ready = wait([self._connection, self._woken])
            if self._woken in ready:
                os.read(self._woken, 65536)
                self._bury()
            if self._connection in ready:
                order, number, given = self._connection.recv()
                if order == "fork":
                    self._fork(number, recv_handle(self._connection), given)
                for pid, worker in self._workers.items():
                    if order == "end" or (order == "kill" and worker == number):
                        _kill(pid)
                if order == "end":
                    return

    def _fork(self, number: int, channel: int, given: dict[str, Any]) -> None:
        pid = os.fork()
        if pid == 0:
            os.close(signal.set_wakeup_fd(-1))
            os.close(self._woken)
            self._connection.close()
            _be_worker(Connection(channel), **given)
        os.close(channel)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # here too, or it could be killed before it has done so
        self._workers[pid] = number

    def _bury(self) -> None:
        """Wait for those that have died, and tell of them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._workers:  # or else a module that was imported has started it
                _kill(pid)  # what the worker may have started
                self._connection.send(("died", self._workers.pop(pid), os.waitstatus_to_exitcode(status)))


def _be_worker(
    connection: Connection, path: list[str], argv: list[str], folder: str, imports: list[str], device: str | None
) -> None:
    """What a fork does, to its end."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        sys.path[:], sys.argv[:] = path, argv
        os.chdir(folder)
        if device is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = device
        gc.enable()
        work_off(connection, imports)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # whatever happens, a fork must not go on as a second template


def _kill(pid: int) -> None:
    """Kill a worker's process group."""
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _cuda_devices() -> int:
    """How many there are, if torch was imported and knows CUDA. A process that has asked CUDA cannot be forked any
    more, so a fork asks."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.backends.cuda.is_built():
        return 0
    answer, question = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(question, str(torch.cuda.device_count()).encode())
        finally:
            os._exit(0)
    os.close(question)
    with open(answer, encoding="ascii") as told:
        count = told.read()
    os.waitpid(pid, 0)
    return int(count or 0)
