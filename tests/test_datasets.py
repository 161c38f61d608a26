"""Data sets: equal to their source, split the same every time, standardised without a look at what is held back."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from small_files import make, prepared, skip_checksums, write_all

from optrun.components import registry
from optrun.components.data import Data, Dataset, Examples, fetch, prepare
from optrun.errors import UsageError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("files"))


@pytest.fixture
def _no_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_checksums(monkeypatch)


@pytest.mark.usefixtures("_no_checksums")
@pytest.mark.parametrize("name", registry.datasets.names())
class TestEveryDataSet:
    """What holds for all of them."""

    def test_parts_and_shapes(self, name: str, files: Path) -> None:
        data = prepared(name, files)
        for part in (data.train, data.val, data.test):
            if part is None:
                continue
            inputs, targets = fetch(part, torch.arange(min(3, len(part))))
            assert inputs.shape[1:] == data.input_shape == data.eval_shape
            if data.task == "regression":
                assert targets.shape == (len(inputs), data.num_outputs)
                assert targets.dtype == torch.float32
            else:
                assert targets.dtype == torch.int64
                assert targets.min() >= 0
                assert targets.max() < data.num_outputs == data.num_classes
            if data.vocabulary is None:
                assert inputs.dtype == torch.float32
            else:
                assert inputs.dtype == torch.int64
                assert inputs.max() < len(data.vocabulary)
            if data.kind == "images":
                assert 0 <= inputs.min() <= inputs.max() <= 1

    def test_is_the_same_again_whatever_the_global_seed(self, name: str, files: Path) -> None:
        torch.manual_seed(1)
        np.random.seed(1)
        first = prepared(name, files)
        torch.manual_seed(2)
        np.random.seed(2)
        again = prepared(name, files)
        assert first.fingerprint == again.fingerprint
        for a, b in ((first.train, again.train), (first.val, again.val)):
            for one, other in zip(fetch(a, torch.arange(len(a))), fetch(b, torch.arange(len(b)))):
                assert torch.equal(one, other)

    def test_draws_nothing_from_the_global_streams(self, name: str, files: Path) -> None:
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        prepared(name, files)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()

    def test_says_what_it_is(self, name: str, files: Path) -> None:
        component = registry.datasets.find(name)
        assert component.summary.endswith(".")
        assert component.signature.handed == ()


@pytest.mark.parametrize("name", ["breast_cancer", "digits", "iris", "wine"])
def test_equal_to_scikit_learn(name: str, files: Path) -> None:
    from sklearn import datasets as sklearn_datasets

    reference = getattr(sklearn_datasets, f"load_{name}")()
    examples = make(name, files).train
    inputs = examples.inputs.double().flatten(1) * (16 if name == "digits" else 1)
    assert (inputs.numpy() == reference.data).all()
    assert (examples.targets.numpy() == reference.target).all()


def test_diabetes_equal_to_scikit_learn(files: Path) -> None:
    from sklearn.datasets import load_diabetes

    reference = load_diabetes(scaled=False)
    examples = make("diabetes", files).train
    assert (examples.inputs.numpy() == reference.data).all()
    assert (examples.targets.numpy()[:, 0] == reference.target).all()


@pytest.mark.parametrize("n", [10, 101])
def test_moons_have_the_shape_of_scikit_learns(n: int) -> None:
    from sklearn.datasets import make_moons

    points, labels = make_moons(n, shuffle=False, noise=None)
    examples = registry.datasets.find("moons").load()(n=n, noise=0.0).train
    assert np.allclose(examples.inputs.numpy(), points, atol=1e-15)
    assert (examples.targets.numpy() == labels).all()


@pytest.mark.parametrize("name", ["moons", "spirals"])
def test_generated_data_have_a_seed_of_their_own(name: str) -> None:
    build = registry.datasets.find(name).load()
    first, other = build(n=50, seed=1).train, build(n=50, seed=2).train
    assert not torch.equal(first.inputs, other.inputs)
    assert torch.equal(first.inputs, build(n=50, seed=1).train.inputs)


def test_spirals_have_as_many_arms_as_asked_for() -> None:
    dataset = registry.datasets.find("spirals").load()(n=100, classes=3, noise=0.0)
    assert dataset.num_classes == 3
    assert torch.bincount(dataset.train.targets).tolist() == [34, 33, 33]
    assert dataset.train.inputs.norm(dim=1).max() <= 1 + 1e-12


class TestText:
    def test_targets_are_the_next_characters(self, files: Path) -> None:
        data = prepared("pydocs", files)
        windows, following = data.train.inputs, data.train.targets
        assert windows.shape[1:] == (64,)
        assert torch.equal(windows[:, 1:], following[:, :-1])
        assert torch.equal(windows[1:, 0], following[:-1, -1])
        assert set(data.vocabulary) >= set("abcdefghijklmnopqrstuvwxyz\n ")

    def test_val_is_the_last_fifth_and_nothing_is_predicted_twice(self, files: Path) -> None:
        data = prepared("pydocs", files)
        assert len(data.val) == round((len(data.train) + len(data.val)) / 5)
        assert data.train.targets[-1, -1] == data.val.inputs[0, 0]
        text = decoded(torch.cat([data.train.inputs, data.val.inputs]), data)
        assert "assert_stmt" in text
        assert "\n\n" in text

    def test_the_text_can_be_read_back(self, files: Path) -> None:
        data = prepared("text", files)
        text = (files / "book.txt").read_text()
        assert text.startswith(decoded(data.train.inputs, data) + decoded(data.val.inputs, data))

    def test_a_paragraph_stands_in_pydocs_once(self, files: Path) -> None:
        data = prepared("pydocs", files)
        text = decoded(torch.cat([data.train.inputs, data.val.inputs]), data)
        paragraphs = [p.strip("\n") for p in re.split(r"\n[ ]*\n", text) if p.strip()]
        assert len(paragraphs) - len(set(paragraphs)) < 20  # only where stripping joins what a blank line told apart

    def test_topics(self, files: Path) -> None:
        data = prepared("pydocs_topics", files)
        assert data.vocabulary[:2] == ("<pad>", "<unk>")
        counts = torch.bincount(torch.cat([data.train.targets, data.val.targets]))
        assert counts.min() >= 20
        assert data.kind == "passages"
        padded = (data.train.inputs == 0).long()
        assert (padded.diff(dim=1) >= 0).all()

    def test_bad_files(self, tmp_path: Path) -> None:
        build = registry.datasets.find("text").load()
        with pytest.raises(UsageError, match=r"the text file cannot be read: .*no.txt: No such file or directory"):
            build(path=str(tmp_path / "no.txt"))
        (tmp_path / "latin.txt").write_bytes("é".encode("latin-1") * 100)
        with pytest.raises(UsageError, match=r"latin.txt is no UTF-8 text \(byte 0\)"):
            build(path=str(tmp_path / "latin.txt"))
        (tmp_path / "short.txt").write_text("hello")
        with pytest.raises(UsageError, match="5 characters: too few for two windows of 64"):
            build(path=str(tmp_path / "short.txt"))


def decoded(windows: torch.Tensor, data: Data) -> str:
    return "".join(data.vocabulary[i] for i in windows.flatten().tolist())


class TestOwnDataSets:
    """What a plug-in's function may return is checked, in words for its author."""

    @pytest.mark.parametrize(
        ("task", "inputs", "targets", "message"),
        [
            ("classification", torch.zeros(4, 2), torch.zeros(3).long(), "4 inputs and 3 targets"),
            ("classification", torch.zeros(4, 2), torch.zeros(4), "targets are torch.float32; give int64"),
            ("classification", torch.zeros(4, 2), torch.arange(4), r"a target is \[2\], and there are 2 classes"),
            ("classification", torch.full((4, 2), torch.nan), torch.zeros(4).long(), "an input is NaN or infinite"),
            ("regression", torch.zeros(4, 2), torch.zeros(4), r"targets of a regression are numbers \[n, k\]"),
            ("regression", torch.zeros(4, 2), torch.full((4, 1), torch.inf), "a target is NaN or infinite"),
            ("language_model", torch.zeros(4, 2).long(), torch.zeros(4, 3).long(), "a target for every character"),
        ],
    )
    def test_refused(self, task: str, inputs: torch.Tensor, targets: torch.Tensor, message: str) -> None:
        with pytest.raises(UsageError, match=f"data set own: .*{message}"):
            prepare(Dataset(task, Examples(inputs, targets), num_classes=2), name="own")

    def test_classes_must_be_counted(self) -> None:
        with pytest.raises(UsageError, match="data set own: num_classes is needed for classification"):
            prepare(Dataset("classification", Examples(torch.zeros(4, 2), torch.zeros(4).long())), name="own")

    def test_uint8_images_come_into_the_unit_interval(self) -> None:
        pixels = torch.arange(256, dtype=torch.uint8).repeat(4).reshape(4, 1, 16, 16)
        dataset = Dataset("classification", Examples(pixels, torch.tensor([0, 0, 1, 1])), num_classes=2)
        data = prepare(dataset, name="own")
        assert torch.equal(data.train.inputs[0], pixels[0].float() / 255)


def test_data_files_are_read_without_importing_scikit_learn() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from optrun.components.registry import datasets; datasets.find('digits').load()(); "
        "print([name for name in ('sklearn', 'torchvision', 'scipy', 'PIL') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
