"""The random streams of several processes: each its own, or all would drop the same units of different examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy

from optrun.training.randomness import Generators, seed_everything
from optrun.training.ranks import Ranks

__all__ = ["RankGenerators"]


class RankGenerators(Generators):
    """The first process goes on with the stream of one that trains alone. Process r > 0 begins one of its own, a
    function of (seed, r), once the model has been built."""

    def __init__(self, seed: int, ranks: Ranks) -> None:
        self.seed, self.ranks = seed, ranks
        self._begin()

    def _begin(self) -> None:
        if self.ranks.rank:
            entropy = numpy.random.SeedSequence([self.seed, self.ranks.rank]).generate_state(1, numpy.uint64)[0]
            seed_everything(int(entropy) % 2**63)

    def state_dict(self) -> dict[str, Any]:
        """What one process would keep, with where the streams of the others stand beside it."""
        first, *others = self.ranks.gathered(super().state_dict())
        return {**first, "others": others}

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Put them back; a process that had no part in the run before begins its stream here."""
        own = [states, *states.get("others", ())][self.ranks.rank :]
        if own:
            super().load_state_dict(own[0])
        else:
            self._begin()
