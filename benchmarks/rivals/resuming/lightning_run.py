"""Lightning: ModelCheckpoint with save_last, and `ckpt_path` to go on from it, as its documentation shows."""

from __future__ import annotations

import lightning as L  # type: ignore[import-not-found]
import torch
from lightning.pytorch.callbacks import ModelCheckpoint  # type: ignore[import-not-found]
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.rivals.resuming.task import BATCH, EPOCHS, EVERY, STEP_SIZE, data, finished, folder, model


class Digits(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = model()

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        if index == 0 and self.current_epoch == 0:
            print("training", flush=True)
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.003)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, STEP_SIZE)}


if __name__ == "__main__":
    last = folder() / "last.ckpt"
    L.seed_everything(0, verbose=False)
    keeping = ModelCheckpoint(folder(), every_n_train_steps=EVERY, save_last=True, save_top_k=1)
    trainer = L.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[keeping],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
    )
    digits = Digits()
    print("training", flush=True)
    trainer.fit(digits, DataLoader(data(), BATCH, shuffle=True), ckpt_path=last if last.exists() else None)
    finished(digits.net)
