"""A stack takes the memory that `fused/memory.py` says, and stacks of very many members work."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from experiments import DIGITS_MLP
from stacking import differences, members_of, specs

from optrun.fused.batches import served
from optrun.fused.evaluation import evaluate
from optrun.fused.loop import train_step
from optrun.fused.memory import member_bytes
from optrun.fused.stack import Stack
from optrun.training.numerics import numerics
from optrun.training.preparation import load_data

CONFIGS: dict[str, dict[str, Any]] = {
    "wide mlp": {**DIGITS_MLP, "steps": 30, "model": {"name": "mlp", "hidden": [512, 512], "batch_norm": True}},
    "cnn": {**DIGITS_MLP, "steps": 30, "model": {"name": "cnn", "channels": [16, 32]}},
}
FEW, MANY = 8, 40


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("name", CONFIGS)
def test_memory_is_as_predicted(name: str) -> None:
    """The peak of many members over that of few, of processes of their own."""
    peaks = []
    for count in (FEW, MANY):
        command = [sys.executable, __file__, name, str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
        peaks.append([int(number) for number in done.stdout.split()])
    (few, predicted), (many, _) = peaks
    assert 0.4 < (many - few) / ((MANY - FEW) * predicted) < 1.35


def peak(name: str, count: int) -> tuple[int, int]:
    """Bytes that this process has had at most, after some steps and an evaluation of a stack; and what is predicted for
    a member."""
    runs = specs(CONFIGS[name], [{"optimizer": {"name": "Adam", "lr": 0.001 * (1 + i)}} for i in range(count)])
    members = members_of(runs, load_data(runs[0]))
    predicted = member_bytes(members[0].state, members[0].batches.batch_size)
    with numerics(threads=1, deterministic=True):
        stack = Stack(members)
        upcoming = served([m.batches for m in members], [0] * count, 0)
        for _ in range(8):
            train_step(stack, next(upcoming))
            stack.standing.gather()
        evaluate(stack, list(range(count)), members[0].state.data.val, "val")
    status = Path("/proc/self/status").read_text()  # getrusage would tell of the process that started this one
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024, predicted  # type: ignore[index]


def test_a_thousand_members_are_one_stack() -> None:
    config = {
        **DIGITS_MLP,
        "epochs": None,
        "steps": 5,
        "dataset": {"name": "moons", "batch_size": 32, "n": 100},
        "model": {"name": "mlp", "hidden": [4]},
    }
    names = ("SGD", "Adam", "RMSprop", "Adagrad")
    changes = [
        {"optimizer": {"name": names[i // 256], "lr": 0.0001 * (1 + i)}, "seed": i % 4, "clip_norm": [None, 1.0][i % 2]}
        for i in range(1024)
    ]
    assert differences(config, changes) == []


if __name__ == "__main__":
    print(*peak(sys.argv[1], int(sys.argv[2])))
