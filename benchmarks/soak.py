"""4,000 trials through one pool: whether memory and open files of the driver and its workers stay as they are.

Looked at after every 200 trials are resident memory and open file descriptors: of the driver, and of the template and
the workers together (what they share counts in each).
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["measure", "report"]

EVERY = 200
CONFIG = """name: soak
base:
  device: cpu
  threads: 1
  steps: 10
  dataset: {{name: digits, batch_size: 64}}
  model: {{name: mlp, hidden: [16]}}
  loss: cross_entropy
  metrics: [accuracy]
  optimizer: {{name: SGD, lr: 0.1}}
grid: {{optimizer.lr: {rates}}}
"""


def measure(trials: int, jobs: int) -> dict[str, Any]:
    """Run a sweep of so many trials of ten steps; what its processes hold, while it goes on."""
    from optrun.config.sweep import load_sweep
    from optrun.sweeps import Sweep
    from optrun.sweeps.executors.choosing import choose
    from optrun.sweeps.tasks import Ended

    samples: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        rates = [round(0.01 + 0.09 * i / trials, 9) for i in range(trials)]
        path = Path(folder, "soak.yaml")
        path.write_text(CONFIG.format(rates=rates))
        done = 0
        with Sweep(load_sweep(path), folder) as sweep, choose(sweep, "pool", jobs, []) as executor:
            for event in sweep.events(executor):
                if isinstance(event, tuple) and isinstance(event[1], Ended):
                    done += 1
                    if done % EVERY == 0:
                        samples.append({"trials": done, **_looked_at()})
                        print(f"  {done} trials", file=sys.stderr)
        failed = sum(trial.status != "completed" for trial in sweep.trials)
    return {"trials": trials, "jobs": jobs, "failed": failed, "samples": samples}


def _looked_at() -> dict[str, Any]:
    """MiB of memory and open descriptors: of this process, and of all below it together."""
    below = [found for pid in _below(os.getpid()) if (found := _of(pid))]
    memory, files = _of(os.getpid()) or (0.0, 0)
    return {
        "driver_mib": memory,
        "driver_files": files,
        "workers_mib": sum(memory for memory, _ in below),
        "workers_files": sum(files for _, files in below),
        "processes": len(below),
    }


def _below(ancestor: int) -> list[int]:
    """The processes that this one has started, and those have."""
    found: list[int] = []
    for path in Path(f"/proc/{ancestor}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *_below(child)]
    return found


def _of(pid: int) -> tuple[float, int] | None:
    """Resident MiB and open descriptors of a process; None when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None


def report(figures: dict[str, Any]) -> str:
    """The first and the last fifth of the samples beside each other."""
    samples = figures["samples"]
    fifth = max(1, len(samples) // 5)
    lines = [f"  {figures['trials']} trials on {figures['jobs']} workers, {figures['failed']} not completed"]
    for key in ("driver_mib", "workers_mib", "driver_files", "workers_files"):
        name, unit = key.split("_")
        first, last = (statistics.median(each[key] for each in part) for part in (samples[:fifth], samples[-fifth:]))
        lines.append(f"  {name:<9} {first:8.1f} → {last:8.1f} {unit.replace('mib', 'MiB')}")
    return "\n".join(lines)
