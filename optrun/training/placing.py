"""Where a run's data lie: with its tensors if there is room, else in the machine's memory, from which batches are sent.

Sending goes through pinned memory, which a GPU fetches while it computes; nobody waits.
Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#use-pinned-memory-buffers
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from optrun.components.data import Data, Examples
from optrun.training.precision import Placement

__all__ = ["gathered", "placed", "room", "streamed"]

SHARE = 0.5
"""The part of a device's free memory that data may take; the rest is for models and what they compute."""


def room(device: torch.device) -> float:
    """Bytes that data may take of a device; on a CPU they are where they were made, and take no more."""
    if device.type != "cuda":
        return math.inf
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return SHARE * (torch.cuda.mem_get_info(device)[0] + cached)


def placed(data: Data, place: Placement, bytes_free: float) -> Data:
    """The data with its in-memory parts where the run's tensors live, the training part first, as far as there is room;
    the others stay where they are, in the run's type. What is augmented anew in every epoch stays on the CPU, whose
    random streams the augmentation draws from."""
    at_home = replace(place, device=torch.device("cpu"))

    def moved(part: Any) -> Any:
        nonlocal bytes_free
        if not isinstance(part, Examples):
            return part
        if part.inputs.device.type == place.device.type:
            return Examples(place(part.inputs), place(part.targets))
        bytes_free -= (needed := _bytes(part.inputs, place) + _bytes(part.targets, place))
        if bytes_free >= 0:
            return Examples(place(part.inputs), place(part.targets))
        bytes_free += needed
        return Examples(at_home(part.inputs), at_home(part.targets))

    train = data.train if data.augment else moved(data.train)
    return replace(data, train=train, val=moved(data.val), test=moved(data.test))


def _bytes(tensor: Tensor, place: Placement) -> int:
    return tensor.numel() * (place.dtype if tensor.is_floating_point() else tensor.dtype).itemsize


def gathered(whole: Tensor, rows: Tensor, place: Placement) -> Tensor:
    """The examples at `rows` (int64 [n], where `whole` is), where `place` puts them."""
    if whole.device.type == place.device.type and place.memory_format == torch.contiguous_format:
        return whole.index_select(0, rows)
    if _is_streamed(whole, place):
        buffer = torch.empty(len(rows), *whole.shape[1:], dtype=whole.dtype, pin_memory=True)
        return place(torch.index_select(whole, 0, rows, out=buffer))
    return place(whole.index_select(0, rows))


def streamed(tensor: Tensor, place: Placement) -> Tensor:
    """The tensor where `place` puts it, by way of pinned memory if it must be sent."""
    return place(tensor.pin_memory() if _is_streamed(tensor, place) else tensor)


def _is_streamed(tensor: Tensor, place: Placement) -> bool:
    return place.device.type == "cuda" and tensor.device.type == "cpu"
