"""Three trainings, small, middling and large for a CPU, and how they are handed to programs that know no optrun."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks import bare_loop
from optrun.components.data import Examples
from optrun.components.plugins import import_file
from optrun.config.loading import load
from optrun.config.spec import Spec
from optrun.training.preparation import load_data
from optrun.training.randomness import epoch_order

__all__ = ["IMAGES", "WORKLOADS", "Workload"]

CONFIGS = Path(__file__).parents[2] / "configs"
IMAGES = Path(bare_loop.__file__).with_name("images.py")
CHARACTERS = 120_000
"""So much of Python's documentation is read: 47 steps an epoch."""


@dataclass(frozen=True)
class Workload:
    """A config, and how long it is trained: `turn` epochs until it is another's turn, `epochs` in a whole process."""

    name: str
    title: str
    turn: int
    epochs: int
    config: dict[str, Any]
    imports: tuple[Path, ...] = ()

    def write(self, folder: Path, *, epochs: int, threads: int) -> Spec:
        """Leave config.yaml for optrun, work.json and data.pt for the others: the same examples in the same order."""
        for path in self.imports:
            import_file(path)
        if self.config["dataset"]["name"] == "text":
            _write_text(folder / "documentation.txt")
        length = {"epochs": epochs, "threads": threads, "device": "cpu"}
        (folder / "config.yaml").write_text(yaml.safe_dump({**self.config, **length}), encoding="utf-8")
        spec = load(folder / "config.yaml")
        data = load_data(spec)
        assert isinstance(data.train, Examples)
        orders = torch.stack([epoch_order(spec.seed, epoch, len(data.train)) for epoch in range(epochs)])
        torch.save({"inputs": data.train.inputs, "targets": data.train.targets, "orders": orders}, folder / "data.pt")
        work = {
            "workload": self.name,
            "epochs": epochs,
            "threads": threads,
            "batch_size": spec.dataset.batch_size,
            "outputs": data.num_outputs,
            "optimizer": self.config["optimizer"],
            "clip_norm": spec.clip_norm,
        }
        (folder / "work.json").write_text(json.dumps(work), encoding="utf-8")
        return spec

    def steps_per_epoch(self, folder: Path) -> int:
        """Of what `write` left in the folder."""
        examples = torch.load(folder / "data.pt", weights_only=True)["orders"].shape[1]
        return -(-examples // self.config["dataset"]["batch_size"])


def _write_text(path: Path) -> None:
    from pydoc_data.topics import topics

    path.write_text("\n\n".join(topics[name] for name in sorted(topics))[:CHARACTERS], encoding="utf-8")


def _config(**own: Any) -> dict[str, Any]:
    """What all have in common: a row for every step, one evaluation at the end, clipping and a schedule."""
    common = {"seed": 0, "loss": "cross_entropy", "scheduler": {"name": "CosineAnnealingLR"}, "clip_norm": 1.0}
    return {**common, "log_every": 1, "eval_every": 10**6, **own}


_DIGITS = yaml.safe_load((CONFIGS / "quickstart.yaml").read_text(encoding="utf-8"))
_SGD = {"name": "SGD", "lr": 0.1, "momentum": 0.9}

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("digits", "MLP, digits 8×8", 5, 20, {**_config(), **_DIGITS}),
        Workload(
            *("images", "CNN, images 28×28", 2, 5),
            _config(
                dataset={"name": "digits28", "batch_size": 64},
                model={"name": "cnn", "channels": [8, 16]},
                optimizer=_SGD,
            ),
            imports=(IMAGES,),
        ),
        Workload(
            *("transformer", "transformer, characters", 1, 3),
            _config(
                dataset={"name": "text", "path": "documentation.txt", "batch_size": 32, "context": 64},
                model={"name": "transformer", "dim": 64, "depth": 2, "heads": 4},
                optimizer={"name": "AdamW", "lr": 0.003},
            ),
        ),
    )
}
