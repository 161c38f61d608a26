"""A worker of the pool as its driver sees it."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Handle"]


@dataclass(eq=False)
class Handle:
    """What the driver knows of a worker. `pid` is None until it is ready, `task` while it has none."""

    connection: Connection
    device: int | None
    pid: int | None = None
    task: int | None = None
    begun: bool = False
    leaves: bool = False
    speaks: bool = True

    def send(self, message: bytes) -> None:
        """If it has died, that is about to be heard."""
        with contextlib.suppress(OSError):
            self.connection.send_bytes(message)

    def receive(self) -> list[tuple[Handle, str, Any]]:
        """One message, unless it is only for the one who keeps the books."""
        try:
            kind, content = self.connection.recv()
        except (EOFError, ConnectionError):
            self.speaks = False
            return []
        if kind == "ready":
            self.pid = content
            return []
        return [(self, kind, content)]

    def kill(self) -> None:
        """Without the template: kill the process group."""
        if self.pid is not None:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
