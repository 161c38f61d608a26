"""SIGINT and SIGTERM as a wish that whoever works may read between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, ClassVar, Self

__all__ = ["StopRequest"]


class StopRequest:
    """While entered, the first SIGINT or SIGTERM only sets `signal`; the next one acts as it would have before.

    Entered within another one (a run within a sweep), both hear of the first signal, even if it came before the inner
    one was entered. Signals reach a process's main thread alone: entered in another one it never hears of any.
    """

    _entered: ClassVar[list[StopRequest]] = []
    _before: ClassVar[dict[int, Any]] = {}

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            if not self._entered:
                for number in (signal.SIGINT, signal.SIGTERM):
                    self._before[number] = signal.signal(number, self._asked)
            self.signal = next((outer.signal for outer in self._entered if outer.signal is not None), None)
            self._entered.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        if self in self._entered:
            self._entered.remove(self)
            if not self._entered:
                self._restore()

    @classmethod
    def ask(cls, number: int) -> None:
        """As if the signal had come: for one of another kind that means the same."""
        for entered in cls._entered:
            entered.signal = number
        cls._restore()

    @classmethod
    def _asked(cls, number: int, frame: FrameType | None) -> None:
        cls.ask(number)

    @classmethod
    def _restore(cls) -> None:
        """Once: what comes after the first signal is none of ours."""
        while cls._before:
            signal.signal(*cls._before.popitem())
