"""What the driver of a sweep costs: 100,000 trials of recorded durations through the planner and the record-keeping.

A few trials are trained once, as the executor ray has them trained on another machine, and what comes back of each is
kept: messages, and the seconds between them. Then a sweep of many trials is driven as always; but its far executor
trains nothing: it hands on one of these recordings, under the trial's own name, at the time at which it would have come
from one of so many workers. What is left is the driver: it reads the sweep, pickles every task, unpickles what comes
back, writes it into the run directories, keeps the books, and ranks. The seconds in which recordings are put under
another name are left out, and so is the disk: the run directories are in memory. Seconds are those of the CPU.

- plan: from the sweep's file to all its trials
- drive: until all are done
- again: until the same command has found that all is done, and has ranked them
"""

from __future__ import annotations

import contextlib
import heapq
import json
import math
import pickle
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optrun.config.sweep import load_sweep
from optrun.config.writing import to_yaml
from optrun.sweeps import Sweep
from optrun.sweeps.executors.apart import Apart
from optrun.sweeps.executors.interface import Executor
from optrun.sweeps.parcel import Brought, Parcel
from optrun.sweeps.work import train_trial

__all__ = ["measure", "table"]

SWEEP = """name: planned
base:
  device: cpu
  epochs: 4
  dataset: {{name: digits, batch_size: 64}}
  model: {{name: mlp, hidden: [4]}}
  loss: cross_entropy
  metrics: [accuracy]
  optimizer: {{name: SGD, lr: 0.1}}
grid: {{optimizer.lr: {rates}, optimizer.weight_decay: {decays}}}
"""
RECORDED = 8
"""Trials that are trained once."""

Message = tuple[float, bytes]
"""Seconds since the one before, and what came, pickled."""


def measure(trials: Sequence[int], workers: int, folder: str) -> dict[str, Any]:
    """The seconds of the driver for each of the numbers of trials, and its memory."""
    recordings = _recorded()
    lasted = [sum(seconds for seconds, _ in recording) for recording in recordings]
    return {
        "workers": workers,
        "recorded_seconds": lasted,
        "bytes_per_trial": sum(len(content) for recording in recordings for _, content in recording) / RECORDED,
        "messages_per_trial": sum(map(len, recordings)) / RECORDED,
        "sweeps": {str(number): _driven(number, workers, folder, recordings) for number in trials},
        "definitions": (__doc__ or "").split("\n\n", 1)[1].strip(),
    }


def table(figures: Mapping[str, Any]) -> str:
    """The figures as a Markdown table."""
    lines = [
        "| trials | plan | drive | a trial | again | memory | workers that one driver keeps busy with trials of 10 s |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, found in figures["sweeps"].items():
        each = found["drive_seconds"] / int(number)
        lines.append(
            f"| {int(number):,} | {found['plan_seconds']:.1f} s | {found['drive_seconds']:.1f} s "
            f"| {1000 * each:.2f} ms | {found['again_seconds']:.1f} s | {found['memory_mib']:.0f} MiB "
            f"| {10 / each:,.0f} |"
        )
    return "\n".join(lines)


def _sweep(folder: Path, trials: int) -> Path:
    path = folder / "planned.yaml"
    rows = next(number for number in range(math.isqrt(trials), 0, -1) if trials % number == 0)
    rates = [round(0.01 + 0.09 * i / rows, 9) for i in range(rows)]
    decays = [round(0.0001 * i, 9) for i in range(trials // rows)]
    path.write_text(SWEEP.format(rates=rates, decays=decays))
    return path


def _recorded() -> list[list[Message]]:
    """What comes back of a few trials, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        sweep = Sweep(load_sweep(_sweep(Path(folder), RECORDED)), folder)
        far = _Recorder()
        with sweep, Apart(far) as executor:
            for _ in sweep.events(executor):
                pass
    return far.recordings


class _Recorder(Executor):
    """A far executor that is here, and keeps what its work brings."""

    def __init__(self) -> None:
        self.recordings: list[list[Message]] = []

    jobs = neighbours = 1
    stopped = None

    def run(self, work: Callable[[Any], Iterator[Any]], tasks: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        for parcel in tasks:
            recording, before = [], time.perf_counter()
            for brought in work(pickle.loads(pickle.dumps(parcel))):
                now = time.perf_counter()
                recording.append((now - before, pickle.dumps(brought)))
                before = now
                yield parcel, brought
            if parcel.work is train_trial:
                self.recordings.append(recording)


class _Player(_Recorder):
    """A far executor of `workers` that plays recordings. `seconds` are those that only the playing takes."""

    def __init__(self, workers: int, recordings: Sequence[Sequence[Message]]) -> None:
        super().__init__()
        self.jobs = self.neighbours = workers
        self.recordings = [list(recording) for recording in recordings]
        self.seconds = 0.0

    def run(self, work: Callable[[Any], Iterator[Any]], tasks: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        if not tasks or tasks[0].work is not train_trial:
            yield from ((parcel, Brought([], None)) for parcel in tasks)
            return
        dice = random.Random(0)
        waiting = iter(tasks)
        under_way: list[tuple[float, int, Parcel, list[Message], int]] = []
        for number, parcel in enumerate(tasks[: self.jobs]):
            next(waiting)
            heapq.heappush(under_way, self._begun(0.0, number, parcel, dice))
        number = len(under_way)
        while under_way:
            now, which, parcel, recording, index = heapq.heappop(under_way)
            content = self._renamed(recording[index][1], parcel)
            yield parcel, pickle.loads(content)
            if index + 1 < len(recording):
                later = now + recording[index + 1][0]
                heapq.heappush(under_way, (later, which, parcel, recording, index + 1))
            elif (after := next(waiting, None)) is not None:
                heapq.heappush(under_way, self._begun(now, number, after, dice))
                number += 1

    def _begun(self, now: float, number: int, parcel: Parcel, dice: random.Random) -> Any:
        pickle.dumps(parcel)
        recording = dice.choice(self.recordings)
        return now + recording[0][0], number, parcel, recording, 0

    def _renamed(self, content: bytes, parcel: Parcel) -> bytes:
        """A message of another trial as one of this one."""
        began = time.process_time()
        brought: Brought = pickle.loads(content)
        spec, name = parcel.task.spec, parcel.task.directory.name
        calls = [tuple(_of(name, part) for part in call) for call in brought.calls]
        for index, call in enumerate(calls):
            if call[0] == "write" and b"config_hash" in call[2] and call[2].startswith(b"{"):
                summary = json.loads(call[2]) | {"run": name, "name": spec.name, "config_hash": spec.config_hash()}
                calls[index] = (*call[:2], json.dumps(summary).encode())
            elif call[0] == "write" and call[2].startswith(b"name: "):
                calls[index] = (*call[:2], to_yaml(spec.resolved()).encode())
        renamed = pickle.dumps(Brought(calls, brought.report, brought.is_last))
        self.seconds += time.process_time() - began
        return renamed


def _of(name: str, part: Any) -> Any:
    """A path of another run as one of the run called `name`."""
    if not isinstance(part, str) or not part.startswith("planned-"):
        return part
    return "/".join([name, *part.split("/")[1:]])


def _driven(trials: int, workers: int, folder: str, recordings: Sequence[Sequence[Message]]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        path = _sweep(Path(inside), trials)
        began = time.process_time()
        sweep = Sweep(load_sweep(path), inside)
        sweep.plan()
        planned = time.process_time()
        player = _Player(workers, recordings)
        with sweep, Apart(player) as executor, contextlib.closing(sweep.events(executor)) as events:
            for _ in events:
                pass
        driven = time.process_time()
        assert sweep.counts == {"completed": trials}, sweep.counts
        again = Sweep(load_sweep(path), inside)
        with again, Apart(_Player(workers, recordings)) as executor:
            assert not [*again.events(executor)]
        assert len(again.ranking) == trials
        ended = time.process_time()
    return {
        "plan_seconds": planned - began,
        "drive_seconds": driven - planned - player.seconds,
        "again_seconds": ended - driven,
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
