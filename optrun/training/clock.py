"""Seconds of training: on a CPU as the clock has them, on a CUDA device by events on its own time line, since a step is
still under way there when the call that began it returns.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#asynchronous-execution
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch

__all__ = ["Clock"]


class Clock:
    """Laps that begin with `start` and end with `stop`. Nothing waits for the device but `seconds`."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._by_events = device, device.type == "cuda"
        self._seconds = 0.0
        self._laps: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def start(self) -> Any:
        """When a lap begins, to be handed to `stop`."""
        return self._now() if self._by_events else perf_counter()

    def stop(self, started: Any) -> None:
        if self._by_events:
            self._laps.append((started, self._now()))
        else:
            self._seconds += perf_counter() - started

    def seconds(self) -> float:
        """Of the laps since it was asked last, all of them over."""
        for started, ended in self._laps:
            ended.synchronize()
            self._seconds += started.elapsed_time(ended) / 1000
        found, self._seconds, self._laps = self._seconds, 0.0, []
        return found

    def _now(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event
