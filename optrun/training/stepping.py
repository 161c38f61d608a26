"""The optimizer as the loop sees it: nearly always one, two when Muon or SparseAdam leave parameters to a fallback."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from optrun.training.flat import Flat, can_be_flat

__all__ = ["Gradients", "Stepper", "bare_step"]


class Gradients(NamedTuple):
    """The gradients of a step: of each parameter that has one, in the order of the model's parameters; and the same
    memory in as few tensors as it lies in."""

    each: list[Tensor]
    whole: list[Tensor]


class Stepper:
    """Optimizers that step together, with fp16's loss scaling where there is any.

    The methods are those of `torch.optim.Optimizer` and `torch.amp.GradScaler`, in their order of use: `zero_grad`,
    `scale(loss).backward()`, `gradients` (before clipping), `step`. Where it is exact and pays, an optimizer works on
    the vectors of a `Flat` instead of on the parameters, unless they must stay `apart`; `parameters` are the model's,
    in its order.
    """

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        parameters: Sequence[nn.Parameter],
        scaler: GradScaler | None = None,
        *,
        apart: bool = False,
    ) -> None:
        self.optimizers, self.parameters, self.scaler = list(optimizers), list(parameters), scaler
        flat = [not apart and scaler is None and can_be_flat(optimizer) for optimizer in self.optimizers]
        self._flats = [Flat(optimizer) if can else None for optimizer, can in zip(self.optimizers, flat)]
        self._steps = [bare_step(optimizer) for optimizer in self.optimizers]
        self.arrangement = 0
        """Another number when gradients are in other places."""
        self._arrange()
        self._taken = 0
        if scaler is not None:
            for optimizer in self.optimizers:
                optimizer.register_step_post_hook(self._count)

    def _arrange(self) -> None:
        """What is flat and what is not."""
        self.arrangement += 1
        in_flats = {id(p) for flat in self._flats if flat for vector in flat.vectors for p in vector.parameters}
        self._is_apart = [id(p) not in in_flats for p in self.parameters]
        self._apart = list(itertools.compress(self.parameters, self._is_apart))
        self._vectors = [vector.gradients for flat in self._flats if flat for vector in flat.vectors]

    def zero_grad(self) -> None:
        """What `torch.optim.Optimizer.zero_grad` does, without what torch wraps around it for its profiler."""
        for flat in self._flats:
            if flat is not None:
                flat.zero_grad()
        for parameter in self._apart:
            parameter.grad = None

    @property
    def is_settled(self) -> bool:
        """Whether it is decided where gradients lie; it is after the first step."""
        return all(flat is None or flat.is_filled for flat in self._flats)

    @property
    def is_flat(self) -> bool:
        """Whether every gradient lies in the same place in every step."""
        return not self._apart

    def vectors(self) -> list[Tensor]:
        """The gradients of what is flat: all of them lie in these, in every step."""
        return list(self._vectors)

    def add_gradients(self, found: Sequence[Tensor], *, first: bool) -> list[Tensor]:
        """Do with the gradients of the parameters what `backward` does in a step that has begun, but return those that
        would become the `.grad` of their parameters."""
        given = list(zip(self.parameters, found, self._is_apart))
        places = {p.grad: gradient for p, gradient, is_apart in given if not is_apart and p.grad is not None}
        if places:
            (torch._foreach_copy_ if first else torch._foreach_add_)(list(places), list(places.values()))
        return [_laid_out_like(p, gradient) for p, gradient, is_apart in given if is_apart]

    def set_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Those that `add_gradients` has returned."""
        for parameter, gradient in zip(self._apart, gradients):
            parameter.grad = gradient

    def keep_gradients(self) -> None:
        """Put gradients where nothing else writes: those of a CUDA graph are gone when it runs again."""
        for parameter in self._apart:
            if parameter.grad is not None:
                parameter.grad = parameter.grad.clone()

    def scale(self, loss: Tensor) -> Tensor:
        return loss if self.scaler is None else self.scaler.scale(loss)

    def gradients(self) -> Gradients:
        """What backward left, with the loss scaling taken out again; once a step, before clipping."""
        if self.scaler is not None:
            for optimizer in self.optimizers:
                self.scaler.unscale_(optimizer)
        for index, flat in enumerate(self._flats):
            if flat is not None and not flat.is_whole():
                flat.dissolve()
                self._flats[index] = None
                self._arrange()
        each = [p.grad for p in self.parameters if p.grad is not None]
        return Gradients(each, [*self._vectors, *(p.grad for p in self._apart if p.grad is not None)])

    def step(self, closure: Callable[[], Any] | None = None) -> bool:
        """Step every optimizer; returns False when loss scaling skipped the step because a gradient overflowed."""
        if closure is not None:
            for optimizer in self.optimizers:
                optimizer.step(closure)
            return True
        if self.scaler is None:
            for step in self._steps:
                step()
            return True
        self._taken = 0
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        return self._taken == len(self.optimizers)

    def count_as_stepped(self) -> None:
        """Schedulers may step now, without a warning of torch that the optimizer has not."""
        for optimizer in self.optimizers:
            optimizer._opt_called = True  # type: ignore[attr-defined]

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
        """The state of each optimizer, parameter by parameter, flat or not."""
        scaler = {"scaler": self.scaler.state_dict()} if self.scaler else {}
        holders = [flat or optimizer for flat, optimizer in zip(self._flats, self.optimizers)]
        return {"optimizers": [holder.state_dict() for holder in holders], **scaler}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for flat, optimizer, saved in zip(self._flats, self.optimizers, state["optimizers"]):
            (flat or optimizer).load_state_dict(saved)
        if self.scaler is not None and "scaler" in state:
            self.scaler.load_state_dict(state["scaler"])

    def _count(self, *_: Any) -> None:
        self._taken += 1


def _laid_out_like(parameter: Tensor, gradient: Tensor) -> Tensor:
    """As autograd lays out what becomes `.grad` (torch/csrc/autograd/utils/grad_layout_contract.h)."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def bare_step(optimizer: Optimizer) -> Callable[[], Any]:
    """The optimizer's step without what torch wraps around it for its profiler and its compiler, which costs a small
    step a tenth of its time; torch's own classes only, and only while nobody has hooked into the step."""
    kind = type(optimizer)
    if kind is not getattr(torch.optim, kind.__name__, None) or optimizer.defaults.get("differentiable"):
        return lambda: optimizer.step()
    return functools.partial(_without_gradients, inspect.unwrap(kind.step), optimizer)


def _without_gradients(step: Callable[[Optimizer], Any], optimizer: Optimizer) -> None:
    optimizer._opt_called = True  # type: ignore[attr-defined]  # see `count_as_stepped`
    with torch.no_grad():
        step(optimizer)


def _nothing() -> None:
    """What train() and eval() do on an optimizer without modes."""
