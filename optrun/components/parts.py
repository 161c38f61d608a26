"""One part of a data set (train, val or test): tensors in memory, or images that stay on disk until they are needed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from optrun.components.transforms import Augment, Chain, stack

__all__ = ["Examples", "OnDisk", "Part", "fetch", "fingerprint", "in_unit_interval", "labels", "subset", "whole"]


@dataclass(frozen=True)
class Examples:
    """Examples in memory: inputs [n, …] and targets [n] (class indices), [n, k] (numbers) or [n, T] (characters)."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class OnDisk(torch.utils.data.Dataset):
    """Images decoded when they are asked for; item i is (image float32 [C, H, W] in [0, 1], class index)."""

    images: Any
    """A map-style data set of (PIL image or tensor, class index) with `targets`, as torchvision writes them."""
    indices: Tensor
    """int64 [n]: which of its items make up this part."""
    transform: Chain | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image, label = self.images[int(self.indices[i])]
        tensor = in_unit_interval(image if isinstance(image, Tensor) else _pixels(image))
        return (self.transform(tensor) if self.transform else tensor), int(label)


Part: TypeAlias = Examples | OnDisk


def fetch(
    part: Part,
    indices: Tensor,
    augment: Augment | None = None,
    *,
    seed: int = 0,
    epoch: int = 0,
    position: int = 0,
) -> tuple[Tensor, Tensor]:
    """(inputs [B, …], targets [B, …]) of the examples at `indices` (int64 [B]), in that order.

    With `augment`, `position` is where the first of them stands in the epoch's order. The result is a function of the
    arguments alone, so any worker may be asked. Raises UsageError when images of different shapes meet.
    """
    images: Sequence[Tensor] | Tensor
    if isinstance(part, Examples):
        images, targets = part.inputs[indices], part.targets[indices]
    else:
        pairs = [part[i] for i in indices.tolist()]
        images, targets = [image for image, _ in pairs], torch.tensor([label for _, label in pairs])
    if augment is not None:
        return augment(images, targets, seed=seed, epoch=epoch, position=position)
    return images if isinstance(images, Tensor) else stack(images), targets


def whole(part: Examples | torch.utils.data.Dataset) -> Part:
    """All of what a data set function gave for one part."""
    return part if isinstance(part, Examples) else OnDisk(part, torch.arange(len(part)))  # type: ignore[arg-type]


def subset(part: Part, indices: np.ndarray) -> Part:
    """The examples at `indices` (int64 [k]) as a part of their own."""
    chosen = torch.from_numpy(indices)
    if isinstance(part, Examples):
        return Examples(part.inputs[chosen], part.targets[chosen])
    return replace(part, indices=part.indices[chosen])


def labels(part: Part) -> np.ndarray:
    """The targets as an array, without decoding an image."""
    if isinstance(part, Examples):
        return part.targets.numpy()
    return np.asarray(part.images.targets)[part.indices.numpy()]


def in_unit_interval(image: Tensor) -> Tensor:
    """uint8 pixels as float32 in [0, 1]; anything else as it is."""
    return image.float() / 255 if image.dtype == torch.uint8 else image


def fingerprint(parts: Iterable[Part | None]) -> str:
    """SHA-256 (hex) over the parts' bytes; of images on disk, over their labels, paths below the root and sizes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"|")
        if isinstance(part, Examples):
            for tensor in (part.inputs, part.targets):
                digest.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
                digest.update(np.ascontiguousarray(tensor.numpy()).data)
        elif part is not None:
            for path, label in getattr(part.images, "samples", ()):
                digest.update(f"{os.path.relpath(path, part.images.root)}:{label}:{os.path.getsize(path)}\n".encode())
            digest.update(np.asarray(part.images.targets).tobytes())
    return digest.hexdigest()


def _pixels(image: Any) -> Tensor:
    """uint8 [C, H, W] of a PIL image."""
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1).contiguous()
