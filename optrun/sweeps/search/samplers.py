"""Who chooses the next points of a search: random here, the others through Optuna (`optuna_samplers.py`).

A sampler is asked for points and told what became of them, in the same order. Equal calls give equal proposals, in any
process: a search that was killed goes on by being told again what its run directories hold.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from optrun.config.sweep import SAMPLERS, Search, Space

__all__ = ["RandomSampler", "Sampler", "sampler"]


class Sampler(Protocol):
    """Proposes points and learns from them."""

    def propose(self, n: int) -> list[dict[str, Any]]:
        """The settings of the next `n` points, to be run together; plain Python values, keys as in the space."""
        ...

    def tell(self, settings: Mapping[str, Any], value: float | None) -> None:
        """What the oldest point not yet told came to: NaN or infinite if it diverged, None if it failed.

        Raises ValueError when `settings` are not that point's.
        """
        ...


def sampler(search: Search, mode: Literal["min", "max"]) -> Sampler:
    """The sampler that `search` names, at its beginning; it makes the objective small (`min`) or large (`max`).

    Raises UsageError for a package that is missing.
    """
    assert search.sampler in SAMPLERS, search.sampler
    if search.sampler == "random":
        return RandomSampler(search)
    from optrun.sweeps.search.optuna_samplers import OptunaSampler  # only here is Optuna needed

    return OptunaSampler(search, mode)


class RandomSampler:
    """Random search (Bergstra and Bengio 2012), learning nothing.

    A value depends on the seed, the point's number and its key, and on nothing else: more trials, another key or
    another executor leave all others as they are.
    """

    def __init__(self, search: Search) -> None:
        self._search = search
        self._proposed = 0

    def propose(self, n: int) -> list[dict[str, Any]]:
        """The next `n` points."""
        first, self._proposed = self._proposed, self._proposed + n
        return [self._point(index) for index in range(first, first + n)]

    def tell(self, settings: Mapping[str, Any], value: float | None) -> None:
        """Nothing is learnt."""

    def _point(self, index: int) -> dict[str, Any]:
        # Seeding with a string and random() are the two things Python promises to keep the same in all versions.
        return {
            key: _draw(space, random.Random(f"{self._search.seed}/{index}/{key}").random())
            for key, space in self._search.space.items()
        }


def _draw(space: Space, share: float) -> Any:
    """The value that lies `share` (in [0, 1)) of the way through a space."""
    low, high = space.low, space.high
    if space.kind == "choice":
        return space.choices[int(share * len(space.choices))]
    if space.kind == "int":
        return int(low) + (
            (int(high) - int(low) + 1) * int(share * 2**53) >> 53
        )  # in whole numbers: exact however wide it is
    if space.kind == "log":
        value = math.exp(math.log(low) * (1 - share) + math.log(high) * share)
    else:
        value = low * (1 - share) + high * share
    return min(max(value, float(low)), float(high))  # rounding may step over an end
