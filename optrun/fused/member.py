"""A run that is trained with others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optrun.config.spec import Spec
from optrun.training.batches import Batches
from optrun.training.state import State

__all__ = ["Member"]


@dataclass(eq=False)
class Member:
    """A run that is to be trained in a stack. `random` is where all its generators stand when it is ready."""

    spec: Spec
    state: State
    batches: Batches
    random: Mapping[str, Any]

    @property
    def is_unevaluated(self) -> bool:
        """Whether its latest evaluation was before its latest step."""
        return self.state.evaluated != self.state.step
