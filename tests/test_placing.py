"""Data are where the run's tensors are as far as there is room; the rest is sent batch by batch. torch's meta device,
whose tensors have no numbers, stands here for one with a memory of its own."""

from __future__ import annotations

import math

import pytest
import torch
from experiments import DIGITS_MLP
from stacking import specs

from optrun.components.data import Data, Examples
from optrun.training.batches import Batches
from optrun.training.evaluation import slices
from optrun.training.placing import gathered, placed, room
from optrun.training.precision import Placement
from optrun.training.preparation import load_data

ELSEWHERE = Placement(torch.device("meta"), torch.float64)


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data(specs({**DIGITS_MLP, "epochs": 1}, [{}])[0])


def bytes_of(part: Examples) -> int:
    return part.inputs.numel() * 8 + part.targets.nbytes


def test_what_does_not_fit_stays(data: Data) -> None:
    everything = placed(data, ELSEWHERE, math.inf)
    assert {part.inputs.device.type for part in (everything.train, everything.val)} == {"meta"}
    just_one = placed(data, ELSEWHERE, bytes_of(data.train))
    assert (just_one.train.inputs.device.type, just_one.val.inputs.device.type) == ("meta", "cpu")
    the_other = placed(data, ELSEWHERE, bytes_of(data.train) - 1)
    assert (the_other.train.inputs.device.type, the_other.val.inputs.device.type) == ("cpu", "meta")
    assert the_other.train.inputs.dtype == torch.float64
    again = placed(everything, ELSEWHERE, 0)
    assert again.train.inputs is everything.train.inputs, "what is there takes no more room"


def test_batches_are_sent(data: Data) -> None:
    at_home = placed(data, ELSEWHERE, 0)
    batches = Batches(
        at_home.train, batch_size=64, accumulate=2, seed=0, place=ELSEWHERE, to_loss=lambda targets: targets
    )
    assert batches.source == "tensors on cpu"
    ((first, targets, _), _) = next(batches.after(0, 0))
    assert (first.device.type, targets.device.type, len(first)) == ("meta", "meta", 64)
    assert {inputs.device.type for inputs, _ in slices(at_home.val, ELSEWHERE)} == {"meta"}


def test_a_cpu_has_room_for_what_it_has(data: Data) -> None:
    assert room(torch.device("cpu")) == math.inf
    here = Placement(torch.device("cpu"), torch.float32)
    rows = torch.tensor([3, 1])
    assert torch.equal(gathered(data.train.inputs, rows, here), data.train.inputs[rows])
