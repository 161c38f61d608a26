"""What a tape is made of: calls, and the lines of Python that make them again, no more of them than are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["COPY", "INTO", "Call", "lines"]

_aten = torch.ops.aten
COPY = _aten._foreach_copy_.default

INTO: dict[Any, Any] = {_aten.mm.default: _aten.mm.out, _aten.sum.dim_IntList: _aten.sum.IntList_out}
"""What computes the same into a place that it is given as `out`."""


@dataclass(eq=False)
class Call:
    """A line: `results = function(arguments)`, with names in place of tensors."""

    function: Any
    arguments: list[str]
    used: set[str]
    """The names in the arguments."""
    results: list[str]
    """Empty for what has a name already, or is no tensor."""
    is_list: bool
    matters: bool
    """Whether it does more than to return something: writes into an argument, draws random numbers."""
    copies: dict[str, str] = field(default_factory=dict)
    """Of a `COPY`: to which names from which."""

    def text(self, name: Callable[[Any], str]) -> str:
        """The line; `name` gives that of a function."""
        call = f"{name(self.function)}({', '.join(self.arguments)})"
        if not any(self.results):
            return call
        return f"{', '.join(result or '_' for result in self.results)}{',' if self.is_list else ''} = {call}"


def lines(calls: Sequence[Call], wanted: set[str], name: Callable[[Any], str]) -> list[str]:
    """Lines of Python for `calls`, of whose results those in `wanted` are asked for. The calls are of no use then."""
    return _freeing(_copying_less(_needed(calls, wanted)), wanted, name)


def _needed(calls: Sequence[Call], wanted: set[str]) -> list[Call]:
    """Without the calls whose results nobody uses."""
    used, needed = set(wanted), []
    for call in reversed(calls):
        if call.matters or used & set(call.results):
            used |= call.used
            needed.append(call)
    return needed[::-1]


def _copying_less(calls: Sequence[Call]) -> list[Call]:
    """What is computed only to be copied to a place is computed there; if to several, to the first of them."""
    makers = {name: call for call in calls for name in call.results}
    uses = Counter(name for call in calls for name in call.used)
    for copying in [call for call in calls if call.copies]:
        for to, name in list(copying.copies.items()):
            # Nobody reads or writes the place but this copy, so it may be filled earlier.
            if name in makers and makers[name].function in INTO and uses[to] == 1:
                maker = makers.pop(name)
                maker.function = INTO[maker.function]
                maker.arguments.append(f"out={to}")
                maker.used.add(to)
                del copying.copies[to]
        copying.arguments = [f"[{', '.join(copying.copies)}]", f"[{', '.join(copying.copies.values())}]"]
        copying.used = {*copying.copies, *copying.copies.values()}
    return [call for call in calls if call.function is not COPY or call.copies]


def _freeing(calls: Sequence[Call], wanted: set[str], name_of: Callable[[Any], str]) -> list[str]:
    """Lines that forget a tensor after its last use, as the computation itself did."""
    last = {name: number for number, call in enumerate(calls) for name in (*call.used, *call.results)}
    done: dict[int, list[str]] = {}
    for name, number in last.items():
        if name.startswith("t") and name not in wanted:
            done.setdefault(number, []).append(name)
    found: list[str] = []
    for number, call in enumerate(calls):
        found.append(call.text(name_of))
        if number in done:
            found.append(f"del {', '.join(sorted(done[number]))}")
    return found
