"""The cluster as submitit knows it: settings, submission, states, signals. Nothing else here imports submitit, but for
what a job itself needs."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optrun.errors import OptrunError, UsageError

__all__ = ["PARALLELISM", "Cluster"]

PARALLELISM = 256
"""Jobs of an array at a time, where nothing else is asked for: submitit's own default."""

ARRAY = 1000
"""Jobs in an array at most: Slurm's own default is MaxArraySize=1001, which counts from 0."""

_AT_SUBMISSION = ("slurm_max_num_timeout", "slurm_python")
"""Settings that submitit's executor has in its constructor."""


class Cluster:
    """`settings` are submitit's parameters by their own names, those of Slurm with its `slurm_` before them; `cluster`
    is `slurm`, or `local` for processes on this machine. `folder` takes scripts, pickles and logs.

    Raises UsageError for settings that submitit refuses and where it is missing, OptrunError where Slurm is.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        try:
            import submitit
        except ImportError as error:
            raise UsageError(
                f"--executor slurm needs submitit, which cannot be imported ({error}); "
                "pip install 'optrun[slurm]' installs it"
            ) from error
        given = dict(settings)
        name = given.pop("cluster", "slurm")
        if name not in ("slurm", "local"):
            raise UsageError(f"--slurm cluster={name}: there are slurm, and local (processes here, to try it out)")
        if not {"timeout_min", "slurm_time"} & given.keys():
            raise UsageError("each job needs a time limit: give its minutes, --slurm timeout_min=60")
        log = logging.getLogger("submitit")
        log.handlers[:] = [each for each in log.handlers if each.level >= logging.WARNING]  # the others write to stdout
        for key in ("nodes", "slurm_nodes", "tasks_per_node", "slurm_ntasks_per_node", "slurm_tasks_per_node"):
            if given.get(key, 1) != 1:
                raise UsageError(f"--slurm {key}={given[key]}: each task would train the same trial; leave it out")
        self.is_local = name == "local"
        self._submitit = submitit
        self._jobs: dict[str, Any] = {}
        self.folder = folder.absolute()
        how = {key: given.pop(key) for key in _AT_SUBMISSION if key in given}
        try:
            self._executor = submitit.AutoExecutor(folder=self.folder, cluster=name, **how)
            self._executor.update_parameters(**given)
        except RuntimeError as error:
            raise OptrunError("there is no srun here; run it on a machine from which jobs are submitted") from error
        except (NameError, ValueError, AssertionError, TypeError) as error:
            raise UsageError(f"--slurm: submitit refuses the settings: {error}") from error

    @property
    def parallelism(self) -> int:
        """Jobs of an array at a time."""
        executor: Any = self._executor
        return int(executor._executor.parameters.get("array_parallelism", PARALLELISM))

    def submit(self, jobs: Sequence[Callable[[], None]]) -> list[str]:
        """Submit them as arrays, and return their ids. Raises OptrunError with what sbatch says."""
        ids: list[str] = []
        try:
            for first in range(0, len(jobs), ARRAY):
                for job in self._executor.submit_array(list(jobs[first : first + ARRAY])):
                    self._jobs[job.job_id] = job
                    ids.append(job.job_id)
        except (self._submitit.core.utils.FailedJobError, self._submitit.core.utils.FailedSubmissionError) as error:
            self.cancel(ids)  # of the arrays before: nobody would wait for them
            raise OptrunError(f"sbatch refuses the jobs: {error}") from error
        return ids

    def still_has(self, jobs: Sequence[str]) -> set[str]:
        """Which jobs of earlier calls are queued or run. The cluster is asked once for all of them.

        Raises OptrunError if it does not answer, which to submitit is the same as that there are none.
        """
        if self.is_local:
            return {job for job in jobs if self._is_process(job)}
        known = {job: self._submitit.SlurmJob(folder=self.folder, job_id=job) for job in jobs}
        self._jobs |= known
        if jobs:
            try:
                subprocess.check_output(["sacct", "-j", jobs[0]], stderr=subprocess.PIPE)
            except (OSError, subprocess.CalledProcessError) as error:
                raise OptrunError(
                    f"sacct does not answer ({error}), and jobs of an earlier call may still train; try again later"
                ) from error
            known[jobs[0]].watcher.get_state(jobs[0], mode="force")
        unknown = {job for job in jobs if known[job].watcher.get_state(job, mode="cache") == "UNKNOWN"}
        return {job for job in jobs if job not in unknown and not known[job].done()}

    def _is_process(self, job: str) -> bool:
        with contextlib.suppress(OSError):
            return str(self.folder).encode() in Path(f"/proc/{job}/cmdline").read_bytes()
        return False

    def is_over(self, job: str) -> bool:
        """Whether a job will do nothing more, as far as submitit knows: it asks sacct again after 2, 4, 8 … seconds."""
        return self._jobs[job].done() if job in self._jobs else not self.still_has([job])

    def ending(self, job: str) -> str:
        """How a job that is over has ended: `CANCELLED by 1000`, `NODE_FAIL`, `OUT_OF_MEMORY`."""
        return str(self._jobs[job].state) if job in self._jobs else "UNKNOWN"

    def log(self, job: str) -> Path:
        """The file of what the job prints to stderr."""
        return Path(self._submitit.core.utils.JobPaths(self.folder, job_id=job, task_id=0).stderr)

    def stop(self, jobs: Sequence[str]) -> None:
        """Send SIGTERM to what runs in them."""
        self._signal(jobs, ["--signal", "TERM"])

    def cancel(self, jobs: Sequence[str]) -> None:
        """End them, be they queued or running."""
        self._signal(jobs, [])

    def _signal(self, jobs: Sequence[str], how: list[str]) -> None:
        if self.is_local:
            for job in jobs:
                with contextlib.suppress(OSError):
                    os.kill(int(job), signal.SIGTERM if how else signal.SIGINT)
        elif jobs:
            with contextlib.suppress(OSError):  # it complains of those that are gone meanwhile
                subprocess.run(["scancel", *how, *jobs], capture_output=True, check=False)
