"""Cutting one part off a data set. A cut depends on its seed and on the labels, never on the run's own seed."""

from __future__ import annotations

import numpy as np

from optrun.errors import UsageError

__all__ = ["cut_at_random", "cut_off_the_end"]

Indices = np.ndarray  # int64 [k], ascending


def cut_at_random(
    n: int, fraction: float, *, key: str, seed: int, stream: int, labels: np.ndarray | None = None
) -> tuple[Indices, Indices]:
    """(rest, part): `fraction` of the indices 0 … n-1, drawn without replacement, and the others.

    With `labels` (int [n]) every class gives its share, to within one example; a class never goes into the part whole.
    `stream` tells cuts of one seed apart. Raises UsageError, naming `key`, when the part or the rest would be empty.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))
    wanted = _size(n, fraction, key)
    if labels is None:
        part = generator.permutation(n)[:wanted]
    else:
        shares = _shares(np.unique(labels, return_counts=True)[1], wanted)
        members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        part = np.concatenate([generator.permutation(m)[:share] for m, share in zip(members, shares)])
    if len(part) == 0:
        raise UsageError(f"{key}: no class has two examples, so none can be spared; add examples")
    taken = np.zeros(n, dtype=bool)
    taken[part] = True
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def cut_off_the_end(n: int, fraction: float, *, key: str) -> tuple[Indices, Indices]:
    """(rest, part): the last `fraction` of the indices 0 … n-1, and those before. Raises UsageError like the above."""
    kept = n - _size(n, fraction, key)
    return np.arange(kept), np.arange(kept, n)


def _size(n: int, fraction: float, key: str) -> int:
    if not 0 < fraction < 1:
        raise UsageError(f"{key} is {fraction}; it must lie between 0 and 1, both left out")
    size = round(n * fraction)
    if size == 0 or size == n:
        which = "none of them" if size == 0 else "all of them"
        raise UsageError(f"{key} {fraction} of {n} examples is {which}; choose another fraction or add examples")
    return size


def _shares(counts: np.ndarray, wanted: int) -> np.ndarray:
    """How many of each class go into the part: proportional, rounded by largest remainder, never a whole class."""
    ideal = counts * (wanted / counts.sum())
    shares = np.minimum(np.floor(ideal).astype(np.int64), counts - 1)
    missing = wanted - int(shares.sum())
    for c in np.argsort(np.floor(ideal) - ideal, kind="stable"):
        if missing > 0 and shares[c] < counts[c] - 1:
            shares[c] += 1
            missing -= 1
    return shares
