"""What is seen of a run while it trains: plain lines, or on a terminal a bar below a table that grows."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from optrun.cli.wording import BLUE, brief, clock, fixed, learning_rate, rate

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from optrun.experiment import Experiment
    from optrun.training.events import Evaluated

__all__ = ["Bar", "Display", "Lines"]

REFRESH = 0.1
"""Seconds between two pictures of the bar. One takes 0.7 ms; between them a step costs 0.3 µs."""

LINES = 20
"""A terminal gets about so many lines of evaluations; of a longer run every second one, or every fifth, …"""


class Display(Protocol):
    """Told of a run's events. Entered before the first, left after the last."""

    row: dict[str, Any]
    """The latest training row, or {}."""
    due: float
    """When `refresh` wants to be called, on the clock of `time.perf_counter`."""

    def __enter__(self) -> Any: ...
    def __exit__(self, *exception: object) -> None: ...
    def refresh(self) -> None: ...
    def evaluated(self, event: Evaluated) -> None: ...


class Lines:
    """Plain lines: one to begin with and one for each evaluation."""

    def __init__(self, experiment: Experiment, console: Console) -> None:
        self.experiment, self.console = experiment, console
        self.row: dict[str, Any] = {}
        self.due = math.inf

    def __enter__(self) -> None:
        self.console.print(introduction(self.experiment))

    def __exit__(self, *exception: object) -> None:
        """Lines leave nothing to tidy up."""

    def refresh(self) -> None:
        """Lines stay as they are."""

    def evaluated(self, event: Evaluated) -> None:
        spec, state = self.experiment.spec, self.experiment.state
        epochs = f"/{spec.epochs}" if spec.epochs else ""
        training = {"train/loss": brief(self.row["train/loss"])} if self.row else {}
        rates = {"lr": learning_rate(self.row["lr"])} if self.row else {}
        values = training | {key: brief(value) for key, value in event.values.items()} | rates
        self.console.print(
            f"epoch {event.epoch}{epochs}  step {event.step}/{state.total_steps}  "
            + "  ".join(f"{key} {value}" for key, value in values.items()),
        )


class Bar:
    """A bar with the latest values below it; above it a table of the evaluations, which stays."""

    def __init__(self, experiment: Experiment, console: Console) -> None:
        from rich.live import Live

        self.experiment, self.console = experiment, console
        self.spec, self.state = experiment.spec, experiment.state
        self.row: dict[str, Any] = {}
        self.due = 0.0
        self.latest: Evaluated | None = None
        self.evaluations = 0
        self.columns: list[str] = []
        self.pace = deque([(time.perf_counter(), self.state.step)], maxlen=50)
        """When which step had been taken, at the latest pictures."""
        # Without a thread of its own: a picture is drawn between two steps, never during one.
        self.live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=sys.stdout.isatty())

    def __enter__(self) -> None:
        self.console.print(introduction(self.experiment), soft_wrap=False)
        self.live.start()
        self.refresh()

    def __exit__(self, *exception: object) -> None:
        self.live.stop()

    def refresh(self) -> None:
        now = time.perf_counter()
        self.pace.append((now, self.state.step))
        self.live.update(self.picture(), refresh=True)
        self.due = now + REFRESH

    def evaluated(self, event: Evaluated) -> None:
        """Add a line to the table, if it is this evaluation's turn."""
        self.latest = event
        self.evaluations += 1
        every = math.ceil(expected_evaluations(self.experiment) / LINES)
        if self.evaluations % every and event.step < self.state.total_steps:
            return
        cells = {"epoch": str(event.epoch), "step": str(event.step)}
        cells["train/loss"] = fixed(self.row["train/loss"]) if self.row else "–"
        cells |= {key: fixed(value) for key, value in event.values.items()}
        cells["lr"] = learning_rate(self.row["lr"], 3) if self.row else "–"
        if not self.columns:
            self.columns = fitting(list(cells), self.console.width)
            self.console.print(table_line("", {name: name for name in self.columns}), style="dim")
        best = self.state.progress.best or {}
        mark = "*" if best.get("step") == event.step else ""
        self.console.print(table_line(mark, {name: cells[name] for name in self.columns}))

    def picture(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        spec, step, total = self.spec, self.state.step, self.state.total_steps
        epoch = min(self.state.epoch + 1, spec.epochs or self.state.epoch + 1)
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True, justify="right")
        line.add_row(
            f"epoch {epoch}/{spec.epochs}" if spec.epochs else f"step {step:,}/{total:,}",
            ProgressBar(total, step, complete_style=BLUE, finished_style=BLUE),
            f"{step / total:.0%}{self.left()}",
        )
        return Group(line, Text(self.numbers(), no_wrap=True, overflow="ellipsis"))

    def numbers(self) -> str:
        """The line below the bar: the latest values."""
        shown = [f"loss {brief(self.row['train/loss'])}"] if self.row else []
        if self.latest is not None:
            metric = self.state.progress.metric
            shown.append(f"{metric} {brief(self.latest.values[metric])}")
        shown += [f"lr {learning_rate(self.row['lr'])}"] if self.row else []
        shown += [rate(self.speed(), "steps")] if self.speed() else []
        return "  ".join(shown) or "the first step takes longest"

    def speed(self) -> float:
        """Steps per second over the last five seconds, evaluations included."""
        (start, first), (end, last) = self.pace[0], self.pace[-1]
        return (last - first) / (end - start) if end > start else 0.0

    def left(self) -> str:
        speed = self.speed()
        return f"  {clock((self.state.total_steps - self.state.step) / speed)} left" if speed else ""


def introduction(experiment: Experiment) -> str:
    """What is going to be trained, in a line."""
    spec, state = experiment.spec, experiment.state
    parameters = sum(p.numel() for p in state.model.parameters())
    optimizer = spec.optimizer.name + (f" with {spec.scheduler.name}" if spec.scheduler else "")
    epochs = f"{spec.epochs:,} epochs, " if spec.epochs else ""
    begun = f"; goes on after step {state.step:,}" if state.step else ""
    return (
        f"{spec.name}: {spec.model.name} of {parameters:,} parameters on {spec.dataset.name}, {optimizer}, "
        f"{epochs}{state.total_steps:,} steps on {state.device}{begun}"
    )


def expected_evaluations(experiment: Experiment) -> int:
    every, state = experiment.spec.eval_every, experiment.state
    return math.ceil(state.total_steps / (every * state.steps_per_epoch if isinstance(every, int) else every.steps))


def table_line(mark: str, cells: dict[str, str]) -> str:
    """A line of the table; `*` marks the best evaluation so far."""
    return f"{mark:1}" + " ".join(f"{cell:>{width_of(name)}}" for name, cell in cells.items())


def width_of(column: str) -> int:
    return 9 if column == "lr" else max(len(column), 6)


def fitting(columns: list[str], width: int) -> list[str]:
    """As many columns as fit into `width`: later metrics make room first, then the learning rate."""
    while len(columns) > 3 and sum(width_of(name) + 1 for name in columns) > width:
        columns = [*columns[:-2], columns[-1]] if len(columns) > 5 else columns[:-1]
    return columns
