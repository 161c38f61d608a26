"""Data: what a data set function gives (`Dataset`), and the split, standardised, transformed thing models train on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from optrun.components.choice import VAL_FRACTION
from optrun.components.parts import Examples, OnDisk, Part, fetch, fingerprint, in_unit_interval, labels, subset, whole
from optrun.components.splits import cut_at_random, cut_off_the_end
from optrun.components.transforms import Augment, Chain, Transforms, plan
from optrun.errors import UsageError

__all__ = ["Data", "Dataset", "Examples", "Kind", "OnDisk", "Part", "Task", "fetch", "prepare"]

Task = Literal["classification", "regression", "language_model"]
Kind = Literal["table", "images", "array", "passages", "characters"]


@dataclass(frozen=True)
class Dataset:
    """What a data set function returns: examples as they are, before any split.

    Targets are int64 [n] for classification, float [n, k] for regression, int64 [n, T] for a language model. Images are
    C×H×W, uint8 or float in [0, 1]. Texts are int64 ids into `vocabulary`; texts to classify are padded with id 0.
    """

    task: Task
    train: Examples | torch.utils.data.Dataset
    """In memory, or a map-style torch data set of (image, class index) with `targets`, read from disk lazily."""
    val: Examples | torch.utils.data.Dataset | None = None
    test: Examples | torch.utils.data.Dataset | None = None
    num_classes: int | None = None
    """Classes, or characters for a language model; None for regression."""
    vocabulary: tuple[str, ...] | None = None
    """Characters or words by their id; what has a vocabulary is text."""
    standardize: bool = False
    """Tables: subtract the training part's mean and divide by its deviation, column by column."""
    ordered: bool = False
    """Parts are cut by position, val and test from the end, as for one long text."""


@dataclass(frozen=True)
class Data:
    """What models are built from and training reads."""

    name: str
    task: Task
    train: Part
    val: Part
    test: Part | None
    num_classes: int | None
    vocabulary: tuple[str, ...] | None
    input_shape: tuple[int, ...]
    """One training example, without the batch dimension."""
    eval_shape: tuple[int, ...]
    """One validation example: the same, unless the transforms of train and val give other sizes."""
    num_outputs: int
    """Classes, characters, or numbers to predict."""
    fingerprint: str
    """SHA-256 over the data before splitting; of images on disk, over their paths and sizes."""
    augment: Augment | None = None
    """What happens to the training part's batches anew in every epoch, to be given to `fetch`."""

    @property
    def kind(self) -> Kind:
        """What the inputs are: passages are word ids to classify, characters are ids to continue."""
        if self.task == "language_model":
            return "characters"
        if self.vocabulary is not None:
            return "passages"
        return "table" if len(self.input_shape) == 1 else "images" if len(self.input_shape) == 3 else "array"


def prepare(
    dataset: Dataset,
    *,
    name: str,
    split_seed: int = 0,
    val_fraction: float | None = None,
    test_fraction: float | None = None,
    transforms: Transforms = (),
) -> Data:
    """Split, standardise and transform a data set.

    `test_fraction` of the training part, if given, becomes the test part; then `val_fraction` of what is left (0.2
    unless given) the validation part, if the data set has none of its own. For classification each class gives its
    share. Raises UsageError when a part would be empty or is there already, or when a transform does not suit.
    """
    _check(dataset, name)
    train, val, test = _parts(dataset, split_seed, val_fraction, test_fraction)
    if dataset.standardize:
        train, val, test = _standardized(train, val, test)
    if transforms and not _holds_images(dataset):
        raise UsageError(f"transforms are for images, and {name} has none; remove transforms")
    once, augment, for_eval = plan(transforms, num_classes=dataset.num_classes)
    train, val, test = _ready(train, once), _ready(val, for_eval), test and _ready(test, for_eval)
    return Data(
        name=name,
        task=dataset.task,
        train=train,
        val=val,
        test=test,
        num_classes=dataset.num_classes,
        vocabulary=dataset.vocabulary,
        input_shape=_shape(train, augment),
        eval_shape=_shape(val),
        num_outputs=labels(train).shape[1] if dataset.task == "regression" else dataset.num_classes or 0,
        fingerprint=_fingerprint(dataset),
        augment=augment,
    )


def _parts(
    dataset: Dataset, seed: int, val_fraction: float | None, test_fraction: float | None
) -> tuple[Part, Part, Part | None]:
    """train, val and test, cut where the data set does not bring them."""
    for key, fraction, own in (("val", val_fraction, dataset.val), ("test", test_fraction, dataset.test)):
        if own is not None and fraction is not None:
            raise UsageError(f"{key}_fraction: the data set brings its own {key} part; remove {key}_fraction")
    train = whole(dataset.train)
    val = None if dataset.val is None else whole(dataset.val)
    test = None if dataset.test is None else whole(dataset.test)
    if test_fraction is not None:
        train, test = _cut(dataset, train, test_fraction, "test_fraction", seed, stream=0)
    if val is None:
        train, val = _cut(
            dataset, train, VAL_FRACTION if val_fraction is None else val_fraction, "val_fraction", seed, stream=1
        )
    return train, val, test


def _cut(dataset: Dataset, part: Part, fraction: float, key: str, seed: int, stream: int) -> tuple[Part, Part]:
    if dataset.ordered:
        rest, cut = cut_off_the_end(len(part), fraction, key=key)
    else:
        classes = labels(part) if dataset.task == "classification" else None
        rest, cut = cut_at_random(len(part), fraction, key=key, seed=seed, stream=stream, labels=classes)
    return subset(part, rest), subset(part, cut)


def _standardized(train: Part, val: Part, test: Part | None) -> tuple[Part, Part, Part | None]:
    """With the mean and deviation of the training part; a column that is constant there is only centred."""
    assert isinstance(train, Examples)
    inputs = train.inputs.double().numpy()  # numpy, since its sums do not depend on the number of threads
    mean, deviation = inputs.mean(0), inputs.std(0)
    constant = inputs.max(0) == inputs.min(0)
    mean[constant], deviation[constant] = inputs[0, constant], 1.0

    def standardize(part: Part) -> Part:
        assert isinstance(part, Examples)
        return Examples(torch.from_numpy((part.inputs.double().numpy() - mean) / deviation), part.targets)

    return standardize(train), standardize(val), test and standardize(test)


def _ready(part: Part, chain: Chain | None) -> Part:
    """The part in the types that models take, with the transforms done that are done once."""
    if isinstance(part, OnDisk):
        return replace(part, transform=chain)
    inputs, targets = part.inputs, part.targets
    if inputs.dtype != torch.int64:
        inputs = in_unit_interval(inputs).float()
    if chain is not None:
        inputs = chain.all(inputs)
    return Examples(inputs, targets.float() if targets.is_floating_point() else targets)


def _shape(part: Part, augment: Augment | None = None) -> tuple[int, ...]:
    """The shape of one example; two are fetched, so that images that make no batch are found out now."""
    return tuple(fetch(part, torch.arange(min(2, len(part))), augment)[0].shape[1:])


def _holds_images(dataset: Dataset) -> bool:
    return not isinstance(dataset.train, Examples) or (dataset.vocabulary is None and dataset.train.inputs.dim() == 4)


def _fingerprint(dataset: Dataset) -> str:
    parts = [None if part is None else whole(part) for part in (dataset.train, dataset.val, dataset.test)]
    words = "\n".join(dataset.vocabulary or ())
    return hashlib.sha256(f"{dataset.task}\n{fingerprint(parts)}\n{words}".encode()).hexdigest()


def _check(dataset: Dataset, name: str) -> None:
    """What a data set function may return, said to those who write one. Raises UsageError."""

    def demand(holds: object, message: str) -> None:
        if not holds:
            raise UsageError(f"data set {name}: {message}")

    classes = dataset.num_classes or 0
    if dataset.task != "regression":
        demand(classes, f"num_classes is needed for {dataset.task.replace('_', ' ')}")
    for part in (dataset.train, dataset.val, dataset.test):
        if part is None or not isinstance(part, Examples):
            continue
        inputs, targets = part.inputs, part.targets
        demand(
            len(inputs) == len(targets) > 0, f"{len(inputs)} inputs and {len(targets)} targets; give as many of each"
        )
        demand(not inputs.is_floating_point() or bool(torch.isfinite(inputs).all()), "an input is NaN or infinite")
        if dataset.task == "regression":
            demand(targets.is_floating_point() and targets.dim() == 2, "targets of a regression are numbers [n, k]")
            demand(bool(torch.isfinite(targets).all()), "a target is NaN or infinite")
            continue
        demand(targets.dtype == torch.int64, f"targets are {targets.dtype}; give int64")
        if dataset.task == "language_model":
            demand(inputs.shape == targets.shape, "a language model has a target for every character")
        else:
            demand(targets.dim() == 1, "targets of a classification are class indices [n]")
        outside = np.unique(targets[(targets < 0) | (targets >= classes)].numpy())
        demand(not len(outside), f"a target is {outside[:1]}, and there are {classes} classes, from 0 on")
