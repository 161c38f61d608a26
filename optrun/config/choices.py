"""From what a configuration says of a component to a checked `Choice`, with every problem found on the way.

The settings, their types and their defaults are those of the signature behind the name; optrun adds only the keys it
keeps for itself in each kind of mapping, which stand in `RESERVED`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from optrun.components.choice import Choice, DatasetChoice, OptimizerChoice, SchedulerChoice
from optrun.components.naming import either, near
from optrun.components.registry import KINDS, Component, Registry
from optrun.components.schedulers import HORIZONS
from optrun.components.signatures import Parameter
from optrun.config.document import Document, KeyPath, dotted
from optrun.config.paths import absolute
from optrun.config.types import expected, failed, fit, item_kind, setting_type, shown
from optrun.errors import Problem, UsageError

__all__ = ["RESERVED", "ChoiceReader"]

_Fraction = Annotated[float, Field(gt=0, lt=1)]
_Count = Annotated[int, Field(ge=1)]
_Natural = Annotated[int, Field(ge=0)]
_Processes = Annotated[int, Field(ge=0, le=256)]

RESERVED: dict[str, dict[str, tuple[Any, str]]] = {
    "optimizers": {
        "param_groups": (list[dict[str, Any]], "values for some parameters: [{match: PATTERN, setting: value}, …]"),
        "fallback": (dict[str, Any], "the optimizer of the parameters this one cannot take (Muon, SparseAdam)"),
    },
    "schedulers": {
        "interval": (Literal["step", "epoch"], "when it steps; by default its natural time"),
        "metric": (str, "what ReduceLROnPlateau watches; by default val/loss"),
    },
    "datasets": {
        "batch_size": (_Count, "examples in a micro-batch"),
        "split_seed": (_Natural, "decides the split into parts; the run's seed does not"),
        "val_fraction": (_Fraction, "share of the training part kept for validation; by default 0.2"),
        "test_fraction": (_Fraction, "share kept for a test at the end"),
        "transforms": (list[Any], "torchvision transforms: a list, or {train: […], val: […]}"),
        "workers": (_Processes, "processes that load data which does not fit in memory"),
    },
}
"""Per registry, the keys that are optrun's own: their type and what they mean."""


class ChoiceReader:
    """Reads choices out of one document; what is wrong with them collects in `problems`.

    Relative paths are taken from `folder`, those of another file (by its name in places) from what
    `folders` has for it.
    """

    def __init__(self, document: Document, folder: Path, folders: Mapping[str, Path] | None = None) -> None:
        self.document, self.folder, self.folders = document, folder, folders or {}
        self.problems: list[Problem] = []

    def complain(self, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(*self.document.place(path), dotted(path), message))

    def choice(self, kind: str, value: Any, path: KeyPath) -> Choice | None:
        """A component without keys of optrun's own: a model, a loss, a metric, a named function, a transform."""
        opened = self._open(KINDS[kind], value, path)
        if opened is None:
            return None
        component, given = opened
        return Choice(component.name, self._settings(component, given, path))

    def choices(self, kind: str, value: Any, path: KeyPath) -> tuple[Choice, ...]:
        """A list of components."""
        if not isinstance(value, list):
            self.complain(path, f"must be a list of {kind}, not {shown(value)}; write [{_an_item(value)}]")
            return ()
        read = [self.choice(kind, item, (*path, index)) for index, item in enumerate(value)]
        return tuple(choice for choice in read if choice is not None)

    def optimizer(self, value: Any, path: KeyPath) -> OptimizerChoice | None:
        opened = self._open(KINDS["optimizers"], value, path)
        if opened is None:
            return None
        component, given = opened
        own = self._own("optimizers", given, path)
        fallback = given.get("fallback")
        return OptimizerChoice(
            component.name,
            self._settings(component, given, path),
            tuple(
                self._group(component, group, (*path, "param_groups", i)) for i, group in own.get("param_groups", ())
            ),
            self.optimizer(fallback, (*path, "fallback")) if fallback is not None else None,
        )

    def scheduler(self, value: Any, path: KeyPath) -> SchedulerChoice | None:
        opened = self._open(KINDS["schedulers"], value, path)
        if opened is None:
            return None
        component, given = opened
        own = self._own("schedulers", given, path)
        return SchedulerChoice(component.name, self._settings(component, given, path), **own)

    def dataset(self, value: Any, path: KeyPath) -> DatasetChoice | None:
        opened = self._open(KINDS["datasets"], value, path)
        if opened is None:
            return None
        component, given = opened
        if "batch_size" not in given:
            self.complain(path, "needs batch_size, the number of examples in a batch, such as batch_size: 64")
        own = self._own("datasets", given, path)
        own["transforms"] = self._transforms(given.get("transforms", []), (*path, "transforms"))
        return DatasetChoice(component.name, self._settings(component, given, path), **own)

    def _open(self, registry: Registry, value: Any, path: KeyPath) -> tuple[Component, dict[str, Any]] | None:
        """The component a value names, and the mapping of what is said about it."""
        given = {"name": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping):
            self.complain(path, f"must be NAME or {{name: NAME, …}}, not {shown(value)}")
            return None
        if not isinstance(given.get("name"), str):
            problem = f"must be a text, not {shown(given['name'])}" if "name" in given else "needs a name"
            where = (*path, "name") if "name" in given else path
            self.complain(where, f"{problem}; `optrun components {registry.kind}` lists all")
            return None
        try:
            return registry.find(given["name"]), dict(given)
        except UsageError as unknown:
            self.complain(path if isinstance(value, str) else (*path, "name"), str(unknown))
            return None

    def _settings(self, component: Component, given: Mapping[str, Any], path: KeyPath) -> dict[str, Any]:
        """The given settings, checked against the signature and converted to its types."""
        signature = component.signature
        known = {parameter.name: parameter for parameter in signature.settings}
        reserved = ["name", *RESERVED.get(component.kind, ())]
        settings = {}
        for key, value in given.items():
            if key in known:
                settings[key] = self._value(component, known[key], value, (*path, key))
            elif key not in reserved and not signature.takes_any:
                self.complain((*path, key), _no_such_setting(component, key, [*known, *reserved]))
            elif key not in reserved:
                settings[key] = value
        filled = HORIZONS.get(component.name) if component.kind == "schedulers" else None
        missing = [p.name for p in signature.settings if p.required and p.name not in given and p.name != filled]
        if missing:
            self.complain(path, f"{component.name} needs {' and '.join(missing)}")
        return settings

    def _value(self, component: Component, parameter: Parameter, value: Any, path: KeyPath) -> Any:
        """One setting, as the type its annotation asks for."""
        if "LRScheduler" in parameter.annotation:
            return self._schedulers(value, path)
        if "Callable" in parameter.annotation and value is not None:
            return self._functions("transforms" if component.kind == "transforms" else "functions", value, path)
        kind = setting_type(parameter)
        if component.kind in ("schedulers", "functions") and value == "run" and int in (kind, *get_args(kind)):
            return value
        if failed(value, kind):
            self._complain_of(value, kind, path)
            return None
        value = fit(value, kind)
        is_path = isinstance(value, str) and ("Path" in parameter.annotation or parameter.name in ("root", "path"))
        if not is_path:
            return value
        folder = self.folders.get(self.document.value_place(path).source, self.folder)
        return absolute(folder, value)

    def _complain_of(self, value: Any, kind: Any, path: KeyPath) -> None:
        """Say what `value` must be; of a list with wrong items, what each of these must be."""
        inner = item_kind(kind)
        wrong = [index for index, item in enumerate(value) if failed(item, inner)] if isinstance(value, list) else []
        if inner is None or not wrong:
            self.complain(path, expected(value, kind))
            return
        for index in wrong:
            self.complain((*path, index), expected(value[index], inner))

    def _schedulers(self, value: Any, path: KeyPath) -> list[SchedulerChoice | None]:
        """Schedulers inside a scheduler."""
        if not isinstance(value, list):
            self.complain(path, f"must be a list of schedulers, not {shown(value)}; write [{_an_item(value)}, …]")
            return []
        return [self.scheduler(item, (*path, index)) for index, item in enumerate(value)]

    def _functions(self, kind: str, value: Any, path: KeyPath) -> Any:
        """Named functions for callables, and transforms inside a transform."""
        if isinstance(value, list):
            return [self.choice(kind, item, (*path, index)) for index, item in enumerate(value)]
        return self.choice(kind, value, path)

    def _own(self, kind: str, given: Mapping[str, Any], path: KeyPath) -> dict[str, Any]:
        """The keys optrun keeps for itself, checked; those read elsewhere (fallback, transforms) left out."""
        own: dict[str, Any] = {}
        for key, (wanted, _) in RESERVED[kind].items():
            if key not in given or key in ("fallback", "transforms") or (given[key] is None and key != "batch_size"):
                continue
            if failed(given[key], wanted):
                self.complain((*path, key), expected(given[key], wanted))
            else:
                value = fit(given[key], wanted)
                own[key] = list(enumerate(value)) if key == "param_groups" else value
        return own

    def _group(self, component: Component, group: Mapping[str, Any], path: KeyPath) -> dict[str, Any]:
        """One of the optimizer's param_groups: a `match` and the settings of that group."""
        if not isinstance(group.get("match"), str) or not group["match"]:
            self.complain(path, "needs match: a pattern of parameter names, or bias, norm, embedding or 1d")
        values = {key: value for key, value in group.items() if key != "match"}
        known = {parameter.name: parameter for parameter in component.signature.settings}
        for key in values.keys() - known.keys():
            self.complain((*path, key), _no_such_setting(component, key, [*known, "match"]))
        checked = {k: self._value(component, known[k], v, (*path, k)) for k, v in values.items() if k in known}
        return {"match": group.get("match"), **checked}

    def _transforms(self, value: Any, path: KeyPath) -> tuple[Choice, ...] | dict[str, tuple[Choice, ...]]:
        if not isinstance(value, Mapping):
            return self.choices("transforms", value if value is not None else [], path)
        for key in value.keys() - {"train", "val"}:
            self.complain((*path, key), f"transforms are for train or val (a test part uses val's); remove {key}")
        return {k: self.choices("transforms", v, (*path, k)) for k, v in value.items() if k in ("train", "val")}


def _no_such_setting(component: Component, key: str, known: list[str]) -> str:
    hints = near(key, known)
    names = [name for name in known if name not in ("name", "match")]
    hint = f"did you mean {either(hints)}?" if hints else f"it has {', '.join(names)}" if names else "it has none"
    return f"{component.name} has no such setting; {hint}"


def _an_item(value: Any) -> str:
    """How the value would stand in a list of components."""
    name = value if isinstance(value, str) else value.get("name") if isinstance(value, Mapping) else None
    settings = isinstance(value, Mapping) and len(value) > 1
    word = name if isinstance(name, str) and re.fullmatch(r"[\w.]{1,40}", name) else "NAME"
    return f"{{name: {word}, …}}" if settings else word
