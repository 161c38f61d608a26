"""A user's own components: files named on the command line with `--import`, run once."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path

from optrun.components.registry import KINDS
from optrun.errors import UsageError

__all__ = ["import_file"]


def import_file(path: str | Path) -> dict[str, str]:
    """Run the Python file at `path`, so that what it registers is known; returns its path and SHA-256 for the record.

    What it prints goes to stderr. Raises UsageError when there is no such file or it fails, naming the line.
    """
    path = Path(path).absolute()
    try:
        source = path.read_bytes()
    except OSError as unreadable:
        raise UsageError(f"cannot import {path}: {unreadable.strerror}") from unreadable
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    if module_spec is None or module_spec.loader is None:
        raise UsageError(f"cannot import {path}: it is not a Python file (.py)")
    module = importlib.util.module_from_spec(module_spec)
    for registry in KINDS.values():
        registry.forget(str(path))  # what it registered when it was run before, and may have changed since
    sys.modules.setdefault(path.stem, module)  # so that its classes can be pickled for data-loading workers
    try:
        with contextlib.redirect_stdout(sys.stderr):
            module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else 0)
        raise UsageError(f"{path}:{line}: {type(error).__name__}: {error}") from error
    return {"path": str(path), "sha256": hashlib.sha256(source).hexdigest()}
