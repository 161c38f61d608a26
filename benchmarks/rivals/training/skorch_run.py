"""skorch: a NeuralNet with callbacks, every batch's loss in its history."""

from __future__ import annotations

from skorch import NeuralNet  # type: ignore[import-not-found]
from skorch.callbacks import GradientNormClipping, LRScheduler  # type: ignore[import-not-found]
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.rivals.training import task

if __name__ == "__main__":
    net = task.network()
    trainer = NeuralNet(
        net,
        criterion=type(task.criterion),
        optimizer=task.optimizer_class,
        max_epochs=task.epochs,
        train_split=None,
        callbacks=[GradientNormClipping(task.clip_norm), LRScheduler(CosineAnnealingLR, T_max=task.epochs)],
        verbose=0,
        **{f"optimizer__{key}": value for key, value in task.optimizer_settings.items()},
        **{f"iterator_train__{key}": value for key, value in task.loading.items()},
    )
    trainer.fit(task.dataset)
    task.finished(net)
