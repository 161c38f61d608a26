"""A comparison in pictures. Each is drawn by one function, for papers (PNG, SVG, PDF) as for the HTML report.

matplotlib is imported when the first picture is drawn.
"""

from __future__ import annotations

from optrun.comparisons.figures.paper import save
from optrun.comparisons.figures.picture import Picture
from optrun.comparisons.figures.selection import pictures

__all__ = ["Picture", "pictures", "save"]
