"""`kill -9` at a random instant and a new start, with optrun, Lightning and Accelerate: is the end the same?

Each tool trains a network on the digits with a checkpoint every ten steps, is killed once after it has begun to train,
and started again in the way that its documentation shows. Counted is how often the second start ends, and how often
with the weights, bit for bit, of a run that was never killed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["measure", "report"]

CONFIG = """
epochs: 11
device: cpu
threads: 1
dataset: {name: digits, batch_size: 64, val_fraction: 0.2}
model: {name: mlp, hidden: [64], dropout: 0.2}
loss: cross_entropy
optimizer: {name: Adam, lr: 0.003}
scheduler: {name: StepLR, step_size: 4}
clip_norm: 1.0
checkpoint_every: {steps: 10}
"""
OPTRUN = """
import sys, torch, optrun
from pathlib import Path
folder = Path(sys.argv[1])
run = folder / "run"
print("training", flush=True)
done = optrun.resume(run) if (run / "config.yaml").exists() else optrun.train(folder / "c.yaml", run_dir=run)
torch.save(torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"], folder / "final.pt")
"""


def measure(kills: int, rival_python: str) -> dict[str, Any]:
    """Of so many kills, how often each tool came to its end, and to the same bits."""
    digits = Path(str(importlib.util.find_spec("sklearn").origin)).parent / "datasets" / "data" / "digits.csv.gz"  # type: ignore[union-attr]
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DIGITS": str(digits), "PYTHONPATH": root}
    programs = {"optrun": [sys.executable, "-c", OPTRUN]}
    for name in ("lightning", "accelerate"):
        if subprocess.run([rival_python, "-c", f"import {name}"], capture_output=True).returncode == 0:
            programs[name] = [rival_python, "-m", f"benchmarks.rivals.resuming.{name}_run"]
    return {
        "kills": kills,
        "tools": {name: _tried(command, kills, environment) for name, command in programs.items()},
    }


def _tried(command: list[str], kills: int, environment: dict[str, str]) -> dict[str, int]:
    counts = {"ended": 0, "same_bits": 0}
    dice = random.Random(0)
    with tempfile.TemporaryDirectory() as whole:
        seconds, killed = _killed_after(math.inf, command, whole, environment), 0
        while killed < kills:
            with tempfile.TemporaryDirectory() as folder:
                lasted = _killed_after(dice.uniform(0.05, 0.95) * seconds, command, folder, environment)
                if Path(folder, "final.pt").exists():  # it was at its end before: the machine is faster now
                    seconds = lasted
                    continue
                killed += 1
                if _started(command, folder, environment).wait() == 0:
                    counts["ended"] += 1
                    counts["same_bits"] += _same(Path(whole, "final.pt"), Path(folder, "final.pt"))
    return counts


def _killed_after(seconds: float, command: list[str], folder: str, environment: dict[str, str]) -> float:
    """Train in `folder` for so many seconds at most; returns how many it was."""
    Path(folder, "c.yaml").write_text(CONFIG)
    process, begun = _started(command, folder, environment), time.monotonic()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(None if seconds == math.inf else seconds)
    process.kill()
    process.wait()
    return time.monotonic() - begun


def _started(command: list[str], folder: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """The program, when it has said that it begins to train."""
    process = subprocess.Popen(
        [*command, folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _same(one: Path, other: Path) -> bool:
    import torch

    weights, others = (torch.load(path, weights_only=True) for path in (one, other))
    return all(torch.equal(weights[key], others[key]) for key in weights)


def report(figures: dict[str, Any]) -> str:
    """A line for each tool."""
    lines = [f"  {figures['kills']} runs of each, killed once at a random instant"]
    for name, its in figures["tools"].items():
        lines.append(
            f"  {name:<12} came to its end {its['ended']:>3} times, {its['same_bits']:>3} times to the same bits"
        )
    return "\n".join(lines)
