"""How much memory a member of a stack takes, and how many members there is room for."""

from __future__ import annotations

import copy
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from optrun.components.data import Examples
from optrun.training.evaluation import SLICE
from optrun.training.packing import Packing
from optrun.training.state import State

__all__ = ["MOST", "SHARE", "available", "member_bytes", "members_that_fit"]

LEAST, MOST = 16, 128
"""Members of a stack, where there are so many: fewer pay too much for each call, and more gain nothing."""

MOST_ON_A_GPU = 1024
"""Members there, where a call takes about as long for many small models as for a few."""

CACHED = 8 * 2**20
"""Bytes that a stack's lasting numbers should not exceed, so that every step finds them in a processor's last cache."""

SHARE = 0.5
"""The part of the memory there is that stacks may take."""

REMEMBERED = {
    "SGD": 1,
    "RMSprop": 2,
    "Adam": 2,
    "AdamW": 2,
    "Adagrad": 1,
    "Adadelta": 2,
    "Adamax": 2,
    "RAdam": 2,
    "NAdam": 2,
    "ASGD": 1,
    "Rprop": 2,
    "Adafactor": 1,
    "Muon": 1,
}
"""Numbers that an optimizer remembers for each weight."""

SCRATCH = 2
"""Numbers for each weight that the update of a stack computes with (`optimizers.vectorised.Scratch`)."""

PASSING = 4
"""Numbers for each weight that live for a part of a step: gradients as they come, what an update computes, copies of
both while ways to compute or a tape are tried out."""


UNUSED = 1.2
"""What an allocator holds for each byte that is used at the peak."""


def member_bytes(state: State, batch_size: int) -> int:
    """The peak of what one more member of a stack takes, from its model on a batch: a model of memory, not a measure.

    Weights, gradients, what the optimizer remembers and computes with; what a forward pass keeps for the backward pass;
    the larger of a step's passing numbers and an evaluation's.
    """
    rest = [t for t in (*state.model.parameters(), *state.model.buffers()) if not t.requires_grad]
    kept, largest = _activations(state, batch_size)
    evaluated = _evaluation(state, largest / batch_size)
    weights, lasting = _weights(state), _lasting(state) + sum(t.nbytes for t in rest) + 8 * len(state.data.train)
    return int(UNUSED * (lasting + max(weights * PASSING + kept, evaluated)))


def members_that_fit(state: State, batch_size: int, processes: int) -> int:
    """How many members like this one can be a stack in each of so many processes; at least one."""
    room = SHARE * available(state.device) / processes
    fit, near = int(room / member_bytes(state, batch_size)), CACHED // _lasting(state)
    return max(1, min(fit, MOST_ON_A_GPU if state.device.type == "cuda" else min(MOST, max(LEAST, near))))


def _weights(state: State) -> int:
    """Bytes of the trained weights, as they lie in a stack."""
    trained = [p for p in state.model.parameters() if p.requires_grad]
    return Packing([p.shape for p in trained], trained[0].dtype).length * trained[0].element_size()


def _lasting(state: State) -> int:
    """Bytes of the numbers that every step reads or writes: weights, gradients, what an update remembers and needs."""
    remembered = max(REMEMBERED.get(type(o).__name__, 3) for o in state.optimizer.optimizers)
    return _weights(state) * (2 + remembered + SCRATCH)


def available(device: torch.device) -> int:
    """Bytes that are free: of the device, or of the machine, or of what this process may have of it."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limit, used = _lines("/sys/fs/cgroup/memory.max"), _lines("/sys/fs/cgroup/memory.current")
    if limit and used and limit[0].isdigit():
        free = min(free, int(limit[0]) - int(used[0]))
    return max(free, 0)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _activations(state: State, batch_size: int) -> tuple[int, int]:
    """Bytes that a batch's forward pass keeps, inputs and outputs included, and those of its largest tensor."""
    part = state.data.train
    assert isinstance(part, Examples)
    inputs, targets = state.place(part.inputs[:batch_size]), state.place(part.targets[:batch_size])
    kept: dict[int, int] = {inputs.data_ptr(): inputs.nbytes, targets.data_ptr(): targets.nbytes}
    own = {tensor.data_ptr() for tensor in state.model.state_dict().values()}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = max(kept.get(tensor.data_ptr(), 0), tensor.nbytes)
        return tensor

    model = _copied(state.model)
    devices = [state.device] if state.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model(inputs)
        loss = state.criterion(outputs, state.loss_targets(targets))
    kept[outputs.data_ptr()] = outputs.nbytes
    del loss
    return 2 * sum(kept.values()), max(kept.values())


def _copied(model: nn.Module) -> nn.Module:
    """One whose statistics may change."""
    memo: dict[int, Any] = {id(p): p for p in model.parameters()}
    return copy.deepcopy(model, memo).train()


def _evaluation(state: State, largest_of_a_row: float) -> float:
    """Bytes at the peak of an evaluation: three tensors of a slice, one of them while a way is tried, and the
    outputs for the whole part."""
    rows, data = len(state.data.val), state.data
    places = math.prod(data.input_shape) if data.task == "language_model" else 1
    return 3 * min(rows, SLICE) * largest_of_a_row + 2 * rows * places * data.num_outputs * state.place.dtype.itemsize
