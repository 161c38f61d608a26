"""Optimizers: the classes of `torch.optim`, each on the parameters it is meant for.

Most take every parameter. Muon takes 2-D weights only and SparseAdam sparse gradients only; what they cannot take goes
to the `fallback` optimizer. `param_groups` gives chosen parameters values of their own.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from optrun.components.choice import OptimizerChoice
from optrun.components.registry import optimizers
from optrun.errors import UsageError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

__all__ = ["MATCH_WORDS", "NEEDS_CLOSURE", "TAKES_SPARSE", "NoParameters", "build", "momentum_setting", "split"]

MATCH_WORDS = ("bias", "norm", "embedding", "1d")
"""Words that `match` understands beside patterns."""

NEEDS_CLOSURE = {"LBFGS"}
"""Optimizers whose step evaluates the loss again and again."""

TAKES_SPARSE = {"SGD", "Adagrad", "SparseAdam"}
"""Optimizers that accept sparse gradients, as the documentation of torch.nn.Embedding lists them."""

PARTIAL = {"Muon": "2-D weights", "SparseAdam": "sparse gradients"}
"""Optimizers that take only some parameters, and which."""


class NoParameters(UsageError):
    """A group or an optimizer would be left without, or with the wrong, parameters; `path` says where it stands."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        self.path = path
        super().__init__(message)


def momentum_setting(name: str) -> str | None:
    """What a momentum-cycling scheduler would change in this optimizer: `momentum`, `betas` or nothing."""
    settings = optimizers.find(name).signature.names()
    return next((key for key in ("momentum", "betas") if key in settings), None)


def build(choice: OptimizerChoice, model: nn.Module) -> list[Optimizer]:
    """The optimizers of `choice` over the model's parameters that require a gradient: one, or two with a fallback.

    Raises NoParameters, and ValueError or TypeError as torch does for values it refuses.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    mine, others = split(choice.name, named, model)
    if not mine:
        raise NoParameters(("name",), f"{choice.name} takes {PARTIAL[choice.name]} only, and the model has none")
    if others and choice.fallback is None:
        raise NoParameters(
            (),
            f"{choice.name} takes {PARTIAL[choice.name]} only, not {next(iter(others))}; "
            f"add fallback: {{name: AdamW, lr: …}} for the rest",
        )
    if choice.fallback is not None and not others:
        raise NoParameters(("fallback",), f"{choice.name} takes every parameter of this model; remove fallback")
    built = [_one(choice, mine, model)]
    return built + (build_on(choice.fallback, others, model) if choice.fallback else [])


def build_on(choice: OptimizerChoice, named: Mapping[str, nn.Parameter], model: nn.Module) -> list[Optimizer]:
    """The fallback optimizer on the parameters left to it."""
    mine, others = split(choice.name, named, model)
    if others:
        raise NoParameters(
            ("fallback", "name"), f"{choice.name} cannot be a fallback: it takes {PARTIAL[choice.name]} only"
        )
    return [_one(choice, mine, model)]


def split(
    name: str, named: Mapping[str, nn.Parameter], model: nn.Module
) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """The parameters the optimizer takes, and the others."""
    takes = {"Muon": lambda key: named[key].ndim == 2, "SparseAdam": sparse_names(model).__contains__}
    mine = {key: p for key, p in named.items() if takes.get(name, lambda key: True)(key)}
    return mine, {key: p for key, p in named.items() if key not in mine}


def sparse_names(model: nn.Module) -> set[str]:
    """Names of the parameters whose gradients are sparse."""
    sparse = [name for name, module in model.named_modules() if getattr(module, "sparse", False)]
    return {f"{name}.weight" if name else "weight" for name in sparse}


def _one(choice: OptimizerChoice, named: Mapping[str, nn.Parameter], model: nn.Module) -> Optimizer:
    create = optimizers.find(choice.name).load()
    if not choice.param_groups:
        return create(list(named.values()), **choice.settings)
    return create(_groups(choice.param_groups, named, model), **choice.settings)


def _groups(
    groups: Iterable[Mapping[str, Any]], named: Mapping[str, nn.Parameter], model: nn.Module
) -> list[dict[str, Any]]:
    """The parameters no group matches come first; each other one belongs to the first group that matches it."""
    left = dict(named)
    built = []
    for index, group in enumerate(groups):
        chosen = [key for key in left if _matches(group["match"], key, model)]
        if not chosen:
            raise NoParameters(
                ("param_groups", index, "match"), f"no parameter is left that {group['match']!r} matches"
            )
        values = {key: value for key, value in group.items() if key != "match"}
        built.append({"params": [left.pop(key) for key in chosen], **values})
    return [{"params": list(left.values())}, *built] if left else built


def _matches(pattern: str, name: str, model: nn.Module) -> bool:
    if pattern not in MATCH_WORDS:
        return fnmatch.fnmatchcase(name, pattern)
    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    if pattern == "bias":
        return leaf == "bias"
    if pattern == "1d":
        return model.get_parameter(name).ndim <= 1
    if pattern == "norm":
        return "norm" in type(module).__name__.lower()
    return "embedding" in type(module).__name__.lower()
