"""optrun: run, repeat and compare PyTorch training experiments.

    spec = optrun.load("digits.yaml", {"optimizer.lr": 0.1})
    run = optrun.train(spec)
    run.summary["best"]
    optrun.sweep("digits.yaml", grid={"optimizer.lr": [0.01, 0.1]}, seeds=3).ranking

    @optrun.models.register
    def residual(data, *, width: int = 48) -> torch.nn.Module: ...

Importing optrun imports no torch; training does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Dataset",
    "Examples",
    "OptrunError",
    "Run",
    "Spec",
    "compare",
    "datasets",
    "functions",
    "load",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "read",
    "resume",
    "schedulers",
    "sweep",
    "train",
]

_HOME = {
    "optrun.comparisons.asking": ["compare"],
    "optrun.components.data": ["Dataset", "Examples"],
    "optrun.components.registry": ["datasets", "functions", "losses", "metrics", "models", "optimizers", "schedulers"],
    "optrun.config.loading": ["load"],
    "optrun.config.spec": ["Spec"],
    "optrun.errors": ["OptrunError"],
    "optrun.experiment": ["resume", "train"],
    "optrun.runs.reader": ["Run", "read"],
    "optrun.sweeps": ["sweep"],
}

if TYPE_CHECKING:
    from optrun.comparisons.asking import compare
    from optrun.components.data import Dataset, Examples
    from optrun.components.registry import datasets, functions, losses, metrics, models, optimizers, schedulers
    from optrun.config.loading import load
    from optrun.config.spec import Spec
    from optrun.errors import OptrunError
    from optrun.experiment import resume, train
    from optrun.runs.reader import Run, read
    from optrun.sweeps import sweep


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used, so that `import optrun` costs nothing."""
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'optrun' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
