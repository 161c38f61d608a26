"""The bare loop: batches are cut before training begins, nothing is logged."""

from __future__ import annotations

from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks import bare_loop, turns
from benchmarks.rivals.training import task

Batches = list[tuple[Tensor, Tensor]]


def batches(order: Tensor) -> Batches:
    """An epoch's batches, cut from its examples in their order."""
    inputs, targets = (task.data[name][order].split(task.batch_size) for name in ("inputs", "targets"))
    return list(zip(inputs, targets))


if __name__ == "__main__":
    net = task.network()
    optimizer = task.optimizer(net.parameters())
    scheduler = CosineAnnealingLR(optimizer, task.epochs)
    for first in range(0, task.epochs, turns.epochs):
        some = [batches(order) for order in task.data["orders"][first : first + turns.epochs]]
        turns.begin(first)
        bare_loop.train(net, task.criterion, optimizer, scheduler, some, task.clip_norm)
    task.finished(net)
