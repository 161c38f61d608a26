"""Transforms: torchvision's own results, done once or anew, and the same draws in whatever order they are asked for."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_files import make, write_images
from torch.utils.data import DataLoader, Dataset

from optrun.components import registry
from optrun.components.choice import Choice
from optrun.components.data import Data, Examples, fetch, prepare
from optrun.components.torchvision_catalog import is_random
from optrun.components.torchvision_import import import_torchvision
from optrun.errors import UsageError

FLIP = Choice("RandomHorizontalFlip")
NOISE = Choice("GaussianNoise", {"sigma": 0.5})
NORMALIZE = Choice("Normalize", {"mean": [0.5], "std": [0.25]})

SETTINGS: dict[str, dict] = {
    "ElasticTransform": {"sigma": 1.0},
    "CenterCrop": {"size": 6},
    "Compose": {"transforms": [NORMALIZE, Choice("Pad", {"padding": 1})]},
    "GaussianBlur": {"kernel_size": 3},
    "JPEG": {"quality": 50},
    "LinearTransformation": {
        "transformation_matrix": torch.eye(192).tolist(),
        "mean_vector": [0.0] * 192,
    },
    "Normalize": {"mean": [0.5], "std": [0.25]},
    "Pad": {"padding": 2},
    "RandomAdjustSharpness": {"sharpness_factor": 2.0},
    "RandomAffine": {"degrees": 10, "interpolation": "bilinear"},
    "RandomApply": {"transforms": [NORMALIZE]},
    "RandomChoice": {"transforms": [NORMALIZE, FLIP]},
    "RandomCrop": {"size": 6},
    "RandomOrder": {"transforms": [NORMALIZE, FLIP]},
    "RandomPosterize": {"bits": 4},
    "RandomResize": {"min_size": 6, "max_size": 7},
    "RandomResizedCrop": {"size": 6},
    "RandomRotation": {"degrees": 20},
    "RandomShortestSize": {"min_size": 6},
    "RandomSolarize": {"threshold": 0.5},
    "Resize": {"size": [6, 6], "interpolation": "nearest-exact"},
    "ScaleJitter": {"target_size": [6, 6], "scale_range": [1.0, 1.0]},
    "AutoAugment": {"policy": "cifar10"},
    "ConvertImageDtype": {"dtype": "float32"},
    "ToDtype": {"dtype": "float32", "scale": True},
}
ON_BATCHES = ["CutMix", "MixUp"]


@pytest.fixture(autouse=True)
def _no_deprecations() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The transform `(ToTensor|ConvertImageDtype|ConvertDtype)")
        yield


def images(n: int = 12) -> Data:
    return prepare(fake(n), name="fake")


def fake(n: int = 12):
    return registry.datasets.find("FakeData").load()(size=n, image_size=[3, 8, 8], num_classes=2)


@pytest.mark.parametrize("name", [name for name in registry.transforms.names() if name != "JPEG"])
def test_every_transform_by_its_name(name: str) -> None:
    choice = Choice(name, SETTINGS.get(name, {}))
    train = [choice, Choice("ToImage"), Choice("ToDtype", {"dtype": "float32", "scale": True})]
    if name in ON_BATCHES:
        train = [choice]
    data = prepare(fake(), name="fake", transforms={"train": train})
    inputs, _ = fetch(data.train, torch.arange(1), data.augment, position=3)
    assert type(inputs) is torch.Tensor
    assert inputs.dtype == torch.float32
    assert torch.isfinite(inputs).all()
    if not is_random(choice):
        assert data.augment is None


def test_jpeg_wants_bytes() -> None:
    with pytest.raises(UsageError, match="transforms: JPEG: "):
        prepare(fake(), name="fake", transforms={"train": [Choice("JPEG", {"quality": 50})]})


@pytest.mark.parametrize("name", [name for name in registry.transforms.names() if name != "ToPILImage"])
def test_what_counts_as_deterministic_is(name: str) -> None:
    choice = Choice(name, SETTINGS.get(name, {}))
    if is_random(choice):
        return
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(prepare(fake(), name="fake", transforms=[choice]).train.inputs)
    assert torch.equal(*results)


def test_a_container_is_random_if_a_member_is() -> None:
    assert not is_random(Choice("Compose", {"transforms": [NORMALIZE]}))
    assert is_random(Choice("Compose", {"transforms": [NORMALIZE, FLIP]}))
    assert is_random(Choice("RandomApply", {"transforms": [NORMALIZE]}))


def test_equal_to_torchvision_and_done_once() -> None:
    v2 = import_torchvision().transforms.v2
    chain = v2.Compose([v2.Resize([6, 6]), v2.Normalize([0.5], [0.25])])
    plain = images()
    data = prepare(fake(), name="fake", transforms=[Choice("Resize", {"size": [6, 6]}), NORMALIZE])
    assert data.augment is None
    assert data.input_shape == data.eval_shape == (3, 6, 6)
    for before, after in ((plain.train, data.train), (plain.val, data.val)):
        for one, other in zip(before.inputs, after.inputs):
            assert torch.allclose(chain(one), other, atol=1e-6)


def test_training_alone_is_augmented() -> None:
    crop = Choice("RandomCrop", {"size": 8, "padding": 2})
    data = prepare(fake(), name="fake", transforms={"train": [NORMALIZE, crop, FLIP], "val": [NORMALIZE]})
    plain = prepare(fake(), name="fake", transforms=[NORMALIZE])
    assert torch.equal(data.train.inputs, plain.train.inputs)  # what stands before the first random one
    assert torch.equal(data.val.inputs, plain.val.inputs)
    assert [name for name, _ in data.augment.each.steps] == ["RandomCrop", "RandomHorizontalFlip"]


@pytest.fixture(scope="module")
def data() -> Data:
    return prepare(fake(), name="fake", transforms={"train": [FLIP, NOISE]})


class TestDraws:
    """Sample k of epoch e gets the same draw, whoever asks for it and when."""

    def test_not_of_the_batch(self, data: Data) -> None:
        order = torch.tensor([3, 1, 4, 0, 5, 2])
        whole, _ = fetch(data.train, order, data.augment, seed=7, epoch=2)
        for k in reversed(range(6)):
            alone, _ = fetch(data.train, order[k : k + 1], data.augment, seed=7, epoch=2, position=k)
            assert torch.equal(alone[0], whole[k])

    @pytest.mark.parametrize("other", [{"seed": 8}, {"epoch": 3}, {"position": 1}])
    def test_of_seed_epoch_and_position(self, data: Data, other: dict) -> None:
        same = {"seed": 7, "epoch": 2, "position": 0}
        first, _ = fetch(data.train, torch.arange(2), data.augment, **same)
        second, _ = fetch(data.train, torch.arange(2), data.augment, **{**same, **other})
        assert not torch.equal(first, second)

    def test_not_of_the_global_streams_and_they_stay(self, data: Data) -> None:
        results = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            results.append(fetch(data.train, torch.arange(4), data.augment)[0])
            after = torch.rand(3)
            torch.manual_seed(seed)
            assert torch.equal(after, torch.rand(3))
        assert torch.equal(*results)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_not_of_the_workers(self, data: Data, workers: int) -> None:
        served = list(DataLoader(Pairs(data), batch_size=None, num_workers=workers, generator=torch.Generator()))
        for k, (inputs, _) in enumerate(served):
            assert torch.equal(
                inputs, fetch(data.train, torch.arange(2 * k, 2 * k + 2), data.augment, position=2 * k)[0]
            )

    def test_not_of_the_process(self, data: Data, tmp_path: Path) -> None:
        (tmp_path / "part.pickle").write_bytes(pickle.dumps((data.train, data.augment)))
        code = (
            "import pickle, torch; from optrun.components.parts import fetch; "
            f"part, augment = pickle.load(open({str(tmp_path / 'part.pickle')!r}, 'rb')); "
            f"torch.save(fetch(part, torch.arange(2), augment), {str(tmp_path / 'batch.pt')!r})"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
        ours, theirs = fetch(data.train, torch.arange(2), data.augment), torch.load(tmp_path / "batch.pt")
        assert torch.equal(ours[0], theirs[0])


class Pairs(Dataset):
    """Batches of two, as a map-style data set for a DataLoader's workers."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data.train) // 2

    def __getitem__(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        if k >= len(self):
            raise IndexError(k)
        return fetch(self.data.train, torch.arange(2 * k, 2 * k + 2), self.data.augment, position=2 * k)


@pytest.mark.parametrize("name", ON_BATCHES)
def test_mixing_gives_class_probabilities(name: str) -> None:
    data = prepare(fake(), name="fake", transforms={"train": [FLIP, Choice(name)]})
    inputs, targets = fetch(data.train, torch.arange(4), data.augment)
    assert inputs.shape == (4, 3, 8, 8)
    assert targets.shape == (4, 2)
    assert torch.allclose(targets.sum(1), torch.ones(4))
    assert torch.equal(fetch(data.train, torch.arange(4), data.augment)[1], targets)


def test_pictures_on_disk(tmp_path: Path) -> None:
    write_images(tmp_path / "pictures", per_class=5)
    crop = Choice("RandomResizedCrop", {"size": [6, 6]})
    sized = Choice("Resize", {"size": [10, 10]})
    data = prepare(make("ImageFolder", tmp_path), name="pictures", transforms={"train": [crop], "val": [sized]})
    assert (data.input_shape, data.eval_shape) == ((3, 6, 6), (3, 10, 10))
    inputs, targets = fetch(data.train, torch.arange(3), data.augment, epoch=1)
    assert inputs.shape == (3, 3, 6, 6)
    assert targets.dtype == torch.int64
    assert torch.equal(fetch(data.train, torch.arange(1, 3), data.augment, epoch=1, position=1)[0], inputs[1:])


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([FLIP], r"RandomHorizontalFlip is random and would also change validation; write transforms: \{train: "),
        ({"val": [FLIP]}, "RandomHorizontalFlip is random, so it cannot stand in val"),
        ({"test": [NORMALIZE]}, "test is no part; the parts are train and val, and test takes val's"),
        ({"train": [Choice("MixUp"), FLIP]}, "MixUp works on whole batches, so it must stand last in train"),
        ([Choice("Normalize", {"mean": [0.5, 0.5], "std": [1.0, 1.0]})], "transforms: Normalize: "),
        ([Choice("CenterCrop", {"size": [1, 2, 3]})], "transforms: CenterCrop: "),
        (
            [Choice("ToDtype", {"dtype": "uint8", "scale": True})],
            r"transforms end in torch.uint8; end with \{name: ToIm",
        ),
        ([Choice("Nonsense")], "there is no transform 'Nonsense'"),
    ],
)
def test_what_cannot_be(transforms: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(fake(), name="fake", transforms=transforms)


@pytest.mark.parametrize("name", ["wine", "pydocs", "pydocs_topics"])
def test_transforms_are_for_images(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"transforms are for images, and {name} has none"):
        prepare(make(name, tmp_path), name=name, transforms=[NORMALIZE])


def test_own_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.transforms, "_registered", {})

    @registry.transforms.register
    def brighter(*, by: float = 0.5):
        return lambda image: image + by

    with pytest.raises(UsageError, match="brighter is random"):
        prepare(fake(), name="fake", transforms=[Choice("brighter")])
    brighter.deterministic = True
    data = prepare(fake(), name="fake", transforms=[Choice("brighter", {"by": 1.0})])
    assert torch.equal(data.train.inputs, images().train.inputs + 1.0)
    assert isinstance(data.train, Examples)
