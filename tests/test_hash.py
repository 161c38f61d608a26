"""config_hash: one trial has one hash, however it is spelled; another trial has another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optrun.config.loading import load

QUICKSTART = Path(__file__).parent.parent / "configs" / "quickstart.yaml"

COSINE = {"scheduler": "CosineAnnealingLR"}
PLATEAU = {"scheduler": "ReduceLROnPlateau"}
EARLY = {"early_stop": {"metric": "val/loss", "patience": 3}}


def hash_of(changes: dict[str, Any]) -> str:
    return load(QUICKSTART, changes).config_hash()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "dampening": 0, "nesterov": False}}),
        ({}, {"loss": {"name": "CROSS_ENTROPY", "label_smoothing": 0}}),
        ({}, {"clip_norm": 1}),
        ({}, {"accumulate": 1, "clip_value": None, "eval_every": 1}),
        ({}, {"dataset.val_fraction": 0.2}),
        ({}, {"dataset.split_seed": 0}),
        (COSINE, {"scheduler": {"name": "CosineAnnealingLR", "interval": "epoch"}}),
        (COSINE, {"scheduler": {"name": "cosineannealinglr", "T_max": "run", "eta_min": 0}}),
        (PLATEAU, {"scheduler": {"name": "ReduceLROnPlateau", "metric": "val/loss", "mode": "min"}}),
        (EARLY, {"early_stop": {"metric": "val/loss", "patience": 3, "mode": "min", "min_delta": 0}}),
    ],
    ids=str,
)
def test_two_spellings_of_one_trial(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert hash_of(one) == hash_of(other)


@pytest.mark.parametrize(
    "outside",
    [
        {"name": "other"},
        {"notes": "why", "tags": ["a"]},
        {"device": "cpu"},
        {"log_every": 1},
        {"checkpoint_every": {"steps": 3}},
        {"keep_checkpoints": "last"},
    ],
    ids=str,
)
def test_what_only_names_or_watches_a_run_is_left_out(outside: dict[str, Any]) -> None:
    assert hash_of({}) == hash_of(outside)


def test_every_difference_that_counts_makes_another_trial() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"epochs": 21},
        {"steps": 460},
        {"optimizer.lr": 0.2},
        {"optimizer.momentum": 0},
        {"optimizer": "Adam"},
        {"clip_norm": None},
        {"clip_norm": float("inf")},
        {"scheduler": None},
        {"scheduler": {"name": "CosineAnnealingLR", "T_max": 20}},
        {"scheduler": {"name": "CosineAnnealingLR", "interval": "step"}},
        {"dataset.batch_size": 32},
        {"dataset.val_fraction": 0.25},
        {"dataset.split_seed": 1},
        {"model.dropout": 0.2},
        {"metrics": ["accuracy", "f1"]},
        {"threads": 2},
        {"precision": "fp64"},
        EARLY,
    ]
    assert len({hash_of(change) for change in changes}) == len(changes)
