"""A small file of every kind that a data set reads, and the data sets made from them."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from optrun.components import registry
from optrun.components.choice import Choice
from optrun.components.data import Data, Dataset, prepare
from optrun.components.torchvision_import import import_torchvision

SETTINGS = {
    "csv": {"path": "{root}/table.csv", "target": "label", "one_hot": ["city"]},
    "text": {"path": "{root}/book.txt", "context": 16},
    "ImageFolder": {"root": "{root}/pictures"},
    "FakeData": {"size": 20, "image_size": [3, 16, 16], "num_classes": 2},
}


def make(name: str, root: Path) -> Dataset:
    """The data set called `name`, from the files below `root` where it reads any."""
    component = registry.datasets.find(name)
    default = {"root": "{root}"} if "root" in component.signature.names() else {}
    settings = SETTINGS.get(name, default)
    return component.load()(**{k: v.format(root=root) if isinstance(v, str) else v for k, v in settings.items()})


def prepared(name: str, root: Path, **split: object) -> Data:
    """The same, split; pictures are brought to one size."""
    resize = {"transforms": (Choice("Resize", {"size": [16, 16]}),)} if name == "ImageFolder" else {}
    return prepare(make(name, root), name=name, **resize, **split)


def write_all(root: Path) -> Path:
    (root / "table.csv").write_text("a,b,city,label\n" + "".join(f"{i},{i % 3},c{i % 2},k{i % 2}\n" for i in range(20)))
    (root / "book.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    write_images(root / "pictures", per_class=5)
    for name in ("MNIST", "FashionMNIST", "KMNIST"):
        write_idx(root / name / "raw", n=20)
    write_cifar(root / "cifar-10-batches-py", ["data_batch_1", "test_batch"], "labels", "batches.meta", "label_names")
    write_cifar(root / "cifar-100-python", ["train", "test"], "fine_labels", "meta", "fine_label_names")
    write_svhn(root)
    return root


def write_images(root: Path, per_class: int, classes: tuple[str, ...] = ("cat", "dog"), size: int = 12) -> None:
    pixels = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            array = pixels.integers(0, 256, (size + i, size, 3), dtype=np.uint8)
            Image.fromarray(array).save(root / name / f"{i}.png")


def write_idx(folder: Path, n: int) -> None:
    """MNIST's files: https://yann.lecun.com/exdb/mnist."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(1)
    for part in ("train", "t10k"):
        images = pixels.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, n, 28, 28) + images.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, n) + labels.tobytes())


def write_cifar(folder: Path, batches: list[str], labels: str, meta: str, names: str) -> None:
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(2)
    for batch in batches:
        data = pixels.integers(0, 256, (20, 3072), dtype=np.uint8)
        (folder / batch).write_bytes(pickle.dumps({"data": data, labels: [i % 10 for i in range(20)]}))
    (folder / meta).write_bytes(pickle.dumps({names: [str(i) for i in range(10)]}))


def write_svhn(root: Path) -> None:
    from scipy.io import savemat

    pixels = np.random.default_rng(3)
    for part in ("train", "test", "extra"):
        images = pixels.integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
        savemat(root / f"{part}_32x32.mat", {"X": images, "y": (np.arange(20) % 10 + 1)[:, None]})


def skip_checksums(patch: pytest.MonkeyPatch) -> None:
    """Let torchvision read our small files, whose checksums are not those of the real ones."""
    vision = import_torchvision().datasets
    patch.setattr(vision.CIFAR10, "_check_integrity", lambda self: True)
    patch.setattr(vision.SVHN, "_check_integrity", lambda self: True)
    patch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    for cls, batch in ((vision.CIFAR10, "data_batch_1"), (vision.CIFAR100, "train")):
        patch.setattr(cls, "train_list", [[batch, ""]])
