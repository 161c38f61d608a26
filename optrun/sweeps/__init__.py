"""Sweeps: a plan becomes trials, an executor runs them, and what is finished is never run again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optrun.errors import UsageError
from optrun.sweeps.driver import Sweep

__all__ = ["Sweep", "sweep"]


def sweep(
    config: str | Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    grid: Mapping[str, Iterable[Any]] | None = None,
    seeds: int | Sequence[int] | None = None,
    executor: str = "auto",
    jobs: int | None = None,
    address: str | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
    slurm: Mapping[str, Any] | None = None,
    runs_dir: str | Path = "runs",
    imports: Sequence[str | Path] = (),
    retry_failed: bool = False,
    rerun_changed: bool = False,
) -> Sweep:
    """Run what is missing or unfinished of a sweep, in `runs_dir/<its name>`, and return it.

    `config` is the file of a sweep or of a run; `grid` sets axes of its grid, {"optimizer.lr": [0.01, 0.1]}, and
    `seeds` their seeds. `imports` are Python files that register components. `address`, `cpus` and `gpus` are for
    the executor `ray`: which cluster, and what a trial needs of it; `slurm` are the settings of jobs for `slurm`,
    {"timeout_min": 60}. The result's `ranking` has the points,
    best first; its `trials` each have a `status` and a `run`. A failed trial raises nothing. Raises UsageError for
    arguments that cannot be, ConfigError before anything is trained, and Interrupted.
    """
    from optrun.components.plugins import import_file
    from optrun.config.sweep import load_sweep
    from optrun.sweeps.executors.choosing import choose, refuse_unknown

    refuse_unknown(executor)
    axes = [] if grid is None else list(_axes(grid))
    imported = [import_file(file) for file in imports]
    spec = load_sweep(config, overrides, axes=axes, seeds=None if seeds is None else _text("seeds", seeds))
    found = Sweep(spec, runs_dir, imported=imported, retry_failed=retry_failed, rerun_changed=rerun_changed)
    of_ray = {"address": address, "cpus": cpus, "gpus": gpus}
    with found, choose(found, executor, jobs, imports, slurm=slurm, **of_ray) as chosen:
        for _ in found.events(chosen):
            pass
    return found


def _axes(grid: Mapping[str, Iterable[Any]]) -> Iterator[str]:
    """The axes as the command line writes them: `optimizer.lr=0.01, 0.1`. Raises UsageError."""
    if not isinstance(grid, Mapping):
        raise UsageError("grid must be a dict of lists; a list of products is written in a sweep's file")
    for key, candidates in grid.items():
        if not isinstance(candidates, Iterable) or isinstance(candidates, str | bytes | Mapping):
            raise UsageError(f"grid: {key} must be a list of candidates, not {candidates!r}; write [{candidates!r}]")
        yield f"{key}={_text(f'grid: {key}', candidates)[1:-1]}"


def _text(what: str, value: Any) -> str:
    """What is given for `what`, as YAML. Raises UsageError if that can be nothing of the kind."""
    from optrun.config.overrides import plain_data
    from optrun.config.writing import flow

    is_list = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    try:
        return flow(plain_data(list(value) if is_list else value))
    except ValueError as error:
        raise UsageError(f"{what}: {error}") from error
