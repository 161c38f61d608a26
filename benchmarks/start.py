"""How long optrun takes to start: commands as whole processes, beside Python importing what they cannot do without."""

from __future__ import annotations

import functools
import random
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import Patience, Times, environment, timed
from benchmarks.ratios import paired, spread, words

__all__ = ["measure", "table"]

ROOT = Path(__file__).parent.parent
SCREEN = "import typer, rich"
STEP = "import torch and a bare step"
PROGRAMS = {
    SCREEN: "import typer, rich",
    STEP: """\
import torch
from torch import nn
torch.set_num_threads(1)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1)
optimizer.zero_grad()
loss = nn.functional.cross_entropy(net(torch.rand(64, 64)), torch.randint(10, (64,)))
loss.backward()
nn.utils.clip_grad_norm_(net.parameters(), 1.0)
optimizer.step()
scheduler.step()
""",
}
TRAIN = "train {config} device=cpu threads=1 --quiet --run-dir {folder}/runs"


@dataclass(frozen=True)
class Command:
    """What is timed, the program it is set beside, and the exit code it ends with."""

    words: str
    beside: str
    status: int = 0


COMMANDS = {
    "optrun --help": Command("--help", SCREEN),
    "optrun list": Command("list --runs-dir {folder}/runs", SCREEN),
    "optrun check, with an error": Command("check {config} optimizer.momentun=0.9", SCREEN, 2),
    "optrun compare": Command("compare --runs-dir {folder}/runs", SCREEN),
    "optrun train, 1 step": Command(TRAIN + "/new steps=1", STEP),
}


def measure(rounds: int, patience: float, names: Sequence[str] = (*PROGRAMS, *COMMANDS)) -> dict[str, Any]:
    """Seconds and ratios over so many rounds, after one that is not counted; of all there is to time, or of some."""
    spare = Patience(patience)
    taken: dict[str, list[Times]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        for lr in (0.05, 0.1) if {"optrun list", "optrun compare"} & set(names) else ():
            _run(Command(f"{TRAIN}/{lr} epochs=1 optimizer.lr={lr}", STEP), folder)
        for number in range(rounds + 1):
            for name in random.Random(number).sample(list(names), len(names)):
                times = spare.calmest(functools.partial(_run, COMMANDS.get(name) or PROGRAMS[name], folder))
                if number:
                    taken[name].append(times)
    wall = {name: [times.wall for times in its] for name, its in taken.items()}
    cpu = {name: [times.cpu for times in its] for name, its in taken.items()}
    return {
        "others_share": max(times.others for its in taken.values() for times in its),
        "wall_seconds": {name: spread(values) for name, values in wall.items()},
        "cpu_seconds": {name: spread(values) for name, values in cpu.items()},
        "commands": {
            name: {
                "beside": command.beside,
                "wall_ratio": paired(wall[name], wall[command.beside]),
                "cpu_ratio": paired(cpu[name], cpu[command.beside]),
            }
            for name, command in COMMANDS.items()
            if name in names
        },
    }


def _run(what: Command | str, folder: Path) -> Times:
    """What a command, or a program of Python's, takes as a process of its own."""
    shutil.rmtree(folder / "runs" / "new", ignore_errors=True)
    status, words = 0, ["-c", what] if isinstance(what, str) else []
    if isinstance(what, Command):
        given = what.words.format(folder=folder, config=ROOT / "configs" / "quickstart.yaml")
        status, words = what.status, ["-m", "optrun", *given.split()]
    return timed([sys.executable, *words], environment(1), folder / "output.txt", status)


def table(figures: Mapping[str, Any]) -> str:
    """The figures as a Markdown table: medians, with quartiles in brackets."""
    lines = ["| | time | CPU | beside | time, to its | CPU, to its |", "|---|---|---|---|---|---|"]
    for name in figures["wall_seconds"]:
        seconds = [f"{figures[kind][name]['median']:.2f} s" for kind in ("wall_seconds", "cpu_seconds")]
        command = figures["commands"].get(name)
        beside = (
            [command["beside"], words(command["wall_ratio"]), words(command["cpu_ratio"])] if command else ["", "", ""]
        )
        lines.append(f"| {' | '.join([name, *seconds, *beside])} |")
    return "\n".join(lines)
