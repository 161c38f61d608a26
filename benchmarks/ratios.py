"""What two things took that were measured turn about: the ratio of each pair, and how the ratios are spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

__all__ = ["Spread", "paired", "spread", "words"]

Spread = dict[str, float]
"""`n`, `median`, `lower_quartile`, `upper_quartile`, `min`, `max`."""


def spread(values: Sequence[float]) -> Spread:
    """How at least two values are spread."""
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return {
        "n": len(values),
        "median": median,
        "lower_quartile": lower,
        "upper_quartile": upper,
        "min": min(values),
        "max": max(values),
    }


def paired(these: Sequence[float], those: Sequence[float]) -> Spread:
    """The ratios of `these` to `those`, one pair each round."""
    return spread([this / that for this, that in zip(these, those, strict=True)])


def words(ratio: Spread) -> str:
    """The median and, in brackets, the quartiles."""
    return f"{ratio['median']:.2f} ({ratio['lower_quartile']:.2f} … {ratio['upper_quartile']:.2f})"
