"""Everything that fuses with everything, against runs alone: hours of what test_fused.py samples.

    python tests/fused_matrix.py [--models cnn mlp …] [--precisions fp32 fp64]

For each model and number format, every setting of every optimizer with every scheduler and every kind of clipping is a
member of some stack. Prints a line for each model; the exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from stacking import differences
from test_fused import CLIPS, CYCLING, MLP, MODELS, POSSIBLE, SCHEDULED

from optrun.errors import ConfigError
from optrun.fused.tensor import CannotFuse

SIZES = (64, 7, 2, 1)
"""Members of a stack, in turn."""

WITHOUT_MOMENTUM = {"Adagrad", "Adadelta", "ASGD", "Rprop", "Adafactor", "Muon"}
"""Optimizers that CyclicLR and OneCycleLR do not go with as they are set here."""


def members(model: str) -> Iterator[dict[str, Any]]:
    """What the members change in the config, optimizers of a class side by side."""
    number = itertools.count()
    for optimizer, scheduler, clip in itertools.product(POSSIBLE, SCHEDULED, CLIPS):
        cycles = scheduler and ("schedulers" in scheduler or scheduler["name"] in CYCLING)
        if cycles and (optimizer["name"] in WITHOUT_MOMENTUM or not _has_momentum(optimizer)):
            continue
        if optimizer["name"] == "Muon" and ("linear" in model or "of one" in model):
            continue
        yield {"optimizer": optimizer, "scheduler": scheduler, "seed": next(number) % 3, **clip}


def _has_momentum(optimizer: dict[str, Any]) -> bool:
    return optimizer["name"] != "RMSprop" or bool(optimizer.get("momentum"))


def stacks(model: str) -> Iterator[list[dict[str, Any]]]:
    upcoming = members(model)
    for size in itertools.cycle(SIZES):
        stack = list(itertools.islice(upcoming, size))
        if not stack:
            return
        yield stack


def tried(model: str, precision: str) -> tuple[int, list[str]]:
    """How many members were compared, and what differs."""
    text = "transformer" in model or model == "embedding_bag"
    length = {} if text else {"epochs": None, "steps": 10}
    config = {**MLP, **MODELS[model], **length, "precision": precision, "accumulate": 1}
    count, found = 0, []
    for changes in stacks(model):
        try:
            found += differences(config, changes)
            count += len(changes)
        except (CannotFuse, ConfigError) as refused:
            found.append(f"{refused} ({changes[0]} … {changes[-1]})")
    return count, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "fp64"], default=["fp32", "fp64"])
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    differing = 0
    for model, precision in itertools.product(chosen.models, chosen.precisions):
        count, found = tried(model, precision)
        differing += len(found)
        print(f"{model:28}{precision}  {count:5} members, {len(found)} differences", flush=True)
        for each in found[:5]:
            print(f"    {each}")
    return bool(differing)


if __name__ == "__main__":
    sys.exit(main())
