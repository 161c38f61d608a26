"""A run prepared for one process becomes that of several, if it can be one; what cannot is refused with its place."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from torch import nn

from optrun.components.data import Data
from optrun.components.optimizers import NEEDS_CLOSURE
from optrun.components.registry import models
from optrun.config.spec import Spec
from optrun.errors import ConfigError, Problem
from optrun.training.batches import Batches
from optrun.training.flat import ELEMENTWISE
from optrun.training.locating import located
from optrun.training.parallel import Parallel, Replicas, Shards, batch_norms, synchronized
from optrun.training.ranks import Ranks
from optrun.training.shares import Shares

__all__ = ["spread"]

_CUDA_GRAPHS = ("reduce-overhead", "max-autotune")


def spread(
    spec: Spec, model: nn.Module, criterion: Any, data: Data, batches: Batches | Shares, ranks: Ranks
) -> tuple[nn.Module, Shares, Parallel]:
    """The model, this process's share of the batches, and how they are trained together; the weights are those of the
    first process (ddp), or each process's part of its own (fsdp). Raises ConfigError with every reason why they cannot
    be."""
    assert isinstance(batches, Batches)
    on_gpus = next(model.parameters()).device.type == "cuda"
    problems = list(_problems(spec, model, batches, ranks, on_gpus))
    if problems:
        raise ConfigError(problems)
    if spec.sync_batch_norm and on_gpus:
        model = synchronized(model)
    if batch_norms(model):
        warnings.warn(
            f"BatchNorm takes its statistics from the examples of each process alone, 1 of {ranks.size} of a batch: "
            f"the run is not that of one process" + ("; sync_batch_norm: true takes them from all" if on_gpus else ""),
            stacklevel=2,
        )
    with located(spec, "model"):
        if spec.distributed == "fsdp":
            parallel: Parallel = Shards(model, criterion, data.num_classes, ranks)
        else:
            known = models.find(spec.model.name).origin in ("optrun", "torchvision")
            parallel = Replicas(model, criterion, data.num_classes, ranks, may_skip=not known)
    return model, Shares(batches, ranks), parallel


def _problems(spec: Spec, model: nn.Module, batches: Batches, ranks: Ranks, on_gpus: bool) -> Iterator[Problem]:
    size = spec.dataset.batch_size
    if size < ranks.size:
        message = f"must be at least {ranks.size}, the number of processes that share a batch, not {size}"
        yield spec.problem(("dataset", "batch_size"), message)
    elif batch_norms(model):
        last, least = len(batches.part) % size or size, 1 if spec.sync_batch_norm else 2
        if min(size, last) // ranks.size < least:
            message = (
                f"of a batch of {min(size, last)} (the last of an epoch has {last}) some of {ranks.size} processes get "
                f"fewer than {least} examples, and BatchNorm needs {least}; choose another batch_size"
            )
            yield spec.problem(("dataset", "batch_size"), message)
    if spec.sync_batch_norm and not on_gpus:
        yield spec.problem(("sync_batch_norm",), "torch's SyncBatchNorm works on GPUs only; set it to false")
    if spec.model.settings.get("sparse"):
        message = "sparse gradients cannot be added up over several processes; set it to false"
        yield spec.problem(("model", "sparse"), message)
    if spec.compile in _CUDA_GRAPHS:
        message = f"{spec.compile} uses CUDA graphs, which several processes cannot; use default"
        yield spec.problem(("compile",), message)
    if spec.distributed == "fsdp":
        yield from _sharding_problems(spec, model)


def _sharding_problems(spec: Spec, model: nn.Module) -> Iterator[Problem]:
    for path, choice in (("optimizer",), spec.optimizer), (("optimizer", "fallback"), spec.optimizer.fallback):
        if choice and choice.name not in ELEMENTWISE:
            why = "evaluates the whole model" if choice.name in NEEDS_CLOSURE else "may need whole weights"
            message = f"{choice.name} {why}, and fsdp gives each process a part of every weight; use distributed: ddp"
            yield spec.problem(path, message)
    if spec.precision == "fp16":
        yield spec.problem(("precision",), "fp16 scales the loss, which fsdp does not do; use bf16")
    if spec.compile:
        yield spec.problem(("compile",), "fsdp is not compiled here; set it to false, or use distributed: ddp")
    if not all(parameter.requires_grad for parameter in model.parameters()):
        yield spec.problem(("distributed",), "fsdp shards a model that is trained as a whole; use ddp")
