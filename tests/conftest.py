"""Every test runs on one CPU thread: bits differ between thread counts, and test processes share the cores."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, here and in every process a test starts
