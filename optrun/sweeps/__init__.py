"""Sweeps: a plan becomes trials, an executor runs them, and what is finished is never run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optrun.sweeps.driver import Sweep

__all__ = ["Sweep", "sweep"]


def sweep(
    config: str | Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    grid: Mapping[str, Sequence[Any]] | None = None,
    seeds: int | Sequence[int] | None = None,
    executor: str = "auto",
    jobs: int | None = None,
    runs_dir: str | Path = "runs",
    imports: Sequence[str | Path] = (),
    retry_failed: bool = False,
    rerun_changed: bool = False,
) -> Sweep:
    """Run what is missing or unfinished of a sweep, in `runs_dir/<its name>`, and return it.

    `config` is the file of a sweep or of a run; `grid` sets axes of its grid, {"optimizer.lr": [0.01, 0.1]}, and
    `seeds` their seeds. `imports` are Python files that register components. The result's `ranking` has the points,
    best first; its `trials` each have a `status` and a `run`. A failed trial raises nothing. Raises ConfigError
    before anything is trained, and Interrupted.
    """
    from optrun.components.plugins import import_file
    from optrun.config.sweep import load_sweep
    from optrun.config.writing import flow
    from optrun.sweeps.executors.choosing import choose

    imported = [import_file(file) for file in imports]
    axes = [f"{key}={flow(list(values))[1:-1]}" for key, values in (grid or {}).items()]
    words = None if seeds is None else flow(seeds if isinstance(seeds, int) else list(seeds))
    spec = load_sweep(config, overrides, axes=axes, seeds=words)
    found = Sweep(spec, runs_dir, imported=imported, retry_failed=retry_failed, rerun_changed=rerun_changed)
    with found, choose(found, executor, jobs, imports) as chosen:
        for _ in found.events(chosen):
            pass
    return found
