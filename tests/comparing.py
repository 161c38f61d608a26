"""Run directories of made-up numbers, in the format of the contract, for the tests of comparisons."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BASE = {
    "epochs": 4,
    "dataset": {"name": "digits", "batch_size": 64},
    "model": {"name": "mlp", "hidden": [16]},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "SGD", "lr": 0.1},
    "scheduler": None,
    "clip_norm": None,
}

METRIC = "val/accuracy"


def write_run(
    path: Path,
    values: Sequence[float],
    *,
    seed: int = 0,
    status: str = "completed",
    metric: str = METRIC,
    mode: str = "max",
    config: Mapping[str, Any] = {},
    summary: Mapping[str, Any] = {},
) -> Path:
    """A run with an evaluation of those values every 10 steps, half a second each; dotted keys of `config` are set."""
    path.mkdir(parents=True)
    given: dict[str, Any] = {"name": path.name.split("-")[0], "seed": seed, **json.loads(json.dumps(BASE))}
    for key, value in config.items():
        holder, *rest = key.split(".")
        if rest:
            given[holder] = {**(given[holder] or {}), rest[0]: value}
        else:
            given[holder] = value
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in given.items()]
    (path / "config.yaml").write_text("".join(lines))
    rows = [{"step": 10 * i, "epoch": i, "time": 0.5 * i, metric: _as_json(value)} for i, value in enumerate(values, 1)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    finite = [value for value in values if math.isfinite(value)]
    best = (max if mode == "max" else min)(finite, default=None)
    written = {
        "run": path.name,
        "name": given["name"],
        "status": status,
        "epochs": len(values),
        "steps": 10 * len(values),
        "train_time": 0.5 * len(values),
        "wall_time": 1.0,
        "samples_per_second": 100.0,
        "clipped_fraction": None,
        "final": {metric: _as_json(values[-1])} if values else {},
        "best": {"metric": metric, "mode": mode, "value": best, "step": 0, "epoch": 0},
        "target": None,
        **summary,
    }
    (path / "summary.json").write_text(json.dumps(written))
    return path


def _as_json(value: float) -> float | str:
    """As runs write it: NaN and the infinities are strings."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def raw_values(path: Path, metric: str = METRIC) -> list[float]:
    """What metrics.jsonl says, read without optrun."""
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [float(row[metric]) for row in rows if metric in row]
