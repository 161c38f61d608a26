"""best.pt: the weights of the best evaluation so far."""

from __future__ import annotations

from typing import Any

import torch

from optrun.errors import CheckpointError
from optrun.runs import checkpoint
from optrun.runs.layout import Layout
from optrun.training.state import State

__all__ = ["Best"]


class Best:
    """The best evaluation's weights: copied when it is made, on disk with the next checkpoint.

    best.pt is always written before last.pt, never after: whoever resumes from last.pt finds every best that is older,
    and makes the later ones again.
    """

    def __init__(self, paths: Layout, *, kept: bool = True) -> None:
        """`kept`: whether this process writes it; of several that train a run together only the first one does."""
        self.paths, self._kept = paths, kept
        self._unsaved: dict[str, Any] | None = None

    def keep(self, state: State, *, scheduled: bool) -> None:
        """Copy the weights of the evaluation just made, which is the best.

        One that only the run's end asked for keeps the best before it, since a longer run will not have made it.
        """
        held = state.weights()  # which takes every process
        if not self._kept:
            return
        weights = {key: _copied(value) for key, value in held.items()}
        self._unsaved = {"model": weights, **(state.progress.best or {})}
        if not scheduled:
            before = self._on_disk()
            self._unsaved["before"] = before.get("before", before)

    def save(self) -> None:
        """Write best.pt if there is a better one than on disk."""
        if self._unsaved is not None:
            checkpoint.save(self.paths, self._unsaved, kind="best")
            self._unsaved = None

    def take_back(self) -> None:
        """The run goes on: an evaluation that only its former end asked for is none of it, nor its best."""
        if self._kept and (before := self._on_disk().get("before")):
            checkpoint.save(self.paths, before, kind="best")

    def _on_disk(self) -> dict[str, Any]:
        """What best.pt holds: nothing if there is none, or none that is whole."""
        try:
            return checkpoint.read(self.paths.best)
        except CheckpointError:
            return {}


def _copied(value: Any) -> Any:
    return value.detach().cpu().clone() if isinstance(value, torch.Tensor) else value
