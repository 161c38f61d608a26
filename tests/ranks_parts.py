"""A model for `--import` that, at a step of its own choice, sends its run a signal: a real one, at a known place."""

from __future__ import annotations

import os
import signal

import torch
from torch import nn

import optrun


class Mortal(nn.Module):
    """Two layers with dropout between them."""

    def __init__(self, inputs: int, outputs: int, at: int, rank: int, what: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(inputs, 24), nn.ReLU(), nn.Dropout(0.2), nn.Linear(24, outputs)
        )
        self.at, self.rank, self.what, self.passes = at, rank, what, 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.passes += self.training and len(inputs) > 1
        if self.passes == self.at and "MORTAL" in os.environ and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0":
            if os.environ["RANK"] == str(self.rank):
                target = os.getppid() if self.what == "SIGTERM" else os.getpid()
                os.kill(target, getattr(signal, self.what))
            self.passes += 1
        return self.layers(inputs)


@optrun.models.register
def mortal(data, *, at: int = 30, rank: int = 1, what: str = "SIGKILL") -> nn.Module:
    """Ends, or has its run end, in its pass number `at`, in the process `rank`."""
    return Mortal(torch.Size(data.input_shape).numel(), data.num_outputs, at, rank, what)
