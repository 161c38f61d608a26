"""Points in the plane, generated: the data depend on `seed` here, never on the run's own seed."""

from __future__ import annotations

import numpy as np
import torch

from optrun.components.data import Dataset, Examples
from optrun.errors import UsageError

__all__ = ["moons", "spirals"]

MOST_POINTS = 10_000_000


def moons(*, n: int = 1000, noise: float = 0.2, seed: int = 0) -> Dataset:
    """Two interleaving half circles: `n` points, 2 classes. The shape is that of sklearn.datasets.make_moons.

    `noise` is the standard deviation of the Gaussian noise added to both coordinates.
    """
    _check(n, noise, seed, least=4)
    outer, inner = np.linspace(0, np.pi, n // 2), np.linspace(0, np.pi, n - n // 2)
    x = np.concatenate([np.cos(outer), 1 - np.cos(inner)])
    y = np.concatenate([np.sin(outer), 0.5 - np.sin(inner)])
    labels = np.repeat([0, 1], [n // 2, n - n // 2])
    return _points(np.stack([x, y], axis=1), labels, noise, seed)


def spirals(*, n: int = 1000, noise: float = 0.05, classes: int = 2, turns: float = 1.5, seed: int = 0) -> Dataset:
    """Spirals around one centre: `n` points, one arm for each class, harder than moons.

    Along an arm the radius grows from 0 to 1 while it goes round `turns` times; `noise` as in moons.
    """
    if classes < 2:
        raise UsageError(f"spirals: classes is {classes}; give at least 2")
    _check(n, noise, seed, least=2 * classes)
    labels = np.arange(n) * classes // n
    sizes = np.bincount(labels)
    radius = np.concatenate([np.linspace(0, 1, size) for size in sizes])
    angle = 2 * np.pi * (turns * radius + labels / classes)
    return _points(radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), labels, noise, seed)


def _check(n: int, noise: float, seed: int, *, least: int) -> None:
    if n < least:
        raise UsageError(f"n is {n}; give at least {least}")
    if n > MOST_POINTS:
        raise UsageError(f"n is {n}; give at most {MOST_POINTS}")
    if noise < 0 or seed < 0:
        raise UsageError("noise and seed cannot be negative")


def _points(points: np.ndarray, labels: np.ndarray, noise: float, seed: int) -> Dataset:
    points = points + np.random.default_rng(seed).normal(scale=noise, size=points.shape)
    examples = Examples(torch.from_numpy(points), torch.from_numpy(labels.astype(np.int64)))
    return Dataset("classification", examples, num_classes=int(labels.max()) + 1, standardize=True)
