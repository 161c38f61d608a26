"""fastai: a Learner around torch's optimizer without a progress bar, the smoothed loss in its Recorder every step."""

from __future__ import annotations

import functools

from fastai.callback.core import Callback  # type: ignore[import-not-found]
from fastai.callback.training import GradientClip  # type: ignore[import-not-found]
from fastai.data.core import DataLoaders  # type: ignore[import-not-found]
from fastai.learner import Learner  # type: ignore[import-not-found]
from fastai.optimizer import OptimWrapper  # type: ignore[import-not-found]
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.rivals.training import task


class Schedule(Callback):
    """A scheduler of torch's, once an epoch."""

    def before_fit(self) -> None:
        self.scheduler = CosineAnnealingLR(self.learn.opt.opt, task.epochs)

    def after_train(self) -> None:
        self.scheduler.step()


if __name__ == "__main__":
    net = task.network()
    learner = Learner(
        DataLoaders(task.loader(), []),
        net,
        loss_func=task.criterion,
        opt_func=functools.partial(OptimWrapper, opt=task.optimizer_class, **task.optimizer_settings),
        lr=task.optimizer_settings["lr"],
        cbs=[GradientClip(task.clip_norm), Schedule()],
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit(task.epochs)
    task.finished(net)
