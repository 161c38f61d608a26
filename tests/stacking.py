"""Runs trained as one and each alone, and whether they are the same: every row, and all that a checkpoint holds."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from experiments import write_config

from optrun.components.data import Data
from optrun.config.loading import load
from optrun.config.spec import Spec
from optrun.errors import Diverged
from optrun.fused.loop import Told, fit
from optrun.fused.member import Member
from optrun.fused.stack import Stack
from optrun.training.loop import fit as fit_alone
from optrun.training.numerics import numerics
from optrun.training.preparation import load_data, prepare_run
from optrun.training.randomness import generator_states

Said = tuple[list[Any], dict[str, Any] | None]
"""What a run told, and what its checkpoint would hold at its end; None for a run that diverged."""


def specs(config: Mapping[str, Any], changes: Sequence[Mapping[str, Any]]) -> list[Spec]:
    """The config with each of the changes, as overrides."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_config(Path(folder, "config.yaml"), config)
        return [load(path, change) for change in changes]


def alone(spec: Spec, data: Data) -> Said:
    """The run by the loop of `optrun train`."""
    spec, state, batches = prepare_run(spec, data)
    told: list[Any] = []
    with numerics(threads=1, deterministic=True):
        try:
            for event in fit_alone(state, batches, spec):
                told += _rows(event)
        except Diverged as diverged:
            return [*told, *_rows(diverged)], None
    state.settle()
    return told, copy.deepcopy(state.state_dict())


def members_of(runs: Sequence[Spec], data: Data) -> list[Member]:
    found = []
    for spec in runs:
        prepared = prepare_run(spec, data, apart=True)
        found.append(Member(*prepared, generator_states()))
    return found


def as_one(runs: Sequence[Spec], data: Data, kept: float = 0.0) -> list[Said]:
    """All of them as a stack, which is built anew whenever at most the share `kept` of it is left."""
    members = members_of(runs, data)
    told: dict[Member, list[Any]] = {member: [] for member in members}
    ends: dict[Member, dict[str, Any] | None] = dict.fromkeys(members)
    with numerics(threads=1, deterministic=True):
        left = list(members)
        while left:
            stack = Stack(left)
            left = []
            for events in fit(stack):
                _hear(stack, events, told, ends)
                if 0 < len(stack.present) <= kept * len(stack.members):
                    left = stack.release()
                    break
    return [(told[member], ends[member]) for member in members]


def _hear(stack: Stack, events: Told, told: dict[Member, list[Any]], ends: dict[Member, Any]) -> None:
    for row, event in events:
        member = stack.members[row]
        if event is None:
            ends[member] = copy.deepcopy(member.state.state_dict())
        else:
            told[member] += _rows(event)


def _rows(event: Any) -> list[Any]:
    if isinstance(event, Diverged):
        return [("diverged", event.step, repr(event.loss), event.epoch, event.lr)]
    return [{key: value for key, value in event.row.items() if key != "time"}] if event.row else []


def differences(config: Mapping[str, Any], changes: Sequence[Mapping[str, Any]], kept: float = 0.0) -> list[str]:
    """What differs between the runs as one and each alone, in words."""
    runs = specs(config, changes)
    data = load_data(runs[0])
    wanted = [alone(spec, data) for spec in runs]
    found = as_one(runs, data, kept)
    return [
        f"{change}: {words}" for change, one, other in zip(changes, wanted, found) for words in _different(one, other)
    ]


def _different(wanted: Said, found: Said) -> Iterator[str]:
    for row, other in zip(wanted[0], found[0]):
        if repr(row) != repr(other):
            yield f"{other} instead of {row}"
            return
    if len(wanted[0]) != len(found[0]):
        yield f"{len(found[0])} rows instead of {len(wanted[0])}"
    leaves, others = dict(_leaves(wanted[1])), dict(_leaves(found[1]))
    for path in {**leaves, **others}:
        if path != ("time",) and not _is_same(leaves.get(path), others.get(path)):
            yield ".".join(map(str, path))


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value


def _is_same(one: Any, other: Any) -> bool:
    """Bit for bit: a NaN is a NaN, and -0.0 is not 0.0."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()
    return repr(one) == repr(other)
