"""What a picture is, and how its series are coloured."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optrun.config.text import legible
from optrun.pictures.figures import PALETTE

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["INK", "MOST_SERIES", "Picture", "colour", "plain", "tag", "wrapped"]

INK = "#444444"
"""Of what belongs to no series."""

MOST_SERIES = len(PALETTE)
"""As many as there are colours that everybody can tell apart."""


@dataclass(frozen=True)
class Picture:
    """One pair of axes."""

    key: str
    """A word for it, unlike that of any other picture of a comparison."""
    title: str
    caption: str
    """What is drawn, in a sentence or two."""
    draw: Callable[[Axes], None]
    series: Sequence[str] = ()
    """Labels of its series, each drawn by artists that are tagged with its number."""
    size: tuple[float, float] = (4.0, 2.7)
    """Inches."""
    wide: bool = False
    """Whether it stands alone in a row."""
    narrow: Picture | None = None
    """The same for a phone, where it is too wide to be made smaller."""


def colour(series: int) -> str:
    """The colour of the series with that number."""
    return PALETTE[series % len(PALETTE)]


def tag(series: int, *artists: Artist) -> None:
    """Mark artists as part of a series; the report hides and shows them together."""
    for artist in artists:
        artist.set_gid(f"series-{series}")


def plain(text: Any, most: int = 60) -> str:
    """A label in so many characters, as it stands: matplotlib would read what is between dollars as mathematics."""
    return legible(str(text), most).replace("$", r"\$")


def wrapped(text: Any, width: int) -> str:
    """A label in lines of so many characters, and as many as it takes."""
    return "\n".join(plain(line, width) for line in textwrap.wrap(legible(str(text), 400), width))
