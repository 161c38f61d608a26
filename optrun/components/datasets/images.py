"""torchvision's image data sets, under its own names. Nothing is fetched from the net unless `download` says so."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from optrun.components.data import Dataset, Examples
from optrun.components.torchvision_import import import_torchvision
from optrun.errors import UsageError

__all__ = ["CIFAR10", "CIFAR100", "KMNIST", "MNIST", "SVHN", "FakeData", "FashionMNIST", "ImageFolder"]


def MNIST(*, root: str, download: bool = False) -> Dataset:  # noqa: N802 (torchvision's name)
    """Handwritten digits: 70,000 grey images of 28×28 pixels in 10 classes. Files in `root`/MNIST/raw."""
    return _two_parts("MNIST", root, download)


def FashionMNIST(*, root: str, download: bool = False) -> Dataset:  # noqa: N802
    """Zalando's clothes: 70,000 grey images of 28×28 pixels in 10 classes."""
    return _two_parts("FashionMNIST", root, download)


def KMNIST(*, root: str, download: bool = False) -> Dataset:  # noqa: N802
    """Cursive Japanese characters: 70,000 grey images of 28×28 pixels in 10 classes."""
    return _two_parts("KMNIST", root, download)


def CIFAR10(*, root: str, download: bool = False) -> Dataset:  # noqa: N802
    """Small photographs: 60,000 colour images of 32×32 pixels in 10 classes."""
    return _two_parts("CIFAR10", root, download)


def CIFAR100(*, root: str, download: bool = False) -> Dataset:  # noqa: N802
    """Small photographs: 60,000 colour images of 32×32 pixels in 100 classes."""
    return _two_parts("CIFAR100", root, download)


def SVHN(*, root: str, download: bool = False, extra: bool = False) -> Dataset:  # noqa: N802
    """House numbers in street views: 99,289 colour images of 32×32 pixels in 10 classes.

    `extra` adds the 531,131 easier images of torchvision's split "extra" to the training part.
    """
    train, test = (_loaded("SVHN", root, download, split=split) for split in ("train", "test"))
    if extra:
        more = _loaded("SVHN", root, download, split="extra")
        train = Examples(torch.cat([train.inputs, more.inputs]), torch.cat([train.targets, more.targets]))
    return Dataset("classification", train, test=test, num_classes=10)


def FakeData(  # noqa: N802
    *,
    size: int = 1000,
    image_size: Sequence[int] = (3, 224, 224),
    num_classes: int = 10,
    random_offset: int = 0,
) -> Dataset:
    """Random pixels with random labels, the same each time: for trying out a model without any files."""
    if size < 1 or num_classes < 1 or len(image_size) != 3 or min(image_size) < 1:
        raise UsageError("FakeData: size and num_classes must be at least 1, image_size [channels, height, width]")
    vision = import_torchvision()
    fake = vision.datasets.FakeData(size, tuple(image_size), num_classes, random_offset=random_offset)
    pairs = [fake[i] for i in range(size)]
    images = torch.from_numpy(np.stack([np.array(image).reshape(*image_size[1:], -1) for image, _ in pairs]))
    examples = Examples(images.permute(0, 3, 1, 2).contiguous(), torch.tensor([label for _, label in pairs]))
    return Dataset("classification", examples, num_classes=num_classes)


def ImageFolder(*, root: str, allow_empty: bool = False) -> Dataset:  # noqa: N802
    """Your own images, one folder for each class (`root`/cat/1.png), read from disk when needed.

    A root with `train` and `val` or `test` folders in it has these parts, each with one folder for each class. Images
    of different sizes need a Resize among the transforms.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise UsageError(f"ImageFolder: there is no folder {root}; set root to the one with a folder for each class")
    parts = [part for part in ("val", "test") if (folder / part).is_dir()]
    if not (parts and (folder / "train").is_dir()):
        classes, images = _folder(folder, allow_empty)
        return Dataset("classification", images, num_classes=len(classes))
    classes, train = _folder(folder / "train", allow_empty)
    others: dict[str, Any] = {}
    for part in parts:
        found, others[part] = _folder(folder / part, allow_empty)
        if found != classes:
            odd = min(set(classes) ^ set(found))
            raise UsageError(f"ImageFolder: train and {part} have different classes under {root}: {odd} is in one only")
    return Dataset("classification", train, **others, num_classes=len(classes))


@dataclass(frozen=True)
class ImageFiles(torch.utils.data.Dataset):
    """Images by path: what torchvision.datasets.ImageFolder found, without needing it to decode one."""

    root: str
    samples: list[tuple[str, int]]

    @property
    def targets(self) -> list[int]:
        return [label for _, label in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        from PIL import Image, UnidentifiedImageError

        path, label = self.samples[i]
        try:
            with Image.open(path) as image:
                return image.convert("RGB"), label
        except (OSError, UnidentifiedImageError) as error:
            raise UsageError(f"the image cannot be read: {path}: {error}") from error


def _folder(folder: Path, allow_empty: bool) -> tuple[list[str], ImageFiles]:
    """The class names and the images below a folder of class folders."""
    try:
        found = import_torchvision().datasets.ImageFolder(os.fspath(folder), allow_empty=allow_empty)
    except FileNotFoundError as error:
        raise UsageError(f"ImageFolder: {str(error).splitlines()[0]}") from error
    return found.classes, ImageFiles(os.fspath(folder), found.samples)


def _two_parts(name: str, root: str, download: bool) -> Dataset:
    train, test = (_loaded(name, root, download, train=train) for train in (True, False))
    return Dataset("classification", train, test=test, num_classes=int(train.targets.max()) + 1)


def _loaded(name: str, root: str, download: bool, **part: Any) -> Examples:
    """One part of a torchvision data set as uint8 [n, C, H, W]. Raises UsageError when its files are not there."""
    found = _asked(getattr(import_torchvision().datasets, name), name, root, download, **part)
    pixels = torch.as_tensor(np.asarray(found.data))
    if pixels.dim() == 3:
        pixels = pixels[:, None]
    elif pixels.shape[-1] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    labels = found.labels if hasattr(found, "labels") else found.targets
    return Examples(pixels.contiguous(), torch.as_tensor(np.asarray(labels), dtype=torch.int64))


def _asked(build: Callable[..., Any], name: str, root: str, download: bool, **part: Any) -> Any:
    try:
        return build(root=root, download=download, **part)
    except (RuntimeError, OSError) as error:
        if download:
            raise UsageError(f"{name} could not be downloaded to {root}: {error}") from error
        raise UsageError(
            f"{name} is not under {root}; set download: true to fetch it, or root to where it is"
        ) from error
