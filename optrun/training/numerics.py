"""Process-wide settings that decide bits and speed: CPU threads, deterministic algorithms."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from optrun.training.compiler import set_deterministic

__all__ = ["SHARED_FLOPS", "numerics", "resolve_device", "threads_for"]

SHARED_FLOPS = 50_000_000
"""Floating-point operations in the forward pass of one micro-batch from which a step is shared among CPU threads.
Below it the threads cost more than they save (measured: a digits MLP, 2 million, is 1.2 times slower on two threads; a
small CNN, 250 million, takes 0.68 of the time)."""


@contextlib.contextmanager
def numerics(*, threads: int, deterministic: bool, tf32: bool = False) -> Iterator[None]:
    """Run with `threads` CPU threads and, if asked for, deterministic algorithms only, and tf32 products on a GPU;
    restore all of it afterwards."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark)
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.set_num_threads(threads)
    set_deterministic(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time, changes no result
    torch.backends.cudnn.benchmark = False
    try:
        # Invariants: torch's default; unsaid, its optimizers warn.
        with torch.sparse.check_sparse_tensor_invariants(enable=False), _tf32(tf32):
            yield
    finally:
        torch.set_num_threads(before[0])
        set_deterministic(before[1])
        torch.backends.cudnn.benchmark = before[2]
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]


@contextlib.contextmanager
def _tf32(wanted: bool) -> Iterator[None]:
    """With products in tf32 if wanted; else as torch has them (by default only convolutions are, by cuDNN)."""
    if not wanted:
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def resolve_device(name: str) -> torch.device:
    """The device a config's `device` stands for; auto is the first CUDA device, else MPS, else the CPU.

    Raises ValueError when this machine has no such device.
    """
    if name == "auto":
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(found)
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        have = torch.cuda.device_count()
        raise ValueError(f"there is no {name} here ({have} CUDA devices are visible); use auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("there is no MPS device here; use auto or cpu")
    return device


def threads_for(model: nn.Module, example: Tensor, batch_size: int) -> int:
    """CPU threads for steps on `batch_size` examples, by the work in a forward pass and nothing measured.

    The work is counted on one `example` (a batch of one) in evaluation mode, which draws no random
    numbers and changes no buffer.
    """
    was_training = model.training
    model.eval()
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            model(example)
    finally:
        model.train(was_training)
    shared = counter.get_total_flops() * batch_size >= SHARED_FLOPS
    return physical_cores() if shared else 1


def physical_cores() -> int:
    """What torch itself takes for its thread pool: the physical cores this process may use."""
    return _POOL


_POOL = torch.get_num_threads()
