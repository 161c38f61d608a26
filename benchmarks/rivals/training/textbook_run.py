"""PyTorch's tutorial: a DataLoader and a loop, the loss printed every ten steps."""

from __future__ import annotations

from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.rivals.training import task

if __name__ == "__main__":
    net = task.network()
    optimizer = task.optimizer(net.parameters())
    scheduler = CosineAnnealingLR(optimizer, task.epochs)
    loader = task.loader()
    for epoch in range(task.epochs):
        net.train()
        for step, (inputs, targets) in enumerate(loader):
            optimizer.zero_grad()
            loss = task.criterion(net(inputs), targets)
            loss.backward()
            clip_grad_norm_(net.parameters(), task.clip_norm)
            optimizer.step()
            if step % 10 == 0:
                print(f"epoch {epoch}, step {step}: loss {loss.item():.4f}")
        scheduler.step()
    task.finished(net)
