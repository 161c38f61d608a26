"""A longer run that begins where a shorter one, equal in all else, has ended."""

from __future__ import annotations

from pathlib import Path

from optrun.runs import files
from optrun.runs.layout import Layout

__all__ = ["begin_from"]


def begin_from(shorter: Path, directory: Path, config: str) -> None:
    """Give `directory` what a resume needs of the run in `shorter`, which stays as it is; `config` is the text of the
    new config.yaml.

    config.yaml is written last: killed before that, there is no run yet, and the next attempt begins again. Raises
    RunError.
    """
    old, new = Layout(shorter), Layout(directory)
    with files.reporting("make", directory):
        files.make_directory(new.checkpoints, exist_ok=True)
        # Checkpoints first: rows that are written after them are cut by the resume.
        for source, target in ((old.last, new.last), (old.best, new.best), (old.metrics, new.metrics)):
            if source.exists():
                files.write_atomically(target, files.read(source))
        if old.environment.exists():
            files.write_atomically(new.environment, files.read(old.environment), durable=False)
        files.write_atomically(new.config, config.encode())
