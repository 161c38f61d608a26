"""Models for `--import`: one that, at a step of its own choice, sends its run a signal, a real one at a known place;
and one with a weight in two places."""

from __future__ import annotations

import os
import signal
from pathlib import Path

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
        if self.passes == self.at and "LISTENERS" in os.environ and os.environ["RANK"] == "0":
            Path(os.environ["LISTENERS"]).write_text("\n".join(listeners(os.getpid()) + listeners(os.getppid())))
        return self.layers(inputs)


def listeners(process: int) -> list[str]:
    """The addresses, as the kernel writes them in hex, at which a process waits for others to connect."""
    files = [os.readlink(each) for each in Path(f"/proc/{process}/fd").iterdir() if each.is_symlink()]
    lines = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()]
    return [line[1].partition(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in files]


class Tied(nn.Module):
    """Two of its layers have one weight."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(inputs, 16), nn.Linear(16, outputs)
        self.inner, self.again = nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)
        self.again.weight = self.inner.weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last(self.again(torch.relu(self.inner(self.first(inputs.flatten(1))))))


@optrun.models.register
def tied(data) -> nn.Module:
    """Has a weight in two places."""
    return Tied(torch.Size(data.input_shape).numel(), data.num_outputs)


@optrun.models.register
def mortal(data, *, at: int = 30, rank: int = 1, what: str = "SIGKILL") -> nn.Module:
    """Ends, or has its run end, in its pass number `at`, in the process `rank`. That of `building` is never built."""
    if what == "building" and os.environ["RANK"] == str(rank):
        raise ValueError("no room")
    return Mortal(torch.Size(data.input_shape).numel(), data.num_outputs, at, rank, what)
