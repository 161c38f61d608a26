"""Processes forked from a warm one, which has imported what they need: a thousand of them are affordable."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

__all__ = ["processes"]

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["hypothesis", "pytest", "warm"])

# The server looks for what it preloads on the path it is started with, and knows nothing of pytest's.
_here = str(Path(__file__).parent)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_here, os.environ.get("PYTHONPATH")]))
