"""What summary.json and environment.json say of a run."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optrun.config.spec import Spec
from optrun.runs import environment
from optrun.training.batches import Batches
from optrun.training.state import State

if TYPE_CHECKING:
    from optrun.training.shares import Shares

__all__ = ["described", "summarized"]


def described(
    spec: Spec,
    state: State,
    batches: Batches | Shares,
    imported: Sequence[Mapping[str, str]],
    around: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The content of environment.json for a run that starts now. `around` are its `environment.surroundings`, if they
    are known already; `imported` the user's files behind its components."""
    around = around or environment.surroundings(spec.folder)
    more = {
        "imports": list(imported),
        "data_fingerprint": state.data.fingerprint,
        "batches": batches.source,
        "objective": spec.objective,
    }
    return environment.describe(sys.argv, int(spec.threads), str(state.device), around, **more)


def summarized(state: State, wall_time: float, final: Mapping[str, float]) -> dict[str, Any]:
    """What summary.json says of how far a run is. `final` is the latest evaluation; times are seconds."""
    progress = state.progress
    best = {"metric": progress.metric, "mode": progress.mode, **progress.best} if progress.best else None
    reached = progress.reached or {"step": None, "time": None}
    return {
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
    }
