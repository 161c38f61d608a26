"""Which job may work on which task: a file for each, which outlives the driver.

A driver writes a claim before it submits a job, and into it the job's id afterwards. Killed at any instant, it leaves
what the next one needs: a job that is known is waited for, and one that is not (it was killed between the two) finds,
when it begins, that its token is no longer the one in the file, and ends at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from optrun.runs import files
from optrun.sweeps.executors.slurm.reports import Began, Inbox, is_over
from optrun.sweeps.tasks import GroupTask, Task

__all__ = ["Claim", "Claims", "key_of"]

_TOKEN, _JOB = re.compile("[0-9a-f]{16}"), re.compile("[0-9]+(_[0-9]+)?")
"""Whoever wrote the file: a token is part of a path, and a job's id of command lines."""


@dataclass(frozen=True)
class Claim:
    """The right to work on a task, which only the job with the `token` has."""

    key: str
    runs: tuple[str, ...]
    """The names of the run directories it writes to."""
    token: str
    job: str | None = None
    """The job's id in the cluster."""


def key_of(task: Task | GroupTask) -> str:
    """The same for the same task of another call of the sweep."""
    text = json.dumps([type(task).__name__, task.runs, task.until])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Claims:
    """The claims in a directory. Every method raises RunError if the disk does not take what it writes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def left(self) -> list[Claim]:
        """Those that there are, with their jobs as far as known; what cannot be read is left out."""
        found = []
        for path in sorted(self.directory.glob("*.claim")):
            with suppress(OSError, ValueError, TypeError, KeyError):
                content = json.loads(files.read(path))
                claim = Claim(path.stem, tuple(map(str, content["runs"])), str(content["token"]), content["job"])
                if not _TOKEN.fullmatch(claim.token):
                    raise ValueError(claim.token)
                job = claim.job or next((each.job for each in self.inbox(claim).new() if isinstance(each, Began)), None)
                found.append(replace(claim, job=job if job and _JOB.fullmatch(job) else None))
        return found

    def make(self, key: str, runs: Sequence[str]) -> Claim:
        """A new claim, in place of any other one on the same task."""
        with files.reporting("make", self.directory):
            files.make_directory(self.directory, exist_ok=True)
        claim = Claim(key, tuple(runs), os.urandom(8).hex())
        self._write(claim)
        return claim

    def submitted(self, claim: Claim, job: str) -> Claim:
        """The claim with the id of its job, from now on known to every driver."""
        claim = replace(claim, job=job)
        self._write(claim)
        return claim

    def end(self, claim: Claim) -> None:
        """Its job is heard of no more. A job that was not heard to end may no longer begin."""
        for path in (self.path(claim), self.reports(claim)):
            with suppress(OSError):
                path.unlink()

    def path(self, claim: Claim) -> Path:
        return self.directory / f"{claim.key}.claim"

    def reports(self, claim: Claim) -> Path:
        """The file of what the job says."""
        return self.directory / f"{claim.token}.jsonl"

    def inbox(self, claim: Claim) -> Inbox:
        return Inbox(self.reports(claim))

    def is_held(self, claim: Claim) -> bool:
        """Whether nobody has taken the claim's place."""
        try:
            return json.loads(files.read(self.path(claim)))["token"] == claim.token
        except (OSError, ValueError, TypeError, KeyError):
            return False

    def open(self) -> list[Claim]:
        """Those left whose job has not written that there is nothing more to come. The end of its file says it."""
        return [claim for claim in self.left() if not is_over(self.reports(claim))]

    def _write(self, claim: Claim) -> None:
        content = {"runs": claim.runs, "token": claim.token, "job": claim.job}
        with files.reporting("write", self.path(claim)):
            files.write_atomically(self.path(claim), json.dumps(content).encode())
