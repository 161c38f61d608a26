"""Accelerate: the textbook's loop with everything prepared, the loss printed every ten steps."""

from __future__ import annotations

from accelerate import Accelerator  # type: ignore[import-not-found]
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.rivals.training import task

if __name__ == "__main__":
    accelerator = Accelerator(cpu=True)
    net = task.network()
    optimizer = task.optimizer(net.parameters())
    scheduler = CosineAnnealingLR(optimizer, task.epochs)
    net, optimizer, loader, scheduler = accelerator.prepare(net, optimizer, task.loader(), scheduler)
    for epoch in range(task.epochs):
        net.train()
        for step, (inputs, targets) in enumerate(loader):
            optimizer.zero_grad()
            loss = task.criterion(net(inputs), targets)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(net.parameters(), task.clip_norm)
            optimizer.step()
            if step % 10 == 0:
                accelerator.print(f"epoch {epoch}, step {step}: loss {loss.item():.4f}")
        scheduler.step()
    task.finished(accelerator.unwrap_model(net))
