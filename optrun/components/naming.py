"""Names: those that look alike, and how they are put into a sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

__all__ = ["either", "near", "shortened", "snake_case"]


def near(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Up to `most` of the `known` names that look like `word`, best first; else those that have it in them."""
    word, by_lower = word.lower(), {name.lower(): name for name in known}
    alike = difflib.get_close_matches(word, by_lower, n=most, cutoff=0.65)
    around = [name for name in by_lower if len(word) > 2 and word in name]
    return [by_lower[name] for name in alike or around[:most]]


def either(names: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def shortened(name: str) -> str:
    """At most 60 characters of it."""
    return name if len(name) <= 60 else f"{name[:59]}…"


def snake_case(name: str) -> str:
    """`CrossEntropy` → `cross_entropy`, `BCEWithLogits` → `bce_with_logits`, `L1` → `l1`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
