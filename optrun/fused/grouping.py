"""Which runs may train as one stack: those whose configs differ only in what each member of a stack has for itself.

Imports no torch. What only the model can tell comes to light when the stack is built (`CannotFuse`).
"""

from __future__ import annotations

import json
from collections.abc import Hashable

from optrun.config.spec import Spec

__all__ = ["ALONE", "OWN", "cannot_fuse", "group_key"]

OWN = {"seed", "optimizer", "scheduler", "clip_norm", "clip_value", "epochs", "steps"}
"""Keys of a config in which members may differ."""

_OF_NO_ACCOUNT = {"name", "notes", "tags"}

ALONE = ("ASGD", "Adafactor", "Muon", "NAdam", "Rprop")
"""Optimizers of torch that take their steps one by one, each member's own, on its rows of the stack."""

TOGETHER = ("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "RAdam", "RMSprop", "SGD")
"""Optimizers of torch that are updated for many members at once."""


def group_key(spec: Spec) -> Hashable:
    """Equal for specs that may train as one, if each of them may at all."""
    shared = {key: value for key, value in spec.resolved().items() if key not in OWN | _OF_NO_ACCOUNT}
    return json.dumps({**shared, "objective": spec.objective}, sort_keys=True, default=str)


def cannot_fuse(spec: Spec) -> str | None:
    """Why the run must train alone, as far as its config tells; None if it may train with others."""
    for optimizer in filter(None, (spec.optimizer, spec.optimizer.fallback)):
        if optimizer.name not in (*TOGETHER, *ALONE):
            return f"there is no rule for {optimizer.name}"
        special = [key for key in ("fused", "foreach", "capturable", "differentiable") if optimizer.settings.get(key)]
        if special:
            return f"{optimizer.name} with {special[0]} is another implementation"
    if spec.precision not in ("fp32", "fp64"):
        return f"{spec.precision} is trained alone"
    if spec.compile:
        return "a compiled model is trained alone"
    if spec.memory_format != "contiguous_format":
        return f"{spec.memory_format} is trained alone"
    if spec.threads != 1:
        return f"{spec.threads} threads are for a run alone"
    if spec.model.settings.get("sparse"):
        return "sparse gradients are for a run alone"
    if spec.dataset.transforms or spec.dataset.workers:
        return "its examples are made anew for every epoch"
    return None
