"""The spec: one run as its configuration says it, checked, complete and unchangeable."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from optrun.components.choice import VAL_FRACTION, Choice, DatasetChoice, OptimizerChoice, SchedulerChoice
from optrun.components.registry import KINDS
from optrun.components.schedulers import HORIZONS, interval_of
from optrun.config.document import Document, dotted
from optrun.errors import Problem

__all__ = ["OUTSIDE_THE_HASH", "Count", "EarlyStop", "Name", "Spec", "Steps", "Target"]

Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Positive = Annotated[float, Field(gt=0)]

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)

OUTSIDE_THE_HASH = {
    *("name", "notes", "tags", "device", "distributed"),
    *("log_every", "checkpoint_every", "keep_checkpoints"),
}
"""Keys that change what a run is called or how it is watched, not what it computes."""


class Steps(BaseModel):
    """An interval counted in optimizer steps."""

    model_config = _STRICT

    steps: Count
    """Optimizer steps from one time to the next."""


class EarlyStop(BaseModel):
    """Stop when the metric has not improved for `patience` evaluations."""

    model_config = _STRICT

    metric: str = "val/loss"
    """A key of metrics.jsonl, such as val/loss or val/accuracy."""
    mode: Literal["min", "max"] | None = None
    """Which way is better; by default the metric's own."""
    patience: Count
    """Evaluations without improvement before the run stops."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Smaller changes than this do not count as improvement."""


class Target(BaseModel):
    """Record when the metric first reaches the value (time to target)."""

    model_config = _STRICT

    metric: str
    """A key of metrics.jsonl, such as val/accuracy."""
    value: float
    """What it must reach, or pass in its own direction."""


class Spec(BaseModel):
    """One training run."""

    model_config = _STRICT

    name: Name
    """What the run is called; by default the file's stem."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Init, data order, dropout: everything random derives from it."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$")] = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    precision: Literal["fp32", "fp64", "tf32", "bf16", "fp16"] = "fp32"
    """bf16 and fp16 by autocast, fp16 with loss scaling; tf32: fp32 with rounded products, on NVIDIA's GPUs."""
    epochs: Count | None = None
    """Passes over the training part; give this or steps."""
    steps: Count | None = None
    """Optimizer steps; give this or epochs."""
    dataset: DatasetChoice
    """What to train on, and batch_size, the examples in a micro-batch."""
    model: Choice
    """What is trained: one of optrun's models or of torchvision's, by its name."""
    loss: Choice
    """A criterion of torch.nn by its snake_case name: cross_entropy, mse, …"""
    metrics: tuple[Choice, ...] = ()
    """Computed at every evaluation, exactly over the whole part; the first one decides which evaluation is best."""
    optimizer: OptimizerChoice
    """A class of torch.optim, with its own settings and defaults; param_groups gives some parameters other values."""
    scheduler: SchedulerChoice | None = None
    """A class of torch.optim.lr_scheduler, stepped at its natural time; null leaves the learning rate as it is."""
    clip_norm: Positive | None = None
    """Clip the total gradient norm to this; .inf measures it and clips nothing; null does neither."""
    clip_value: Positive | None = None
    """Clip each gradient element to ± this."""
    accumulate: Count = 1
    """Micro-batches whose gradients make one optimizer step."""
    log_every: Count = 10
    """Optimizer steps between two training rows."""
    eval_every: Count | Steps = 1
    """Epochs between two evaluations, or {steps: N}."""
    checkpoint_every: Literal["auto"] | Count | Steps = "auto"
    """Epochs between two checkpoints, {steps: N}, or auto: every 30 seconds of training."""
    early_stop: EarlyStop | None = None
    """Stop when a metric no longer improves."""
    target: Target | None = None
    """Record when a metric first reaches a value."""
    threads: Literal["auto"] | Count = "auto"
    """CPU threads; auto is one for a step too small to share, else the physical cores."""
    keep_checkpoints: Literal["all", "last", "none"] = "all"
    """all: the last two and the best; last: the last one; none: nothing before the end."""
    compile: bool | Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = False
    """Use torch.compile, in one of its modes (reduce-overhead: CUDA graphs); results may differ in the last bits."""
    memory_format: Literal["contiguous_format", "channels_last"] = "contiguous_format"
    """How images and the weights of convolutions lie in memory; results may differ in the last bits."""
    distributed: Literal["ddp", "fsdp"] = "ddp"
    """How several processes share the model: ddp: each has all of it; fsdp: each has a part of every weight."""
    sync_batch_norm: bool = False
    """BatchNorm of several processes takes its statistics from the whole batch; on GPUs only."""
    deterministic: bool = True
    """Refuse operations that could give other bits next time."""
    notes: str = ""
    """Anything worth remembering; it changes nothing."""
    tags: tuple[str, ...] = ()
    """Words to find the run by."""

    _document: Document | None = PrivateAttr(None)
    _folder: Path = PrivateAttr(Path())
    _objective: tuple[str, Literal["min", "max"]] | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _one_length(self) -> Spec:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of epochs and steps")
        return self

    @property
    def folder(self) -> Path:
        """The directory of the file this spec was read from."""
        return self._folder

    @property
    def watched(self) -> tuple[str, Literal["min", "max"]]:
        """The metric that says which evaluation is best, and its direction: a sweep's objective, else the first of
        `metrics`, else the loss."""
        if self._objective:
            return self._objective
        key = f"val/{self.metrics[0].name}" if self.metrics else "val/loss"
        return key, self.mode_of(key)

    @property
    def judges(self) -> list[str]:
        """The keys of metrics.jsonl that can say which evaluation is best: those of the validation part."""
        return list(dict.fromkeys(["val/loss", *(f"val/{metric.name}" for metric in self.metrics)]))

    def judged_by(self, metric: str, mode: Literal["min", "max"]) -> Spec:
        """This spec as a trial of a sweep whose objective is `metric`, a key of metrics.jsonl."""
        trial = self.model_copy()
        trial._objective = (metric, mode)
        return trial

    @property
    def objective(self) -> dict[str, str] | None:
        """The sweep's objective that `judged_by` set, as {metric, mode}."""
        return {"metric": self._objective[0], "mode": self._objective[1]} if self._objective else None

    def mode_of(self, key: str) -> Literal["min", "max"]:
        """The direction of a key of metrics.jsonl: the metric's own; a loss is better when smaller."""
        name = key.partition("/")[2]
        return "min" if name == "loss" else metric_mode(name)

    def resolved(self) -> dict[str, Any]:
        """Every key with its value, as plain data: what config.yaml holds and `optrun train` of it repeats."""
        length = "steps" if self.epochs is not None else "epochs"
        return {key: _plain(getattr(self, key)) for key in Spec.model_fields if key != length}

    def config_hash(self) -> str:
        """SHA-256 (hex) of what this run computes: two configs that mean the same have the same hash."""
        given = {key: value for key, value in self.resolved().items() if key not in OUTSIDE_THE_HASH}
        if self.early_stop:
            given["early_stop"]["mode"] = self.early_stop.mode or self.mode_of(self.early_stop.metric)
        changed = {key: value for key, value in given.items() if value != Spec.model_fields[key].default}
        choices = {key: getattr(self, key) for key in changed if key in _KINDS_OF}
        essence = {key: _essential(_KINDS_OF.get(key, ""), value) for key, value in (changed | choices).items()}
        text = json.dumps(essence, sort_keys=True, separators=(",", ":"), default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def problem(self, path: Sequence[str | int], message: str) -> Problem:
        """A problem at `path`, with its place in the file this spec was read from."""
        key = dotted(tuple(path))
        if self._document is None:
            return Problem("config", 0, 0, key, message)
        return Problem(*self._document.place(tuple(path)), key, message)


def _plain(value: Any) -> Any:
    """A field as a config would write it: a component without settings is its name. (Not by pydantic's serializers,
    within which a Ctrl-C becomes an error of theirs.)"""
    if isinstance(value, Choice):
        written = value.as_config()
        return value.name if written == {"name": value.name} else written
    if isinstance(value, BaseModel):
        return value.model_dump()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def metric_mode(name: str) -> Literal["min", "max"]:
    """The direction a registered metric declares; a metric that declares none is better when larger."""
    return getattr(KINDS["metrics"].find(name).load(), "mode", "max")


_KINDS_OF = {
    "dataset": "datasets",
    "model": "models",
    "loss": "losses",
    "metrics": "metrics",
    "optimizer": "optimizers",
    "fallback": "optimizers",
    "scheduler": "schedulers",
    "schedulers": "schedulers",
    "transforms": "transforms",
}
"""Of which kind the components at these keys are; at other keys of a component there are functions."""


def _essential(kind: str, value: Any) -> Any:
    """The value in one spelling: choices without settings that equal the defaults, 1.0 as 1, infinity as text."""
    if isinstance(value, Choice):
        defaults = {p.name: _essential("", p.default) for p in KINDS[kind].find(value.name).signature.settings}
        inside = "transforms" if kind == "transforms" else "functions"
        kept: dict[str, Any] = {"name": value.name}
        for key, item in {**value.settings, **value.own()}.items():
            essence = _essential(_KINDS_OF.get(key, inside), item)
            if (key not in defaults or essence != defaults[key]) and not _goes_without_saying(value, key, item):
                kept[key] = essence
        return kept
    if isinstance(value, Mapping):
        return {key: _essential(kind, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_essential(kind, item) for item in value]
    if isinstance(value, float):
        return str(value) if not math.isfinite(value) else int(value) if value.is_integer() else value
    return value


def _goes_without_saying(choice: Choice, key: str, value: Any) -> bool:
    """Whether one of optrun's own keys says what holds when it is left out."""
    if isinstance(choice, DatasetChoice):
        return key == "val_fraction" and value == VAL_FRACTION
    if not isinstance(choice, SchedulerChoice):
        return False
    implied = {"metric": "val/loss", "interval": interval_of(replace(choice, interval=None))}
    if choice.name in HORIZONS:
        implied[HORIZONS[choice.name]] = "run"
    return key in implied and implied[key] == value
