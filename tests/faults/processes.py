"""Processes that work on runs and can be killed; forked from a warm one, so that a thousand of them are affordable."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forking import processes

from optrun.runs.layout import is_run

__all__ = ["ended", "go_on", "started"]


def started(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function, at work in another process by now, which exits as the command would."""
    ready = processes.Event()
    process = processes.Process(target=_work, args=(ready, function, arguments))
    process.start()
    ready.wait()
    return process


def ended(process: Any) -> int:
    """Wait for its end; the exit code, negative for a signal."""
    process.join()
    return process.exitcode


def _work(ready: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    from optrun.errors import OptrunError

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        ready.set()
        function(*arguments)
    except OptrunError as error:
        os._exit(error.exit_code)
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        os._exit(70)
    os._exit(0)


def go_on(config: Path, directory: Path) -> None:
    """What a user does with a run, whatever became of it before: begin it, or resume it."""
    import optrun

    if is_run(directory):
        optrun.resume(directory)
    else:
        optrun.train(config, run_dir=directory)
