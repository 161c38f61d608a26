"""Ignite: an Engine over a step function, the loss printed every ten steps."""

from __future__ import annotations

from ignite.engine import Engine, Events  # type: ignore[import-not-found]
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.rivals.training import task

if __name__ == "__main__":
    net = task.network()
    optimizer = task.optimizer(net.parameters())
    scheduler = CosineAnnealingLR(optimizer, task.epochs)

    def step(engine: Engine, batch: list[Tensor]) -> float:
        net.train()
        optimizer.zero_grad()
        inputs, targets = batch
        loss = task.criterion(net(inputs), targets)
        loss.backward()
        clip_grad_norm_(net.parameters(), task.clip_norm)
        optimizer.step()
        return loss.item()

    trainer = Engine(step)

    @trainer.on(Events.ITERATION_COMPLETED(every=10))
    def log(engine: Engine) -> None:
        print(f"epoch {engine.state.epoch}, step {engine.state.iteration}: loss {engine.state.output:.4f}")

    @trainer.on(Events.EPOCH_COMPLETED)
    def schedule(engine: Engine) -> None:
        scheduler.step()

    trainer.run(task.loader(), max_epochs=task.epochs)
    task.finished(net)
