"""What summary.json says of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optrun.config.spec import Spec
from optrun.training.state import State

__all__ = ["summarized"]


def summarized(
    run: str,
    spec: Spec,
    state: State,
    status: str,
    *,
    wall_time: float,
    final: Mapping[str, float],
    error: str | None,
) -> dict[str, Any]:
    """The content of summary.json as things stand. `final` is the latest evaluation; times are seconds."""
    progress = state.progress
    best = {"metric": progress.metric, "mode": progress.mode, **progress.best} if progress.best else None
    reached = progress.reached or {"step": None, "time": None}
    return {
        "run": run,
        "name": spec.name,
        "status": status,
        "config_hash": spec.config_hash(),
        "epochs": state.epoch,
        "steps": state.step,
        "parameters": sum(p.numel() for p in state.model.parameters()),
        "train_time": state.time,
        "wall_time": wall_time,
        "samples_per_second": state.samples / state.time if state.time else None,
        "final": dict(final),
        "best": best,
        "target": {"reached": progress.reached is not None, **reached} if progress.target_metric else None,
        "clipped_fraction": state.clipped_fraction,
        "engine": "loop",
        "error": error,
    }
