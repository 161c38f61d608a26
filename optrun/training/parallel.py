"""A model that several processes train together, each on its own share of every micro-batch.

    loss of a step = Σ over processes, micro-batches: share · mean loss over the process's own examples

`share` is what these are of all the step's examples, so the gradient is that of one process with the whole batch, in
float32 summed in another order. torch's engines add up the parts: `DistributedDataParallel` (`Replicas`, the weights
in every process) and FSDP2's `fully_shard` (`Shards`, a part of every weight in each).

Sources: Li et al. 2020, "PyTorch Distributed" (https://arxiv.org/abs/2006.15704); Zhao et al. 2023, "PyTorch FSDP"
(https://arxiv.org/abs/2304.11277).
"""

from __future__ import annotations

import collections
import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from optrun.components.losses import loss_weight, summed
from optrun.training.ranks import Ranks

if TYPE_CHECKING:
    from optrun.training.batches import MicroBatch
    from optrun.training.state import State

__all__ = ["Parallel", "Replicas", "Shards", "batch_norms", "synchronized"]


def batch_norms(model: nn.Module) -> list[str]:
    """The names of the modules that take statistics over the batch, and would over a process's share of it."""
    kinds = (_BatchNorm,)
    return [name for name, part in model.named_modules() if isinstance(part, kinds) and not _is_synchronized(part)]


def _is_synchronized(part: nn.Module) -> bool:
    return isinstance(part, nn.SyncBatchNorm)


def synchronized(model: nn.Module) -> nn.Module:
    """The model with statistics over the whole batch, by torch's `SyncBatchNorm` (on GPUs only)."""
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


class Parallel(ABC):
    """What `Replicas` and `Shards` have in common: a step's passes, and what they add up."""

    sharded = False
    """Whether a forward pass needs every process."""

    def __init__(self, network: nn.Module, criterion: Any, num_classes: int | None, ranks: Ranks) -> None:
        self.network, self.criterion, self.ranks = network, criterion, ranks
        self._adds = getattr(criterion, "reduction", "mean") == "sum"
        ignored, weight = getattr(criterion, "ignore_index", -100), getattr(criterion, "weight", None)
        self._counts_rows = self._adds or not (
            hasattr(criterion, "ignore_index") and (weight is not None or 0 <= ignored < (num_classes or 0))
        )

    def forward_backward(
        self, state: State, micro_batches: Sequence[MicroBatch], check: Callable[[State, Tensor], None]
    ) -> Tensor:
        """Add up the gradients of the micro-batches over all processes; returns the loss of all, detached. `check` is
        shown the loss of each before its backward pass, the same everywhere."""
        total: Tensor | None = None
        for number, (inputs, targets, share) in enumerate(micro_batches):
            with self._adding_up(number + 1 == len(micro_batches)):
                with state.autocast():
                    own = self._part(self.network(inputs), targets, share)
                loss = self.ranks.summed(own.detach())
                check(state, loss)
                state.optimizer.scale(own).backward()
            total = loss if total is None else total + loss
        assert total is not None
        return total

    def _part(self, outputs: Tensor, targets: Tensor, share: float) -> Tensor:
        """What this process's examples add to the step's loss; a stand-in, whose share is 0, adds nothing."""
        if self._adds:
            return self.criterion(outputs, targets) * (share > 0)
        if self._counts_rows:
            return self.criterion(outputs, targets) * share
        # A mean over class weights, or over targets that are not ignored: how many there are, the others have to say.
        weight = loss_weight(self.criterion, targets) if share else 0.0
        weights, shares = self.ranks.totals(weight, share)
        factor = shares / weights if weights else math.nan
        return summed(self.criterion)(outputs, targets) * (factor if share else 0.0)

    @abstractmethod
    def _adding_up(self, wanted: bool) -> contextlib.AbstractContextManager[None]:
        """In which a backward pass adds up the gradients of all processes, if that is `wanted` of it."""

    def level(self, model: nn.Module) -> None:
        """Give every process the first one's buffers, which each has changed by its own examples (BatchNorm)."""
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)

    def whole(self, held: Any) -> Any:
        """In the first process what a checkpoint of one process would hold, from what each holds."""
        return held

    def parted(self, saved: Mapping[str, Any], model: nn.Module) -> Mapping[str, Any]:
        """What this process holds of what a checkpoint does."""
        return saved


class Replicas(Parallel):
    """The weights in every process; `DistributedDataParallel` adds up the gradients while the backward pass goes on."""

    def __init__(
        self, model: nn.Module, criterion: Any, num_classes: int | None, ranks: Ranks, *, may_skip: bool
    ) -> None:
        """`may_skip`: a parameter may have no part in some loss, which takes torch a search for it every time."""
        device = next(model.parameters()).device
        ids = [device.index] if device.type == "cuda" else None
        network = DistributedDataParallel(model, device_ids=ids, find_unused_parameters=may_skip)
        network.register_comm_hook(None, _add_up)
        super().__init__(network, criterion, num_classes, ranks)

    def _adding_up(self, wanted: bool) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if wanted else self.network.no_sync()  # type: ignore[operator]


def _add_up(_, bucket):  # type: ignore[no-untyped-def]  # torch compares annotations, which are text here
    """Sums, where DistributedDataParallel takes means: shares add up to one, whatever each process's is."""
    work = torch.distributed.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda done: done.value()[0])


class Shards(Parallel):
    """A part of every weight, gradient and optimizer state in each process; FSDP2 brings together what a block of the
    model needs while it is computed."""

    sharded = True

    def __init__(self, model: nn.Module, criterion: Any, num_classes: int | None, ranks: Ranks) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        device = next(model.parameters()).device
        mesh = init_device_mesh(device.type, (ranks.size,))
        blocks = _blocks(model)
        for block in blocks:
            fully_shard(block, mesh=mesh)
        network = fully_shard(model, mesh=mesh)
        for part in (network, *blocks):
            part.set_gradient_divide_factor(1.0)  # type: ignore[operator]  # sums, not means
            part.set_force_sum_reduction_for_comms(True)  # type: ignore[operator]  # gloo knows no other
        super().__init__(network, criterion, num_classes, ranks)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def _adding_up(self, wanted: bool) -> Iterator[None]:
        self.network.set_requires_gradient_sync(wanted)  # type: ignore[operator]
        yield

    def whole(self, held: Any) -> Any:
        if isinstance(held, torch.distributed.tensor.DTensor):
            together = held.detach().full_tensor()  # type: ignore[attr-defined]
            return together.cpu() if self.ranks.rank == 0 else held  # one at a time: all of them may not fit
        if isinstance(held, dict):
            return type(held)((key, self.whole(value)) for key, value in held.items())
        if isinstance(held, list | tuple):
            return type(held)(map(self.whole, held))
        return held

    def parted(self, saved: Mapping[str, Any], model: nn.Module) -> Mapping[str, Any]:
        """Weights by their names; what an optimizer has for a weight, by the number of that weight and its shape."""
        places = dict(model.named_parameters(remove_duplicate=False))
        weights = {key: _like(places[key], value) if key in places else value for key, value in saved["model"].items()}
        numbered = list(model.parameters())
        states = [
            {
                **optimizer,
                "state": {
                    number: {key: _like(numbered[number], value) for key, value in state.items()}
                    for number, state in optimizer["state"].items()
                },
            }
            for optimizer in saved["optimizers"]
        ]
        return {**saved, "model": weights, "optimizers": states}


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The parts that are brought together one at a time: layers of a stack, else the model's own parts. What shares a
    weight with another part stays with the model itself: a weight can be in one place only."""
    blocks: list[nn.Module] = []
    for part in model.children():
        blocks += part.children() if isinstance(part, nn.ModuleList | nn.Sequential) else [part]
    owners = collections.Counter(parameter for block in blocks for parameter in block.parameters())
    owners.update(parameter for name, parameter in model.named_parameters() if "." not in name)
    unshared = [block for block in blocks if all(owners[parameter] == 1 for parameter in block.parameters())]
    return [block for block in unshared if any(True for _ in block.parameters())]


def _like(place: Tensor, value: Any) -> Any:
    """This process's part of a tensor that belongs to a weight; anything else as it is."""
    if not isinstance(value, Tensor) or value.shape != place.shape or not value.dim():
        return value
    return torch.distributed.tensor.distribute_tensor(
        value.to(place.device),
        place.device_mesh,  # type: ignore[attr-defined]
        place.placements,  # type: ignore[attr-defined]
        src_data_rank=None,
    )
