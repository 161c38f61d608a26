"""Sweeps run by the tests, and what they leave on the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import write_config

BASE = {
    "device": "cpu",
    "epochs": 2,
    "log_every": 1,
    "dataset": {"name": "digits", "batch_size": 256},
    "model": {"name": "mlp", "hidden": [16], "dropout": 0.2},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "SGD", "lr": 0.1},
}
"""A trial of 12 steps."""


def write_sweep(folder: Path, base: Mapping[str, Any] = BASE, /, **keys: Any) -> Path:
    """A sweep file in `folder` over `base`."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_config(folder / "sweep-given.yaml", {"name": "s", "base": {"name": "t", **base}, **keys})


def optrun(folder: Path, *arguments: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """A command line, run as a process in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "optrun", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def metrics(sweep: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of every trial by its name, without their times."""
    return {path.parent.name: rows(path) for path in sorted(sweep.glob("*/metrics.jsonl"))}


def rows(path: Path) -> list[dict[str, Any]]:
    parsed = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "time"} for row in parsed]


def written(sweep: Path) -> dict[str, int]:
    """When the summary of each trial was last written, in nanoseconds: a trial that is not touched keeps it."""
    return {path.parent.name: path.stat().st_mtime_ns for path in sweep.glob("*/summary.json")}


def statuses(sweep: Path) -> list[str]:
    """The status of each trial, sorted."""
    return sorted(json.loads(path.read_text())["status"] for path in sweep.glob("*/summary.json"))


def labels(points: Sequence[Any]) -> list[dict[str, Any]]:
    return [dict(point.settings) for point in points]
