"""One run on several processes, as commands see it: `--nproc` starts them, and only the first one speaks.

A process that is one of several knows it by the environment that torch's launcher gives it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import replace
from pathlib import Path

from optrun.cli.output import Output
from optrun.config.spec import Spec
from optrun.errors import UsageError

__all__ = ["is_to_be_launched", "launched", "silent_unless_first", "started_before"]


def is_to_be_launched(nproc: int, max_restarts: int) -> bool:
    """Whether this process is to start those that train. Raises UsageError for what cannot be."""
    from optrun.experiment.launching import demand_sensible, meet
    from optrun.training.ranks import MEETING

    demand_sensible(nproc, max_restarts)
    if "RANK" in os.environ:
        if nproc > 1 and MEETING not in os.environ:
            raise UsageError("torchrun has started this process: it says how many there are; leave out --nproc")
        meet()
        return False
    return nproc > 1 or max_restarts > 0


def launched(
    nproc: int, max_restarts: int, spec: Spec, directory: Path | None, runs_dir: Path, option: str | None = None
) -> int:
    """Train in processes of their own, with the arguments of this one; returns the exit code of the run. With `option`
    the directory of a new run is theirs to make, and handed on by it."""
    from datetime import datetime

    from optrun.experiment.launching import launch
    from optrun.runs.layout import is_run, new_run_directory

    arguments = sys.argv[1:]
    made = option is not None and directory is None
    if made:
        directory = new_run_directory(runs_dir, spec.name, datetime.now())
        arguments = [arguments[0], f"--{option}={directory}", *arguments[1:]]  # what stands behind a `--` is no option
    elif option is not None and directory is not None and is_run(directory):
        raise UsageError(f"{directory} holds a run already; resume it, or choose another directory")

    def advice() -> str:
        assert directory is not None
        return f"go on with `optrun resume {directory} --nproc {nproc}`" if is_run(directory) else "nothing was trained"

    try:
        return launch(arguments, nproc, max_restarts, advice)
    finally:
        if made and directory is not None:  # nothing was written into it: the config was refused
            with contextlib.suppress(OSError):
                directory.rmdir()


def started_before(run_dir: Path | None) -> Path | None:
    """The run of this process, if others have begun it that were started before it, one of which has died. Raises
    UsageError where it could not be found again."""
    from optrun.runs.layout import is_run

    if run_dir is None:
        if os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
            raise UsageError("processes that are started again have to find their run: give --run-dir DIR")
        return None
    return run_dir if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0" and is_run(run_dir) else None


def silent_unless_first(output: Output) -> Output:
    """What to speak with in this process."""
    is_other = os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK", "0") != "0"
    return replace(output, silent=True) if is_other else output
