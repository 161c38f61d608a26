"""Transforms of images: what is the same every time is done once, what is random anew in every epoch.

A transform sees a float32 tensor in [0, 1], C×H×W, and gives one back. Random ones draw from a stream of their own, so
that sample k of epoch e gets the same draw however many workers serve it and wherever a run was resumed.
"""

from __future__ import annotations

import contextlib
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optrun.components import registry
from optrun.components.choice import Choice
from optrun.components.memory import require_memory
from optrun.components.torchvision_catalog import is_random, transform_definitions
from optrun.errors import UsageError

__all__ = ["Augment", "Chain", "Transforms", "plan", "stack"]

Transforms = Sequence[Choice] | Mapping[str, Sequence[Choice]]

_ON_BATCHES = ("MixUp", "CutMix")


@dataclass(frozen=True)
class Chain:
    """Transforms by name, one after the other, on one image or on a stack of them."""

    steps: tuple[tuple[str, Callable[..., Any]], ...]

    def __call__(self, image: Tensor) -> Tensor:
        """Raises UsageError when a transform cannot take the image, or when they do not end in a float tensor."""
        for name, step in self.steps:
            with _blamed_on(name):
                image = step(image)
        if not isinstance(image, Tensor) or not image.is_floating_point():
            kind = image.dtype if isinstance(image, Tensor) else "a PIL image"
            raise UsageError(
                f"transforms end in {kind}; end with {{name: ToImage}}, {{name: ToDtype, dtype: float32, scale: true}}"
            )
        return image.as_subclass(Tensor)

    def all(self, images: Tensor) -> Tensor:
        """Every one of `images` [n, C, H, W], many at once where every step is known to take a stack.

        Raises UsageError when the results do not fit into memory, where they and a copy stand while they are made.
        """
        require_memory("transforming the images", 2 * self(images[0]).nbytes * len(images))
        if all(name in transform_definitions() and name != "ToPILImage" for name, _ in self.steps):
            return torch.cat([self(block) for block in images.split(1024)])
        return stack([self(image) for image in images])

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (pickle.dumps(self.steps),)


@dataclass(frozen=True)
class Augment:
    """What happens to the training part's batches anew in every epoch."""

    each: Chain
    """Applied to every image by itself."""
    batch: tuple[tuple[str, Callable[..., Any]], ...] = ()
    """MixUp and CutMix: these take (inputs, targets) and turn class indices into class probabilities [B, C]."""

    def __call__(
        self, images: Iterable[Tensor], targets: Tensor, *, seed: int, epoch: int, position: int
    ) -> tuple[Tensor, Tensor]:
        """(inputs [B, C, H, W], targets) of the batch whose first sample stands at `position` in the epoch's order.

        Draws for an image depend on (seed, epoch, its own position) alone; the random streams of torch, numpy and
        random are afterwards where they were before.
        """
        with _own_streams():
            drawn = []
            for k, image in enumerate(images):
                if self.each.steps:
                    _seed_streams(seed, epoch, position + k, 0)
                drawn.append(self.each(image))
            inputs = stack(drawn)
            for name, step in self.batch:
                _seed_streams(seed, epoch, position, 1)
                with _blamed_on(name):
                    inputs, targets = step(inputs, targets)
        return inputs, targets

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled_augment, (self.each, pickle.dumps(self.batch))


def plan(transforms: Transforms, *, num_classes: int | None) -> tuple[Chain | None, Augment | None, Chain | None]:
    """(what is done once to the training part, what anew in every epoch, what is done to val and test).

    A list is meant for every part; a mapping has a list for `train`, a list for `val`, or both. Raises UsageError for
    a random transform that would change the validation part, or a setting that a transform refuses.
    """
    for_train, for_val = _by_part(transforms)
    for choice in for_val:
        if is_random(choice) and isinstance(transforms, Mapping):
            raise UsageError(f"transforms: {choice.name} is random, so it cannot stand in val")
        if is_random(choice):
            raise UsageError(
                f"transforms: {choice.name} is random and would also change validation; "
                "write transforms: {train: […], val: […]}"
            )
    first_random = next((k for k, choice in enumerate(for_train) if is_random(choice)), len(for_train))
    once, anew = for_train[:first_random], for_train[first_random:]
    return _chain(once), _augment(anew, num_classes), _chain(for_val)


def stack(images: Sequence[Tensor]) -> Tensor:
    """[B, C, H, W] out of B images. Raises UsageError when their shapes differ."""
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        a, b = sorted(shapes)[:2]
        raise UsageError(
            f"the images have different shapes ({_times(a)}, {_times(b)}), so they make no batch; "
            "add {name: Resize, size: [height, width]} to the data set's transforms"
        )
    return torch.stack(list(images))


def _by_part(transforms: Transforms) -> tuple[Sequence[Choice], Sequence[Choice]]:
    if not isinstance(transforms, Mapping):
        return transforms, transforms
    unknown = set(transforms) - {"train", "val"}
    if unknown:
        raise UsageError(f"transforms: {min(unknown)} is no part; the parts are train and val, and test takes val's")
    return transforms.get("train", ()), transforms.get("val", ())


def _chain(choices: Sequence[Choice]) -> Chain | None:
    return Chain(tuple((choice.name, _built(choice)) for choice in choices)) if choices else None


def _augment(choices: Sequence[Choice], num_classes: int | None) -> Augment | None:
    if not choices:
        return None
    each = [choice for choice in choices if choice.name not in _ON_BATCHES]
    batch = [choice for choice in choices if choice.name in _ON_BATCHES]
    if list(choices) != each + batch:
        raise UsageError(f"transforms: {batch[0].name} works on whole batches, so it must stand last in train")
    mixers = tuple((c.name, _built(Choice(c.name, {"num_classes": num_classes, **c.settings}))) for c in batch)
    return Augment(_chain(each) or Chain(()), mixers)


def _built(choice: Choice) -> Callable[..., Any]:
    settings = {key: _built_inside(value) for key, value in choice.settings.items()}
    with _blamed_on(choice.name):
        return registry.transforms.find(choice.name).load()(**settings)


def _built_inside(value: Any) -> Any:
    """Compose and RandomApply take transforms among their settings."""
    if isinstance(value, Choice):
        return _built(value)
    return [_built_inside(item) for item in value] if isinstance(value, list | tuple) else value


@contextlib.contextmanager
def _blamed_on(name: str) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise
    except (TypeError, ValueError, RuntimeError, NotImplementedError, KeyError) as error:
        raise UsageError(f"transforms: {name}: {error}") from error


@contextlib.contextmanager
def _own_streams() -> Iterator[None]:
    """Leave the global streams as they were. Transforms draw on the CPU, so no device's stream is touched."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)


def _seed_streams(seed: int, epoch: int, position: int, use: int) -> None:
    # A spawn key, since SeedSequence([seed, epoch]) and SeedSequence([seed, epoch, 0]) are the same stream.
    draw = int(np.random.SeedSequence(seed, spawn_key=(epoch, position, use)).generate_state(1)[0])
    torch.default_generator.manual_seed(draw)  # torch.manual_seed would also seed the devices
    random.seed(draw)
    np.random.seed(draw)


def _unpickled(steps: bytes) -> Chain:
    """In a worker process that has not imported torchvision yet, unpickling alone could not."""
    return Chain(_loads(steps))


def _unpickled_augment(each: Chain, batch: bytes) -> Augment:
    return Augment(each, _loads(batch))


def _loads(steps: bytes) -> Any:
    from optrun.components.torchvision_import import import_torchvision

    import_torchvision()
    return pickle.loads(steps)  # written by this program, above


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
