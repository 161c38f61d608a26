"""Image data sets: equal to what torchvision itself reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from small_files import make, prepared, skip_checksums, write_all, write_images

from optrun.components import registry
from optrun.components.data import OnDisk, fetch, prepare
from optrun.components.torchvision_import import import_torchvision
from optrun.errors import UsageError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("files"))


@pytest.fixture
def _no_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_checksums(monkeypatch)


@pytest.mark.usefixtures("_no_checksums")
@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100", "SVHN"])
def test_images_equal_to_torchvision(name: str, files: Path) -> None:
    vision = import_torchvision()
    data = prepared(name, files)
    part = {"split": "test"} if name == "SVHN" else {"train": False}
    reference = getattr(vision.datasets, name)(files, **part)
    assert len(data.test) == len(reference) == 20
    for i, (image, label) in enumerate(reference):
        assert torch.equal(data.test.inputs[i], vision.transforms.functional.to_tensor(image))
        assert data.test.targets[i] == label


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10", "SVHN"])
def test_files_that_are_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"{name} is not under .*; set download: true to fetch it"):
        registry.datasets.find(name).load()(root=str(tmp_path))


@pytest.mark.usefixtures("_no_checksums")
def test_svhn_extra_joins_the_training_part(files: Path) -> None:
    dataset = registry.datasets.find("SVHN").load()(root=str(files), extra=True)
    assert (len(dataset.train), len(dataset.test)) == (40, 20)


class TestImageFolder:
    def test_equal_to_torchvision(self, files: Path) -> None:
        vision = import_torchvision()
        reference = vision.datasets.ImageFolder(files / "pictures")
        dataset = make("ImageFolder", files)
        part = OnDisk(dataset.train, torch.arange(len(reference)))
        for i, (image, label) in enumerate(reference):
            assert torch.equal(part[i][0], vision.transforms.functional.to_tensor(image))
            assert part[i][1] == label

    def test_stays_on_disk_and_is_stratified(self, files: Path) -> None:
        data = prepared("ImageFolder", files)
        assert isinstance(data.train, OnDisk)
        assert [len(data.train), len(data.val)] == [8, 2]
        assert fetch(data.val, torch.arange(2))[1].tolist() == [0, 1]

    def test_sizes_that_differ(self, files: Path) -> None:
        with pytest.raises(UsageError, match=r"the images have different shapes .* add \{name: Resize"):
            prepare(make("ImageFolder", files), name="pictures")

    def test_folders_for_the_parts(self, tmp_path: Path) -> None:
        for part, per_class in (("train", 4), ("val", 2), ("test", 1)):
            write_images(tmp_path / part, per_class)
        dataset = registry.datasets.find("ImageFolder").load()(root=str(tmp_path))
        assert [len(part) for part in (dataset.train, dataset.val, dataset.test)] == [8, 4, 2]
        (tmp_path / "val" / "bird").mkdir()
        Image.new("RGB", (3, 3)).save(tmp_path / "val" / "bird" / "1.png")
        with pytest.raises(UsageError, match=r"train and val have different classes .*: bird is in one only"):
            registry.datasets.find("ImageFolder").load()(root=str(tmp_path))

    def test_fingerprint_sees_names_and_sizes(self, tmp_path: Path, files: Path) -> None:
        write_images(tmp_path / "pictures", per_class=5)
        assert prepared("ImageFolder", tmp_path).fingerprint == prepared("ImageFolder", files).fingerprint
        (tmp_path / "pictures/cat/0.png").rename(tmp_path / "pictures/cat/9.png")
        assert prepared("ImageFolder", tmp_path).fingerprint != prepared("ImageFolder", files).fingerprint

    def test_what_is_no_image_folder(self, tmp_path: Path) -> None:
        build = registry.datasets.find("ImageFolder").load()
        with pytest.raises(UsageError, match="there is no folder"):
            build(root=str(tmp_path / "no"))
        with pytest.raises(UsageError, match="Couldn't find any class folder"):
            build(root=str(tmp_path))
        (tmp_path / "cat").mkdir()
        (tmp_path / "cat" / "1.png").write_bytes(b"no image")
        with pytest.raises(UsageError, match=r"the image cannot be read: .*1.png"):
            build(root=str(tmp_path)).train[0]
