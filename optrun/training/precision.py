"""Number formats: fp32 and fp64 as the type of everything, bf16 and fp16 by autocast, fp16 with loss scaling; tf32 is
fp32 with `torch.set_float32_matmul_precision("high")` (`numerics`).

Source: torch.amp; Micikevicius et al. 2018, "Mixed Precision Training".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler

__all__ = ["Placement", "autocast", "dtype_of", "loss_scaler", "sent"]

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Placement:
    """Where a run's tensors live, the type of those that hold floating-point numbers, and how images lie there."""

    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format = torch.contiguous_format

    def __call__(self, tensor: Tensor) -> Tensor:
        """The tensor there; one in pinned memory is copied without waiting."""
        dtype = self.dtype if tensor.is_floating_point() else tensor.dtype
        placed = tensor.to(self.device, dtype, non_blocking=tensor.is_pinned())
        if self.memory_format == torch.contiguous_format or placed.dim() != 4:
            return placed
        return placed.contiguous(memory_format=self.memory_format)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU's tensor on the device: to CUDA through pinned memory, without waiting."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def dtype_of(precision: str) -> torch.dtype:
    """The type of parameters and floating-point data."""
    return torch.float64 if precision == "fp64" else torch.float32


def autocast(precision: str, device: torch.device) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """What to enter around every forward pass; for full precision, a context that does nothing."""
    if precision not in _AUTOCAST:
        nothing = contextlib.nullcontext()
        return lambda: nothing
    return lambda: torch.autocast(device.type, dtype=_AUTOCAST[precision])


def loss_scaler(precision: str, device: torch.device) -> GradScaler | None:
    """fp16's gradients underflow unless the loss is scaled up; the other formats need nothing."""
    return GradScaler(device.type) if precision == "fp16" else None
