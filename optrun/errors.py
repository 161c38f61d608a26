"""Everything optrun raises on purpose, and the exit code each becomes. Imports nothing heavy.

OptrunError                 1   anything below
├── UsageError              2   a command was called with something that cannot be
│   ├── ConfigError         2   a configuration has problems: all of them, each with its place
│   └── NotARun             2   a path that holds no run
│       └── NoRunsYet       2   a directory that holds none yet
├── RunError                1   a run could not go on
│   ├── RunLocked           1   another process is working on the run
│   └── CheckpointError     1   no checkpoint of the run can be read
├── Diverged                3   the loss is no longer a finite number
├── TrialsFailed            4   a sweep has ended with failed trials
├── Interrupted       130, 143  SIGINT or SIGTERM came: checkpointed, resumable
└── Unsaid               1 … 3  what ends a process that is one of several, and is said by another
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Diverged",
    "Interrupted",
    "NoRunsYet",
    "NotARun",
    "OptrunError",
    "Problem",
    "RunError",
    "RunLocked",
    "TrialsFailed",
    "Unsaid",
    "UsageError",
    "in_words",
]


class OptrunError(Exception):
    """The root: `str()` of it is one or more whole sentences for the user."""

    exit_code: ClassVar[int] = 1


class UsageError(OptrunError):
    """A command or function was called with something that cannot be."""

    exit_code = 2


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a configuration: where it stands, which key, what to do.

    `line` and `column` count from 1; 0 means the problem has no place in the text. Problems sort by their place.
    """

    source: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}:{self.column}" if self.line else self.source
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ConfigError(UsageError):
    """A configuration cannot be used; `problems` lists every reason, in the order of the text."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class NotARun(UsageError):
    """A path was taken for a run directory and is none."""


class NoRunsYet(NotARun):
    """A directory was taken for one of runs and holds none; a sweep that begins may still fill it."""


class RunError(OptrunError):
    """A run could not start or go on."""


class RunLocked(RunError):
    """Another process is working on the run, on the machine `host` if that is known."""

    def __init__(self, sentence: str, host: str | None = None) -> None:
        self.host = host
        super().__init__(sentence)


class CheckpointError(RunError):
    """No checkpoint of the run can be read."""


class Diverged(OptrunError):
    """A loss is NaN or infinite: the training loss of optimizer step `step` (counted from 1), or that of the validation
    part after the last step."""

    exit_code = 3

    def __init__(
        self, step: int, loss: float, epoch: int, lr: float | Sequence[float], *, key: str = "train/loss"
    ) -> None:
        self.step, self.loss, self.epoch, self.lr, self.key = step, loss, epoch, lr, key
        where = f"the loss is {loss} at" if key == "train/loss" else f"{key} is {loss} after"
        super().__init__(f"{where} step {step}: the run has diverged; try a lower lr or clip_norm")


class Interrupted(OptrunError):
    """A signal asked to stop; what was running is checkpointed, and `advice` says how to go on."""

    def __init__(self, signal: int, advice: str) -> None:
        self.signal = signal
        self.exit_code = 128 + signal  # type: ignore[misc]
        super().__init__(f"interrupted; {advice}")


class TrialsFailed(OptrunError):
    """A sweep has ended, and some of its trials have failed."""

    exit_code = 4


class Unsaid(OptrunError):
    """This process is one of several that train a run, and ends with an exit code that another one explains."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code  # type: ignore[misc]
        super().__init__()


def in_words(error: BaseException) -> str:
    """Any exception in a line: `ValueError: what it says`, or `MemoryError` alone, since that says nothing."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
