"""Hugging Face's Trainer without a progress bar and checkpoints, the loss printed every ten steps."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR
from torch.utils.data import Dataset, Sampler
from transformers import Trainer, TrainerCallback, TrainingArguments  # type: ignore[import-not-found]

from benchmarks.rivals.training import task


class WithLoss(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        outputs = self.net(inputs)
        return {"loss": task.criterion(outputs, labels), "logits": outputs}


class Named(Dataset[dict[str, Tensor]]):
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        inputs, labels = task.dataset[index]
        return {"inputs": inputs, "labels": labels}

    def __len__(self) -> int:
        return len(task.dataset)


class InGivenOrder(Trainer):
    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return task.loading["sampler"]


class OnceAnEpoch(TrainerCallback):
    """A scheduler of torch's; the Trainer's own steps after every batch."""

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        scheduler.step()


if __name__ == "__main__":
    net = task.network()
    optimizer = task.optimizer(net.parameters())
    scheduler = CosineAnnealingLR(optimizer, task.epochs)
    arguments = TrainingArguments(
        output_dir=str(task.folder / "trainer"),
        num_train_epochs=task.epochs,
        per_device_train_batch_size=task.batch_size,
        max_grad_norm=task.clip_norm,
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = InGivenOrder(
        WithLoss(net),
        arguments,
        train_dataset=Named(),
        optimizers=(optimizer, ConstantLR(optimizer, factor=1.0)),
        callbacks=[OnceAnEpoch()],
    )
    trainer.train()
    task.finished(net)
