"""What runs as a job: the work on one task, saved and queued again when the cluster wants its node back.

submitit has the cluster send SIGUSR2 before the time limit, and leaves the work in the handler, wherever it is. Here
the signal is a wish, as SIGTERM is (`optrun.signals`): the work ends between two steps, with a checkpoint, and only
then submitit's handler queues the job again. SIGTERM, which comes before a preemption but also of a `scancel`, says
nothing of what is to follow: the work is saved, and the job waits for that.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from optrun.components.plugins import import_file
from optrun.runs import environment
from optrun.signals import StopRequest
from optrun.sweeps.executors.interface import Lost, attempt
from optrun.sweeps.executors.slurm.claims import Claim, Claims
from optrun.sweeps.executors.slurm.reports import Began, Outbox, Over, Requeued, Stopped
from optrun.sweeps.tasks import Ended, GroupTask, Task

__all__ = ["Job"]


class Job:
    """Called by submitit in the job's process. The same object is called again when the job was queued again: where
    the work stands is written in the run directories alone.

    `imports` are the user's files, run first; `command` is the driver's command line, for the records.
    """

    def __init__(
        self,
        work: Callable[[Any], Iterator[Any]],
        task: Task | GroupTask,
        claims: Claims,
        claim: Claim,
        imports: Sequence[str],
        command: Sequence[str],
    ) -> None:
        self.work, self.task = work, task
        self.claims, self.claim = claims, claim
        self.imports, self.command = list(imports), list(command)

    def __call__(self) -> None:
        from submitit import JobEnvironment

        if not self.claims.is_held(self.claim):
            print("another driver has taken this task over: nothing to do")
            return
        again = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
        queue_again: Any = signal.getsignal(again)
        came: list[int] = []
        outbox = Outbox(self.claims.reports(self.claim))
        job = JobEnvironment()
        outbox.put(Began(job.job_id))
        environment.tell(job={"id": job.job_id, "log": str(job.paths.stderr)})
        if self._is_cut_short(outbox, again, came):
            if again not in came:
                outbox.put(Stopped())
            while again not in came:
                if signal.SIGTERM in came:  # once more: it is to end
                    sys.exit(128 + signal.SIGTERM)
                time.sleep(0.1)
            outbox.put(Requeued())
            try:
                queue_again(again, None)
            except Exception as error:
                advice = "it is saved: raise timeout_min or slurm_max_num_timeout, and go on with --retry-failed"
                outbox.put(Lost(f"{str(error).rstrip('.')}; {advice}", again=False))
                outbox.put(Over())
                raise
        outbox.put(Over())

    def checkpoint(self) -> Any:
        """What submitit stores for the next time."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _is_cut_short(self, outbox: Outbox, again: int, came: list[int]) -> bool:
        """Do the work, and tell whether a signal has ended it before its end; `came` are those that have come."""

        def heard(number: int, frame: object) -> None:
            came.append(number)
            StopRequest.ask(number)

        for number in (signal.SIGTERM, again):
            signal.signal(number, heard)
        sys.argv = list(self.command)
        is_cut_short = False
        with StopRequest() as stop:
            for report in attempt(self._work, self.task):
                said = report[1] if isinstance(report, tuple) else report
                interrupted = stop.signal is not None and isinstance(said, Ended) and said.status == "interrupted"
                is_cut_short |= interrupted
                if not (interrupted and again in came):
                    outbox.put(report)
        outbox.flush()
        return is_cut_short

    def _work(self, task: Any) -> Iterator[Any]:
        for path in self.imports:
            import_file(path)
        yield from self.work(task)
