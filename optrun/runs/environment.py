"""environment.json: with what, on what and how a run was made."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["describe", "git", "last_versions", "resumed", "surroundings", "tell", "versions"]

_GIT_TIMEOUT = 5.0
"""Seconds; a status takes milliseconds, but hours on a dead network drive."""

_TOLD: dict[str, Any] = {}


def tell(**about: Any) -> None:
    """Have every run that begins, or goes on, in this process say this too: of which job of a cluster it is, say."""
    _TOLD.update(about)


def surroundings(source: Path) -> dict[str, Any]:
    """What runs that start one after the other in this process have in common; finding it out takes milliseconds.

    `source` is the directory of the config: the git repository around it is described. What cannot be found out is
    None. Imports torch.
    """
    return {
        "versions": versions(),
        "os": platform.platform(),
        "hostname": platform.node(),
        "cpu": _cpu(),
        "cpu_count": os.cpu_count(),
        "git": git(source),
        **_TOLD,
    }


def describe(
    command_line: Sequence[str], threads: int, device: str, around: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """The content of environment.json for a run that starts now on `device` with `threads` CPU threads, in `around`."""
    return {
        "started": _now(),
        "command_line": shlex.join(command_line),
        **around,
        "threads": threads,
        "device": device,
        "gpus": _gpus(device),
        **more,
        "resumes": [],
    }


def resumed(
    environment: Mapping[str, Any], step: int, command_line: Sequence[str], changes: Sequence[str] = ()
) -> dict[str, Any]:
    """`environment` (as read, possibly mangled) with the note that the run goes on after optimizer step `step`.

    `changes` are sentences on what is not as it was before.
    """
    before = environment.get("resumes")
    about = {"changes": list(changes)} if changes else {}
    resume = {
        "time": _now(),
        "step": step,
        "command_line": shlex.join(command_line),
        "versions": versions(),
        **about,
        **_TOLD,
    }
    return {**environment, "resumes": [*(before if isinstance(before, list) else []), resume]}


def last_versions(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The versions that the run, whose environment may be mangled, was trained with last; {} if nobody knows."""
    resumes = environment.get("resumes")
    for known in (*reversed(resumes if isinstance(resumes, list) else []), environment):
        if isinstance(known, dict) and isinstance(known.get("versions"), dict):
            return known["versions"]
    return {}


def versions() -> dict[str, str | None]:
    """The versions that results depend on. Imports torch."""
    import numpy
    import torch

    try:
        optrun = metadata.version("optrun")
    except metadata.PackageNotFoundError:  # run from its sources
        optrun = None
    return {
        "optrun": optrun,
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
    }


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _cpu() -> str | None:
    if sys.platform == "darwin":
        return _output("sysctl -n machdep.cpu.brand_string") or None
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
            return next(names, None) or platform.processor() or None
    except OSError:
        return platform.processor() or None


def _gpus(device: str) -> list[str]:
    """The names of the GPUs, if the run uses one: asking starts CUDA, which takes time and memory."""
    if not device.startswith("cuda"):
        return []
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def git(directory: Path) -> dict[str, Any] | None:
    """The commit checked out around `directory`, and whether tracked files differ from it (None: not looked).

    A repository's own configuration can name programs, which a status would start: the repository may be a
    stranger's, so each way to that is shut, and where filters are configured the files are not compared.
    """
    commit = _output("git rev-parse HEAD", directory)
    if not commit:
        return None
    filters = _output("git config --show-scope --name-only --get-regexp ^filter[.]", directory)
    if filters is None or any(line.startswith(("local", "worktree")) for line in filters.splitlines()):
        return {"commit": commit, "dirty": None}
    changes = _output(
        "git --no-optional-locks -c core.fsmonitor=false -c core.hooksPath=/dev/null"
        " status --porcelain --untracked-files=no --ignore-submodules=all",
        directory,
    )
    return {"commit": commit, "dirty": None if changes is None else changes != ""}


def _output(command: str, directory: Path | None = None) -> str | None:
    """What a program prints when run in `directory`; "" if it finds nothing (exit status 1), None if it
    is missing, fails or hangs."""
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command.split(),
            cwd=directory,
            env={**os.environ, **quiet},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode in (0, 1) else None
