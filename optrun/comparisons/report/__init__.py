"""A comparison as one HTML page that needs nothing else: no network, no other file, no permission to run anything
but the script it carries."""

from __future__ import annotations

from optrun.comparisons.report.page import html, write

__all__ = ["html", "write"]
