"""Which executor runs a sweep."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optrun.components.registry import KINDS
from optrun.config.spec import Spec
from optrun.errors import UsageError
from optrun.fused.grouping import cannot_fuse
from optrun.sweeps.driver import Sweep
from optrun.sweeps.executors.apart import Apart
from optrun.sweeps.executors.cores import physical_cores
from optrun.sweeps.executors.fused import Fused
from optrun.sweeps.executors.inline import Inline
from optrun.sweeps.executors.interface import Executor
from optrun.sweeps.executors.pool import Pool

__all__ = ["EXECUTORS", "choose", "refuse_unknown"]

EXECUTORS = {
    "auto": "fused where trials are alike and it pays, else the pool; inline for a single trial",
    "inline": "one trial after the other in this process; a debugger works",
    "pool": "processes that stay and take trial after trial, one for each core or CUDA device",
    "fused": "alike trials trained as one model in each process of a pool, bit for bit; the others in the pool",
    "ray": "processes on the nodes of a Ray cluster, or of one that is started on this machine for the sweep",
    "slurm": "jobs of a Slurm cluster, alike trials together where there are many; needs optrun[slurm]",
}
"""What `--executor` takes."""


def refuse_unknown(name: str) -> None:
    """Raises UsageError unless there is an executor called `name`."""
    if name not in EXECUTORS:
        known = ", ".join(f"{each} ({what})" for each, what in EXECUTORS.items())
        raise UsageError(f"there is no executor {name}; there are {known}")


def choose(
    sweep: Sweep,
    name: str,
    jobs: int | None,
    imports: Sequence[str | Path] = (),
    *,
    address: str | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
    slurm: Mapping[str, Any] | None = None,
) -> Executor:
    """The executor called `name` with `jobs` trials at a time. `imports` are the user's files, run in each process.

    `address` is that of a Ray cluster, `cpus` and `gpus` what a trial needs of it; `slurm` are settings of jobs (see
    `Cluster`). Raises UsageError for an unknown name, for settings of another executor or a missing package, and for a
    pool that would not know components registered otherwise.
    """
    refuse_unknown(name)
    if slurm and name != "slurm":
        raise UsageError(f"settings of Slurm are for --executor slurm, not {name}")
    if name != "ray" and (address, cpus, gpus) != (None, None, None):
        raise UsageError(f"address, cpus and gpus are for --executor ray, not {name}")
    if jobs is not None and jobs < 1:
        raise UsageError(f"{jobs} jobs cannot do anything; give at least 1")
    here = {os.path.realpath(file) for registry in KINDS.values() for file in registry.registered_in()}
    unknown = here - {os.path.realpath(file) for file in imports}
    if name in ("pool", "fused", "ray", "slurm") and unknown:
        raise UsageError(f"other processes do not know what {min(unknown)} registered; give the file as an import")
    if name == "inline" and jobs not in (None, 1):
        raise UsageError(f"inline runs one trial at a time; for {jobs} jobs take the pool")
    if name == "auto":
        few = not sweep.learns and len(sweep.due(sweep.plan())) <= 1
        none = jobs == 1 and all(map(cannot_fuse, sweep.spec.examples))
        name = "inline" if unknown or few or none else "auto"
    if name == "inline":
        return Inline()
    if name == "slurm":
        return _on_slurm(sweep, jobs, imports, slurm or {})
    specs = sweep.spec.examples
    if name == "ray":
        return _on_ray(sweep, jobs, imports, address, cpus, gpus)
    named = any(spec.device.startswith("cuda:") for spec in specs)
    pool = Pool(jobs or _fitting(specs), imports=imports, one_device_each=not named)
    return pool if name == "pool" else Fused(pool, race=name == "auto")


def _on_slurm(sweep: Sweep, jobs: int | None, imports: Sequence[str | Path], settings: Mapping[str, Any]) -> Executor:
    """What is not training is done by a process of this machine."""
    from optrun.sweeps.executors.slurm.executor import Slurm

    here = Pool(1, imports=imports)
    return Fused(Slurm(sweep.layout.directory, here, settings=settings, jobs=jobs, imports=imports), race=True)


def _on_ray(
    sweep: Sweep,
    jobs: int | None,
    imports: Sequence[str | Path],
    address: str | None,
    cpus: float | None,
    gpus: float | None,
) -> Executor:
    """A CPU for each thread of a trial, and a GPU for trials that ask for one, unless it is said otherwise."""
    from optrun.sweeps.executors.ray import Ray
    from optrun.sweeps.executors.ray_cluster import Needs
    from optrun.sweeps.freight import freight

    specs = [*sweep.spec.examples, *(point.trials[0] for point in sweep.spec.points)]
    if cpus is None:
        cpus = max(int(spec.threads) for spec in specs)
    if gpus is None:
        gpus = int(any(spec.device.startswith("cuda") for spec in specs))
    if cpus < 0 or gpus < 0 or not cpus + gpus:
        raise UsageError(f"a trial cannot need {cpus:g} CPUs and {gpus:g} GPUs")
    address = address or os.environ.get("RAY_ADDRESS") or None
    far = Ray(jobs, address=address, needs=Needs(cpus, gpus), imports=imports, freight=freight(specs))
    return Fused(Apart(far), race=True)


def _fitting(specs: Sequence[Spec]) -> int | None:
    """How many of these trials the CPU takes at a time; None leaves it to the pool, which may find CUDA devices."""
    threads = max(int(spec.threads) for spec in specs)
    on_cpu = all(spec.device == "cpu" for spec in specs)
    return max(1, physical_cores() // threads) if on_cpu or threads > 1 else None
