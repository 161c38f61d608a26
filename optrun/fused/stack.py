"""Runs side by side: the parameters, buffers and optimizers of K runs as rows of tensors with a first dimension K.

Each run keeps its own `State`, whose model holds views of its rows: whoever looks at a run, to evaluate or to save it,
finds it as if it trained alone.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import optrun.fused.rules  # noqa: F401  # fills the table that `Stacked` looks into
from optrun.fused.clipping import Bounds
from optrun.fused.member import Member
from optrun.fused.optimizers import FUSED, Run, branches, run_of
from optrun.fused.row import Row, Stream, is_row
from optrun.fused.standing import Standing
from optrun.fused.streams import Streams, state_of
from optrun.fused.tensor import CannotFuse, Stacked, leaf, physical, stacked
from optrun.training.packing import Packing
from optrun.training.state import State
from optrun.training.stepping import Stepper
from optrun.training.tapes import Tapes, can_be_recorded

__all__ = ["Bundle", "Stack"]

WORTH = 40
"""Passes after which recording one has paid."""


@dataclass(eq=False)
class Bundle:
    """Parameters that share a parameter group in every member: P numbers for each of K members."""

    names: list[str]
    packing: Packing
    """Where each parameter lies in a row."""
    weights: Tensor
    """[K, P], as are the gradients."""
    gradients: Tensor
    runs: list[tuple[range, Run]] = field(default_factory=list)
    """The members that are updated together, as ranges of rows."""

    def pieces(self, rows: Tensor) -> list[Tensor]:
        """Views of [..., P] in the shapes of the parameters, [..., *shape]."""
        return self.packing.pieces(rows)


class Stack:
    """K members as one model. Those whose optimizers are of one class should be neighbours: they are updated together.

    Their models must be alike, and none of their optimizers flat.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)
        device = self.members[0].state.device
        self.streams = Streams([state_of(member.random, device) for member in self.members], device)
        self.model = copy.deepcopy(self.members[0].state.model)
        self.bundles = [self._bundle(names) for names in _together([member.state for member in self.members])]
        self.leaves: dict[str, Stacked] = {}
        """The parameters of the stack by their names, in the order of the model's."""
        self._stack_parameters()
        self._stack_buffers()
        self.one_by_one = [member for member in self.members if not _has_rule(member.state.optimizer)]
        for bundle in self.bundles:
            bundle.runs = list(self._runs(bundle))
        for row, member in enumerate(self.members):
            self._bind(row, member)
        self.standing = Standing(self.members)
        specs = [member.spec for member in self.members]
        like = self.bundles[0].weights
        self.bounds = Bounds([spec.clip_norm for spec in specs], [spec.clip_value for spec in specs], like)
        self.present = dict.fromkeys(range(len(self.members)))
        """The rows of the members that have not left."""
        self.scheduled_by_step = [row for row, m in enumerate(self.members) if m.state.schedule.steps_after("step")]
        """Of these, those whose learning rates change after every step."""
        self.checks_every_loss = self.members[0].state.checks_every_loss
        self._gradients = self._in_order(lambda bundle: bundle.pieces(bundle.gradients))
        self._rows_of_gradients = [gradient.view(len(gradient), -1) for gradient in self._gradients]
        self.tapes = self._tapes()
        """Of forward and backward passes."""

    def leave(self, row: int) -> None:
        """The member is not trained any longer. Its row stays, and what happens to it is of no account."""
        del self.present[row]
        if row in self.scheduled_by_step:
            self.scheduled_by_step.remove(row)

    def backward(self, losses: Tensor, *, first: bool) -> None:
        """The gradients of the members' losses, [K], instead of those that are there, or (not `first`) added to them.

        Raises CannotFuse if the losses do not depend on a parameter.
        """
        with torch._C.DisableTorchFunctionSubclass():
            leaves = list(self.leaves.values())
            found = torch.autograd.grad(losses.sum(), leaves, allow_unused=True)
        if any(gradient is None for gradient in found):
            raise CannotFuse("a parameter gets no gradient")
        with torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
            (torch._foreach_copy_ if first else torch._foreach_add_)(self._gradients, found)

    def clip(self) -> Tensor | None:
        """Clip each member's gradients as its config says; returns the norms before, [K], if any are measured."""
        return self.bounds.clip(self._rows_of_gradients, [bundle.gradients for bundle in self.bundles])

    def update(self) -> None:
        """Every member's optimizer takes its step."""
        for bundle in self.bundles:
            for _, run in bundle.runs:
                run.step()
        for member in self.one_by_one:
            member.state.optimizer.step()

    def refresh(self) -> None:
        """Schedules have changed numbers in members' parameter groups."""
        for bundle in self.bundles:
            for _, run in bundle.runs:
                run.refresh()

    def release(self) -> list[Member]:
        """The members that are left, each with its own optimizer and generators again; the stack is of no use then."""
        for row in self.present:
            member = self.members[row]
            member.random = member.state.generators.state_dict()
            if isinstance(member.state.optimizer, Row):
                member.state.optimizer = member.state.optimizer.own()
        return [self.members[row] for row in self.present]

    def _can_be_recorded(self) -> bool:
        optimizers = [optimizer for member in self.members for optimizer in member.state.optimizer.optimizers]
        return can_be_recorded(self.model, self.members[0].state.criterion, optimizers)

    def _tapes(self) -> Tapes:
        criterion = getattr(self.members[0].state.criterion, "buffers", list)()
        gradients = [bundle.gradients for bundle in self.bundles]
        frozen = [physical(p) for p in self.model.parameters() if not p.requires_grad]
        buffers = [physical(buffer) for buffer in self.model.buffers()]
        changing = [*buffers, *gradients]
        known = [*(bundle.weights for bundle in self.bundles), *frozen, *criterion, *self.streams.tensors, *changing]
        return Tapes(self._can_be_recorded, known, changing, self.streams.generators, WORTH)

    def _in_order(self, views: Callable[[Bundle], list[Tensor]]) -> list[Tensor]:
        """What `views` gives for each parameter, in the order of the model's."""
        by_name = {name: view for bundle in self.bundles for name, view in zip(bundle.names, views(bundle))}
        return [by_name[name] for name in self.leaves]

    def _bundle(self, names: Sequence[str]) -> Bundle:
        each = [dict(member.state.model.named_parameters()) for member in self.members]
        first = [each[0][name] for name in names]
        packing = Packing([parameter.shape for parameter in first], first[0].dtype)
        weights = torch.stack([packing.joined([own[name].detach() for name in names]) for own in each])
        return Bundle(list(names), packing, weights, torch.zeros_like(weights))

    def _stack_parameters(self) -> None:
        """All members' parameters in the places of one's. A parameter can have several places."""
        pieces = {
            name: piece for bundle in self.bundles for name, piece in zip(bundle.names, bundle.pieces(bundle.weights))
        }
        first = {parameter: name for name, parameter in self.model.named_parameters()}
        places = list(self.model.named_parameters(remove_duplicate=False))
        for place, parameter in places:
            if (name := first[parameter]) in pieces:
                weights = self.leaves.setdefault(name, leaf(pieces[name]))
                module, _, key = place.rpartition(".")
                self.model.get_submodule(module)._parameters[key] = weights  # type: ignore[assignment]

    def _stack_buffers(self) -> None:
        """Buffers, and parameters that are not trained."""
        for name, module in self.model.named_modules():
            owners = [member.state.model.get_submodule(name) for member in self.members]
            for kind in ("_buffers", "_parameters"):
                for key, value in getattr(module, kind).items():
                    if value is not None and not isinstance(value, Stacked):
                        rows = torch.stack([getattr(owner, kind)[key].detach() for owner in owners])
                        getattr(module, kind)[key] = stacked(rows)
                        for owner, row in zip(owners, rows):
                            getattr(owner, kind)[key] = row if kind == "_buffers" else nn.Parameter(row, False)

    def _runs(self, bundle: Bundle) -> Any:
        """Neighbours whose optimizers do the same to the bundle, with what their optimizers remember."""
        homes = [_homes(member.state)[bundle.names[0]] for member in self.members]
        optimizers = [member.state.optimizer.optimizers[home[0]] for member, home in zip(self.members, homes)]
        groups = [optimizer.param_groups[home[1]] for optimizer, home in zip(optimizers, homes)]
        remembered = [self._remembered(row, bundle) for row in range(len(self.members))]

        def alike(row: int) -> Any:
            steps = float(remembered[row].get("step", -1.0))
            rules = branches(optimizers[row], groups[row]) if type(optimizers[row]).__name__ in FUSED else None
            return type(optimizers[row]), rules, bool(remembered[row]), steps

        for (_, rules, has_memory, _), found in itertools.groupby(range(len(self.members)), alike):
            rows = list(found)
            first, last = rows[0], rows[-1] + 1
            if rules is not None and self.members[first] not in self.one_by_one:
                gradients = bundle.gradients[first:last]
                run = run_of(optimizers[first], groups[first:last], bundle.weights[first:last], gradients)
                if has_memory:
                    run.restore(remembered[first:last])
                yield range(first, last), run

    def _remembered(self, row: int, bundle: Bundle) -> dict[str, Any]:
        """What a member's optimizer remembers of the bundle's parameters, as of one."""
        state = self.members[row].state
        own = dict(state.model.named_parameters())
        memories = [optimizer.state for optimizer in state.optimizer.optimizers]
        kept = [next((each[own[n]] for each in memories if own[n] in each), {}) for n in bundle.names]
        return {
            key: bundle.packing.joined([each[key] for each in kept]) if is_row(value) else value
            for key, value in kept[0].items()
        }

    def _bind(self, row: int, member: Member) -> None:
        """The member's model and generators become views of the stack."""
        own = dict(member.state.model.named_parameters())
        for bundle in self.bundles:
            pieces = zip(bundle.names, bundle.pieces(bundle.weights[row]), bundle.pieces(bundle.gradients[row]))
            for name, weights, gradient in pieces:
                own[name].data = weights
                own[name].grad = gradient if member in self.one_by_one else None
        member.state.generators = Stream(member.random, self.streams, row)
        if member not in self.one_by_one:
            member.state.optimizer = Row(member.state, self, row)


def _has_rule(stepper: Stepper) -> bool:
    return all(type(optimizer).__name__ in FUSED for optimizer in stepper.optimizers)


def _homes(state: State) -> dict[str, tuple[int, int]]:
    """Of each trained parameter, by its name: the number of its optimizer, and that of its group there."""
    names = {parameter: name for name, parameter in state.model.named_parameters()}
    return {
        names[parameter]: (number, index)
        for number, optimizer in enumerate(state.optimizer.optimizers)
        for index, group in enumerate(optimizer.param_groups)
        for parameter in group["params"]
    }


def _together(states: Sequence[State]) -> list[list[str]]:
    """The names of the trained parameters, in lists of those that no member has in different groups."""
    homes = [_homes(state) for state in states]
    found: dict[tuple[tuple[int, int], ...], list[str]] = {}
    for name in homes[0]:
        found.setdefault(tuple(home[name] for home in homes), []).append(name)
    return list(found.values())
