"""What sweep.yaml holds: a sweep that stands on its own and gives the same trials wherever it is read.

The base and the candidates are as they were written, but for relative paths. Which texts are paths is known from the
specs that were made of them: there they are absolute.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optrun.config.paths import absolute
from optrun.config.spec import Spec
from optrun.config.sweep.grid import Combination, Product
from optrun.config.sweep.keys import Told
from optrun.config.sweep.objective import Objective
from optrun.config.sweep.space import Search
from optrun.config.sweep.trials import Trials

__all__ = ["content"]


def content(
    trials: Trials, told: Told, objective: Objective, good: Iterable[tuple[Combination, Spec]]
) -> dict[str, Any]:
    """The content of sweep.yaml. `good` are the combinations with the specs made of them."""
    folders = (trials.folder, trials.base.folder)
    base: Any = {"name": trials.base.stem, **trials.base.document.data}
    candidates: dict[int, Any] = {}
    for combination, spec in good:
        resolved = spec.resolved()
        base = _with_paths(base, resolved, folders)
        for chosen in combination.values():
            value = _with_paths(chosen.given.data, _at(resolved, chosen.parts), folders)
            candidates.setdefault(id(chosen), value)

    def listed(axes: Product) -> dict[str, list[Any]]:
        return {key: [candidates[id(candidate)] for candidate in axis.candidates] for key, axis in axes.items()}

    written: dict[str, Any] = {"name": told.name, "base": base}
    if told.seeds:
        written["seeds"] = list(told.seeds)
    if told.search:
        written["search"] = _searched(told.search, listed(told.space))
    elif any(told.products) or len(told.products) > 1:
        grid = [listed(product) for product in told.products]
        written["grid"] = grid[0] if len(grid) == 1 else grid
    written["objective"] = vars(objective)
    if told.prune:
        written["prune"] = vars(told.prune)
    return written | {key: value for key, value in (("notes", told.notes), ("tags", list(told.tags))) if value}


def _searched(search: Search, values: Mapping[str, list[Any]]) -> dict[str, Any]:
    """The search as it is written, with these bounds and choices."""
    space = {key: {space.kind: values[key]} for key, space in search.space.items()}
    return {**vars(search), "space": space}


def _with_paths(value: Any, resolved: Any, folders: Sequence[Path]) -> Any:
    """The value, with absolute paths where what was made of it has them and it has not."""
    if isinstance(value, str) and isinstance(resolved, str) and value != resolved:
        return resolved if any(absolute(folder, value) == resolved for folder in folders) else value
    if isinstance(value, Mapping) and isinstance(resolved, Mapping):
        return {key: _with_paths(item, resolved.get(key), folders) for key, item in value.items()}
    if isinstance(value, list) and isinstance(resolved, list) and len(value) == len(resolved):
        return [_with_paths(*pair, folders) for pair in zip(value, resolved)]
    return value


def _at(resolved: Any, parts: Sequence[str]) -> Any:
    """What stands at the key in a resolved config; None if nothing does."""
    for part in parts:
        if isinstance(resolved, Mapping):
            resolved = resolved.get(part)
        elif isinstance(resolved, list) and part.isdecimal() and int(part) < len(resolved):
            resolved = resolved[int(part)]
        else:
            return None
    return resolved
