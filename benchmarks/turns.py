"""Programs that train take turns, some epochs each: whatever else the machine does falls on all of them alike.

A program calls `begin` at the start of every epoch; who started it, as a `Side`, gives it one turn after the other and
learns what each took. Started otherwise, the program trains through.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Side", "Turn", "begin", "epochs"]

_given = os.environ.get("TURNS", "").split()
_pipes = [os.fdopen(int(end), mode) for end, mode in zip(_given, "rw")]
_began = (0.0, 0.0)

epochs = int(_given[2]) if _given else 1
"""How many make a turn."""


def begin(epoch: int) -> None:
    """Epoch `epoch`, counted from 0, begins: if it is the first of a turn, say what the last turn took and wait."""
    global _began
    if not _pipes or epoch % epochs:
        return
    told, tell = _pipes
    wall, cpu = _began
    print(time.perf_counter() - wall, time.process_time() - cpu, file=tell, flush=True)
    told.readline()
    _began = time.perf_counter(), time.process_time()


class Turn(NamedTuple):
    """Seconds that a turn took by the clock, and of CPU with all the program's threads."""

    wall: float
    cpu: float


class Side:
    """A program that takes turns of so many epochs, its words written to `output`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], output: Path, epochs: int) -> None:
        told, tell = os.pipe()
        hears, says = os.pipe()
        turns = {"TURNS": f"{told} {says} {epochs}"}
        self.output = output
        with output.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                command, env={**environment, **turns}, stdout=file, stderr=subprocess.STDOUT, pass_fds=(told, says)
            )
        os.close(told)
        os.close(says)
        self._tell, self._hear = os.fdopen(tell, "w"), os.fdopen(hears)

    def wait(self) -> Turn:
        """The turn that ends now (of the start: nothing to rely on). Raises AssertionError if the program ended."""
        line = self._hear.readline()
        assert line, f"it ended before its turns did:\n{self.output.read_text(encoding='utf-8')[-3000:]}"
        return Turn(*map(float, line.split()))

    def turn(self) -> Turn:
        """Let the program train for one turn."""
        print(file=self._tell, flush=True)
        return self.wait()

    def finish(self) -> None:
        """Train to the end, without anybody else's turn. Raises AssertionError if the program fails."""
        print(file=self._tell, flush=True)
        status = self.process.wait()
        assert status == 0, f"it ended with {status}:\n{self.output.read_text(encoding='utf-8')[-3000:]}"

    def close(self) -> None:
        """End the program, if it has not ended."""
        self._tell.close()
        self._hear.close()
        self.process.kill()
        self.process.wait()
