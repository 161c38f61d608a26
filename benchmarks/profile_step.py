"""Where the time of a step goes, by the lines of the training loop.

A timer stops the training a thousand times a second, between two instructions of Python, and looks where it stands: the
outermost line that is one of the loop's names the part. What comes of it is exact to about a hundredth, and costs less.
"""

from __future__ import annotations

import collections
import linecache
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from optrun.config.loading import load
from optrun.experiment import Experiment

__all__ = ["PARTS", "measure", "table"]

INTERVAL = 0.001
"""Seconds between two looks."""

PARTS = {
    "batch": ("next(upcoming)",),
    "forward to backward, replayed": ("passes.replayed(",),
    "forward": ("state.model(",),
    "loss": ("state.criterion(", "loss.item()"),
    "backward": (".backward()",),
    "clip": ("clip_gradients(",),
    "optimizer": ("optimizer.step(", "zero_grad("),
    "schedule": ("schedule.after_step(",),
    "logging": ("recent.add(", "recent.gather(", "training_row(", "self.take("),
    "evaluation": ("evaluation(state",),
}
"""What stands in the lines of each part. A pass that is replayed from a tape is forward, loss and backward in one."""

REST = "the loop itself"


class Sampler:
    """Looks, while it is entered, where the main thread stands, and counts by part."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()

    def __enter__(self) -> Sampler:
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _look(self, number: int, frame: FrameType | None) -> None:
        found = REST
        while frame is not None:
            found = _part(frame) or found
            frame = frame.f_back
        self.counts[found] += 1


def _part(frame: FrameType) -> str | None:
    path = frame.f_code.co_filename
    if "/optrun/training/" not in path and "/optrun/experiment/" not in path:
        return None
    line = linecache.getline(path, frame.f_lineno or 0)  # some instructions are of no line
    return next((part for part, signs in PARTS.items() if any(sign in line for sign in signs)), None)


def measure(config: Path, overrides: Sequence[str], seconds: float) -> dict[str, Any]:
    """Train the config for so many seconds, after its first epoch; the shares of the parts, and microseconds of them.

    Evaluations are no part of a step; they are told apart.
    """
    with tempfile.TemporaryDirectory() as directory:
        experiment = Experiment.new(load(config, ["epochs=1000000", *overrides]), directory=Path(directory, "run"))
        state, events = experiment.state, experiment.events()
        for _ in range(state.steps_per_epoch):
            next(events)
        first, started = state.step, time.perf_counter()
        with Sampler() as sampler:
            for _ in events:
                if time.perf_counter() - started > seconds:
                    break
            taken = time.perf_counter() - started
        steps = state.step - first
        events.close()
    total = sampler.counts.total()
    return {
        "config": config.name,
        "overrides": list(overrides),
        "steps": steps,
        "samples": total,
        "threads": int(experiment.spec.threads),
        "parts": {
            part: {
                "share": sampler.counts[part] / total,
                "microseconds_per_step": sampler.counts[part] / total * taken / steps * 1e6,
            }
            for part in (*PARTS, REST)
        },
    }


def table(figures: Mapping[str, Any]) -> str:
    """The parts as a Markdown table."""
    lines = [f"| {figures['config']}, {figures['steps']} steps | share | µs a step |", "|---|---|---|"]
    for part, its in figures["parts"].items():
        lines.append(f"| {part} | {its['share']:.1%} | {its['microseconds_per_step']:.0f} |")
    return "\n".join(lines)
