"""`optrun compare` of many runs as a whole process, beside what people would write: pandas, and MLflow's own listing.

Every run is a directory as `optrun train` leaves it, with 1,000 rows in metrics.jsonl; five seeds make a group. What
the others do is less: pandas reads each run's config and summary and prints means by group (`pandas`), or reads the
rows as well (`pandas, rows`); MLflow searches a SQLite store of settings and one metric for each run, without rows.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import timed

__all__ = ["ROWS", "markdown", "measure", "report", "write_runs"]

ROOT = Path(__file__).parent.parent
ROWS, SEEDS = 1000, 5
OPTIMIZERS = ("SGD", "Adam", "RMSprop", "Adagrad")
CONFIG = """name: digits
seed: {seed}
device: auto
precision: fp32
epochs: 20
dataset: {{name: digits, batch_size: 64}}
model: {{name: mlp, hidden: [128, 64], dropout: 0.1}}
loss: cross_entropy
metrics: [accuracy]
optimizer: {{name: {optimizer}, lr: {lr}}}
scheduler: {{name: CosineAnnealingLR}}
clip_norm: 1.0
"""


def write_runs(directory: Path, count: int) -> None:
    """`count` run directories below `directory`, with values that no two share."""
    generator = random.Random(count)
    for number in range(count):
        group, seed = divmod(number, SEEDS)
        path = directory / f"digits-{number:08x}"
        path.mkdir(parents=True)
        settings = {"seed": seed, "optimizer": OPTIMIZERS[group % 4], "lr": round(1e-4 * 1.001 ** (group // 4), 9)}
        (path / "config.yaml").write_text(CONFIG.format(**settings))
        rows, best = _rows(generator, 0.9 + 0.05 * generator.random())
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (path / "summary.json").write_text(json.dumps(_summary(path.name, best)))


def _rows(generator: random.Random, level: float) -> tuple[list[dict[str, Any]], float]:
    rows: list[dict[str, Any]] = []
    best = 0.0
    for step in range(1, ROWS + 1):
        row: dict[str, Any] = {"step": step, "epoch": step // 50, "time": step * 1e-3}
        if step % 50:
            row |= {"train/loss": generator.random(), "lr": 0.1, "grad_norm": generator.random()}
        else:
            accuracy = level * (1 - 0.5 ** (step / 100)) + 0.01 * generator.random()
            best = max(best, accuracy)
            row |= {"val/loss": generator.random(), "val/accuracy": accuracy}
        rows.append(row)
    return rows, best


def _summary(name: str, best: float) -> dict[str, Any]:
    return {
        "run": name,
        "name": "digits",
        "status": "completed",
        "config_hash": name,
        "epochs": 20,
        "steps": ROWS,
        "parameters": 17226,
        "train_time": 1.0,
        "wall_time": 1.1,
        "samples_per_second": 64e3,
        "final": {"val/loss": 0.1, "val/accuracy": best},
        "best": {"metric": "val/accuracy", "mode": "max", "value": best, "step": ROWS, "epoch": 20},
        "target": None,
        "clipped_fraction": 0.1,
        "engine": "loop",
        "error": None,
    }


def measure(sizes: Sequence[int], repeat: int, rival_python: str) -> dict[str, Any]:
    """CPU seconds of each program beyond an empty Python's, `repeat` times in turn for each number of runs."""
    found: dict[str, Any] = {"rows": ROWS, "seeds": SEEDS, "cpu_seconds": {}}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            runs = Path(folder, str(size))
            write_runs(runs, size)
            programs = _programs(runs, size, rival_python, Path(folder))
            turns: dict[str, list[float]] = {name: [] for name in programs}
            for _ in range(repeat):
                for name, command in programs.items():
                    empty = _cpu([command[0], "-c", "pass"], folder)
                    turns[name].append(_cpu(command, folder) - empty)
            found["cpu_seconds"][str(size)] = turns
            print(f"  {size} runs measured", file=sys.stderr)
            subprocess.run(["rm", "-rf", str(runs)], check=True)
    return found


def _programs(runs: Path, size: int, rival_python: str, folder: Path) -> dict[str, list[str]]:
    optrun = [sys.executable, "-m", "optrun", "compare", "--runs-dir", str(runs), "--quiet"]
    programs = {
        "optrun compare": optrun,
        "optrun compare --json": [*optrun, "--json"],
        "optrun compare --metric val/loss": [*optrun, "--metric", "val/loss"],
        "optrun compare --metric train/loss": [*optrun, "--metric", "train/loss"],
    }
    rival = functools.partial(_rival, rival_python)
    if _has(rival_python, "pandas"):
        programs["pandas"] = rival("pandas_runs", str(runs))
        programs["pandas, rows"] = rival("pandas_runs", str(runs), "rows")
    if _has(rival_python, "mlflow"):
        store = f"sqlite:///{folder / f'mlflow-{size}.db'}"
        subprocess.run(rival("mlflow_runs", store, "fill", str(runs)), check=True, cwd=ROOT, stderr=subprocess.DEVNULL)
        programs["MLflow search_runs"] = rival("mlflow_runs", store, "list")
    return programs


def _rival(python: str, module: str, *arguments: str) -> list[str]:
    return [python, str(ROOT / "benchmarks" / "rivals" / "listing" / f"{module}.py"), *arguments]


def _has(python: str, module: str) -> bool:
    if python == sys.executable:
        return importlib.util.find_spec(module) is not None
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def _cpu(command: list[str], folder: str) -> float:
    return timed(command, {**os.environ, "OMP_NUM_THREADS": "1"}, Path(folder, "output.txt")).cpu


def markdown(figures: dict[str, Any]) -> str:
    """The figures as the table of docs/comparing.md."""
    sizes = list(figures["cpu_seconds"])
    names = dict.fromkeys(name for turns in figures["cpu_seconds"].values() for name in turns)
    lines = [["", *(f"{int(size):,} runs" for size in sizes)], ["---"] * (len(sizes) + 1)]
    lines += [[name, *(_spread(figures["cpu_seconds"][size].get(name)) for size in sizes)] for name in names]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(figures: dict[str, Any]) -> str:
    """Median and range of the CPU seconds, a line for each program."""
    sizes = list(figures["cpu_seconds"])
    names = dict.fromkeys(name for turns in figures["cpu_seconds"].values() for name in turns)
    lines = ["  " + "".join([f"{'CPU s beyond an empty Python':<36}", *(f"{f'{int(n):,} runs':>24}" for n in sizes)])]
    for name in names:
        cells = [figures["cpu_seconds"][size].get(name) for size in sizes]
        lines.append("  " + "".join([f"{name:<36}", *(f"{_spread(cell):>24}" for cell in cells)]))
    return "\n".join(lines)


def _spread(seconds: Sequence[float] | None) -> str:
    if not seconds:
        return "–"
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} … {max(seconds):.2f})"
