"""The optimizer as the loop sees it: nearly always one, two when Muon or SparseAdam leave parameters to a fallback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

__all__ = ["Stepper"]


class Stepper:
    """Optimizers that step together, with fp16's loss scaling where there is any.

    The methods are those of `torch.optim.Optimizer` and `torch.amp.GradScaler`, in their order of use:
    `zero_grad`, `scale(loss).backward()`, `unscale` (before clipping), `step`.
    """

    def __init__(self, optimizers: Sequence[Optimizer], scaler: GradScaler | None) -> None:
        self.optimizers, self.scaler = list(optimizers), scaler
        self._parameters = [p for o in self.optimizers for group in o.param_groups for p in group["params"]]
        self._taken = 0
        if scaler is not None:
            for optimizer in self.optimizers:
                optimizer.register_step_post_hook(self._count)

    def zero_grad(self) -> None:
        """What `torch.optim.Optimizer.zero_grad` does, without what torch wraps around it for its profiler."""
        for parameter in self._parameters:
            parameter.grad = None

    def scale(self, loss: Tensor) -> Tensor:
        return loss if self.scaler is None else self.scaler.scale(loss)

    def unscale(self) -> None:
        if self.scaler is not None:
            for optimizer in self.optimizers:
                self.scaler.unscale_(optimizer)

    def step(self, closure: Callable[[], Any] | None = None) -> bool:
        """Step every optimizer; returns False when loss scaling skipped the step because a gradient overflowed."""
        if self.scaler is None:
            for optimizer in self.optimizers:
                optimizer.step(closure) if closure else optimizer.step()
            return True
        self._taken = 0
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        return self._taken == len(self.optimizers)

    def learning_rates(self) -> float | list[float]:
        """The learning rate of every parameter group; one number where they agree."""
        rates = [float(group["lr"]) for optimizer in self.optimizers for group in optimizer.param_groups]
        return rates[0] if all(rate == rates[0] for rate in rates) else rates

    def train(self) -> None:
        """Schedule-free optimizers train at other weights than they are evaluated at; others have no such mode."""
        for optimizer in self.optimizers:
            getattr(optimizer, "train", _nothing)()

    def eval(self) -> None:
        for optimizer in self.optimizers:
            getattr(optimizer, "eval", _nothing)()

    def state_dict(self) -> dict[str, Any]:
        scaler = {"scaler": self.scaler.state_dict()} if self.scaler else {}
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers], **scaler}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        if self.scaler is not None and "scaler" in state:
            self.scaler.load_state_dict(state["scaler"])

    def _count(self, *_: Any) -> None:
        self._taken += 1


def _nothing() -> None:
    """What train() and eval() do on an optimizer without modes."""
