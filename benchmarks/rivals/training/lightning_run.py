"""Lightning: with `bare` all that can be left out is, and nothing is logged; else as it comes, loss every 50 steps."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L  # type: ignore[import-not-found]
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.rivals.training import task

BARE = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


class Module(L.LightningModule):
    def __init__(self, net: nn.Module, logs: bool) -> None:
        super().__init__()
        self.net, self.logs = net, logs

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        inputs, targets = batch
        loss = task.criterion(self.net(inputs), targets)
        if self.logs:
            self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = task.optimizer(self.parameters())
        return [optimizer], [CosineAnnealingLR(optimizer, task.epochs)]


if __name__ == "__main__":
    bare = "bare" in sys.argv
    net = task.network()
    trainer = L.Trainer(
        max_epochs=task.epochs,
        accelerator="cpu",
        gradient_clip_val=task.clip_norm,
        default_root_dir=task.folder,
        **(BARE if bare else {}),
    )
    trainer.fit(Module(net, logs=not bare), task.loader())
    task.finished(net)
