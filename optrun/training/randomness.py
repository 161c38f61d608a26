"""Everything random in a run derives from its seed, and can be put back to where it was.

The model's initialisation and every draw of training (dropout) come from torch's global generator, seeded immediately
before the model is built. The order of epoch e is a function of (seed, e) alone, so that any batch of any epoch can be
found again without replaying the ones before it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy
import torch
from torch import Tensor

__all__ = [
    "Generators",
    "default_generator",
    "epoch_order",
    "generator_states",
    "restore_generators",
    "seed_everything",
]


class Generators:
    """The generators that a run draws from: Python's, numpy's and torch's global ones."""

    def state_dict(self) -> dict[str, Any]:
        """Where they stand, as values that `torch.load(weights_only=True)` reads."""
        return generator_states()

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Put them back."""
        restore_generators(states)


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's global generators, on every device.

    `torch.manual_seed`, which leaves a note with a traceback for each kind of device that is not there.
    """
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    (torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed)(seed)


def default_generator(device: torch.device) -> torch.Generator:
    """torch's own generator of a device, from which dropout there draws."""
    if device.type != "cuda":
        return torch.default_generator
    return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]


def epoch_order(seed: int, epoch: int, n: int) -> Tensor:
    """The order in which epoch `epoch` visits the n training examples: a permutation, int64 [n]."""
    entropy = numpy.random.SeedSequence([seed, epoch]).generate_state(1, numpy.uint64)[0]
    return torch.randperm(n, generator=torch.Generator().manual_seed(int(entropy)))


def generator_states() -> dict[str, Any]:
    """Where every global generator stands, as values that `torch.load(weights_only=True)` reads."""
    version, words, gauss = random.getstate()
    of_numpy: dict[str, Any] = numpy.random.get_state(legacy=False)
    twister = {**of_numpy["state"], "key": torch.from_numpy(of_numpy["state"]["key"].astype("int64"))}
    states: dict[str, Any] = {
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": {**of_numpy, "state": twister},
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():  # else nothing has been drawn there, and asking would start it
        states["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_generators(states: Mapping[str, Any]) -> None:
    """Put every generator back to where `generator_states` found it."""
    python = states["python"]
    if isinstance(python, Mapping):
        python = (python["version"], tuple(python["words"].tolist()), python["gauss"])
    random.setstate(python)  # checkpoints of optrun 0.1.0 have it as it is
    twister = dict(states["numpy"]["state"])
    twister["key"] = twister["key"].numpy().astype("uint32")
    numpy.random.set_state({**states["numpy"], "state": twister})
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_initialized():
        for index, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, index)
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])
