"""Splits: the same every time, fair to every class, and nothing of what is held back reaches the training part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_files import make, prepared, write_all

from optrun.components.data import Dataset, Examples, prepare
from optrun.components.splits import cut_at_random, cut_off_the_end
from optrun.errors import UsageError

TABLES = ["breast_cancer", "diabetes", "iris", "moons", "spirals", "wine"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("files"))


class TestSplits:
    @given(
        labels=st.lists(st.integers(0, 5), min_size=5, max_size=200),
        fraction=st.floats(0.05, 0.95),
        seed=st.integers(0, 2**32),
    )
    def test_classes_give_their_share(self, labels: list[int], fraction: float, seed: int) -> None:
        array = np.array(labels)
        if not 0 < round(len(array) * fraction) < len(array) or np.bincount(array).max() < 2:
            return
        rest, part = cut_at_random(len(array), fraction, key="val_fraction", seed=seed, stream=1, labels=array)
        assert sorted([*rest, *part]) == list(range(len(array)))
        everyone_spares_one = np.bincount(array)[np.bincount(array) > 0].min() >= 2 / min(fraction, 1 - fraction)
        for label in np.unique(array):
            total, taken = int((array == label).sum()), int((array[part] == label).sum())
            assert taken < total
            if everyone_spares_one:
                assert abs(taken - total * round(len(array) * fraction) / len(array)) < 1 + 1e-9
        if everyone_spares_one:
            assert len(part) == round(len(array) * fraction)

    @given(n=st.integers(2, 300), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**32))
    def test_unlabelled_and_ordered(self, n: int, fraction: float, seed: int) -> None:
        if not 0 < round(n * fraction) < n:
            with pytest.raises(UsageError, match="val_fraction"):
                cut_off_the_end(n, fraction, key="val_fraction")
            return
        rest, part = cut_at_random(n, fraction, key="val_fraction", seed=seed, stream=1)
        assert sorted([*rest, *part]) == list(range(n))
        assert len(part) == round(n * fraction)
        head, tail = cut_off_the_end(n, fraction, key="val_fraction")
        assert [*head, *tail] == list(range(n))
        assert len(tail) == round(n * fraction)

    def test_split_seed_decides(self, files: Path) -> None:
        parts = [prepared("digits", files, split_seed=seed).val.inputs for seed in (0, 0, 1)]
        assert torch.equal(parts[0], parts[1])
        assert not torch.equal(parts[0], parts[2])

    def test_test_is_cut_before_val(self, files: Path) -> None:
        data = prepared("iris", files, test_fraction=0.2, val_fraction=0.25)
        assert [len(part) for part in (data.train, data.val, data.test)] == [90, 30, 30]
        for part in (data.train, data.val, data.test):
            assert len(set(torch.bincount(part.targets).tolist())) == 1
        other = prepared("iris", files, test_fraction=0.2, val_fraction=0.5)
        assert torch.equal(torch.sort(data.test.targets)[0], torch.sort(other.test.targets)[0])

    @pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2, 1.5])
    def test_fractions_that_are_none(self, files: Path, fraction: float) -> None:
        with pytest.raises(UsageError, match=rf"val_fraction is {fraction}; it must lie between 0 and 1"):
            prepared("iris", files, val_fraction=fraction)

    def test_an_empty_part_is_refused(self, files: Path) -> None:
        with pytest.raises(UsageError, match=r"test_fraction 0.001 of 150 examples is none of them"):
            prepared("iris", files, test_fraction=0.001)

    def test_a_part_that_is_there_already(self, files: Path) -> None:
        with pytest.raises(UsageError, match="test_fraction: the data set brings its own test part"):
            prepared("MNIST", files, test_fraction=0.2)


@pytest.mark.parametrize("name", TABLES)
def test_standardised_with_the_training_part_alone(name: str, files: Path) -> None:
    data, raw = prepared(name, files, test_fraction=0.1), make(name, files).train
    classes = raw.targets.numpy() if data.task == "classification" else None
    left, test = cut_at_random(len(raw), 0.1, key="", seed=0, stream=0, labels=classes)
    inside = None if classes is None else classes[left]
    train, val = cut_at_random(len(left), 0.2, key="", seed=0, stream=1, labels=inside)
    rows = raw.inputs.numpy()
    mean, deviation = rows[left[train]].mean(0), rows[left[train]].std(0)
    for part, indices in ((data.train, left[train]), (data.val, left[val]), (data.test, test)):
        assert (part.inputs.numpy() == ((rows[indices] - mean) / deviation).astype(np.float32)).all()
    assert data.train.inputs.mean(0).abs().max() < 1e-6
    assert (data.train.inputs.std(0, correction=0) - 1).abs().max() < 1e-5


def test_a_constant_column_is_only_centred() -> None:
    inputs = torch.tensor([[0.1, float(i)] for i in range(10)], dtype=torch.float64)
    dataset = Dataset("regression", Examples(inputs, inputs[:, 1:]), standardize=True)
    data = prepare(dataset, name="constant")
    assert torch.equal(data.train.inputs[:, 0], torch.zeros(8))


def test_held_back_values_do_not_reach_the_training_part(files: Path) -> None:
    dataset = make("wine", files)
    plain = prepare(dataset, name="wine")
    _, held = cut_at_random(178, 0.2, key="", seed=0, stream=1, labels=dataset.train.targets.numpy())
    shifted = dataset.train.inputs.clone()
    shifted[torch.from_numpy(held)] += 1e6
    changed = prepare(replace(dataset, train=Examples(shifted, dataset.train.targets)), name="wine")
    assert torch.equal(plain.train.inputs, changed.train.inputs)
    assert plain.fingerprint != changed.fingerprint
