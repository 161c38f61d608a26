"""Paths that a config names."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["absolute"]


def absolute(folder: Path, path: str) -> str:
    """`path`, which starts in `folder` if it is relative, as it is from everywhere. It is part of a run's identity.

    `a/../b` becomes `b`, unless `a` is a link, so that it leads elsewhere.
    """
    whole = (folder / path).absolute()
    if ".." not in whole.parts:
        return str(whole)
    plain = os.path.normpath(whole)
    return plain if os.path.realpath(plain) == os.path.realpath(whole) else str(whole)
