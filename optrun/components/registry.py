"""The registries: every name a configuration may use, where it comes from, and what it can be told.

Three sources, found by looking and never listed by hand:
  * built in: the functions in `__all__` of the modules beside this one, and the classes of the installed torch and
    torchvision, read from their sources so that knowing a name costs no import;
  * registered: `@optrun.models.register` in a user's own file (`--import`) or in an installed package that declares an
    entry point in the group `optrun.models`;
  * prefixed: `pytorch_optimizer.Lion`, from a fixed list of packages.
A configuration can choose among these names only: it can never name code to import.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from optrun.components.signatures import Definition, Imported, Signature, classes_below, exported
from optrun.components.torchvision_catalog import model_definitions, transform_definitions
from optrun.errors import UsageError

__all__ = [
    "KINDS",
    "Component",
    "Registry",
    "UnknownName",
    "datasets",
    "functions",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "schedulers",
    "transforms",
]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Component:
    """One name of a registry. `origin` says whose it is: torch.optim, optrun, torchvision, a file's name, …"""

    kind: str
    name: str
    origin: str
    definition: Definition
    handed: tuple[str, ...] = ()

    @functools.cached_property
    def signature(self) -> Signature:
        """What it is called with; `settings` are what a configuration may set."""
        return self.definition.signature().without(*self.handed)

    @functools.cached_property
    def doc(self) -> str:
        return self.definition.doc()

    @functools.cached_property
    def summary(self) -> str:
        """The first sentence of its docstring."""
        prose = re.split(r"\n\s*(?:\.\. |Args|Example|>>>|$)", self.doc.strip())[0]
        prose = re.sub(r":\w+:`~?([^`]*)`", r"\1", " ".join(prose.split())).replace("``", "")
        return re.split(r"(?<=[\w)`]\.)(?<!i\.e\.)(?<!e\.g\.) ", prose)[0]

    def load(self) -> Callable[..., Any]:
        """The real class or function; this is where torch gets imported."""
        return self.definition.load()


class UnknownName(UsageError):
    """A registry has no such name; `near` are the ones that look like it."""

    def __init__(self, registry: Registry, name: str) -> None:
        self.near = near(name, registry.names())
        hint = (
            f"did you mean {' or '.join(self.near)}?" if self.near else f"`optrun components {registry.kind}` lists all"
        )
        super().__init__(f"there is no {registry.singular} {name!r}; {hint}")


class Registry:
    """The names of one kind of component. Lookup does not regard case; registering a taken name is an error."""

    def __init__(
        self,
        kind: str,
        singular: str,
        builtin: Callable[[], Iterable[Component]],
        prefixes: Mapping[str, str] | None = None,
    ) -> None:
        self.kind, self.singular = kind, singular
        self.prefixes = dict(prefixes or {})
        self._find_builtin = builtin
        self._registered: dict[str, Component] = {}

    def register(self, function: F | None = None, **attributes: Any) -> Any:
        """Decorator: make `function` known by its own name. Before its `*` stands what optrun hands in (models: the
        data; optimizers: the parameters; schedulers: the optimizer), after it what a configuration may set.

        `attributes` are set on the function: a metric's `mode` ("min" or "max") and `tasks`. Raises ValueError when
        the name is taken by another function.
        """
        if function is None:
            return functools.partial(self.register, **attributes)
        vars(function).update(attributes)
        name, origin = function.__name__, Path(function.__code__.co_filename).name
        known = self._known().get(name.lower())
        if known is not None and not _same(known, function):
            raise ValueError(f"the {self.singular} name {name!r} is taken by {known.origin}; choose another")
        self._registered[name.lower()] = Component(self.kind, name, origin, Imported(function))
        return function

    def names(self) -> list[str]:
        """Every name, sorted; prefixed packages are not searched."""
        return sorted((component.name for component in {**self._plugins, **self._known()}.values()), key=str.lower)

    def find(self, name: str) -> Component:
        """The component called `name`, whatever its case. Raises UnknownName, with the near names."""
        if "." in name:
            return self._prefixed(name)
        key = name.lower()
        found = self._known().get(key) or self._plugins.get(key)
        if found is None:
            raise UnknownName(self, name)
        return found

    def _known(self) -> dict[str, Component]:
        return {**self._builtin, **self._registered}

    @functools.cached_property
    def _builtin(self) -> dict[str, Component]:
        return {component.name.lower(): component for component in self._find_builtin()}

    @functools.cached_property
    def _plugins(self) -> dict[str, Component]:
        """What installed packages declare as entry points in the group `optrun.<kind>`."""
        points = importlib.metadata.entry_points(group=f"optrun.{self.kind}")
        found = {}
        for point in points:
            origin = point.dist.name if point.dist else point.module
            try:
                function = point.load()
            except Exception as error:
                raise UsageError(f"the package {origin} declares {self.kind} {point.name} and fails: {error}") from error
            found[point.name.lower()] = Component(self.kind, point.name, origin, Imported(function))
        return found

    def _prefixed(self, name: str) -> Component:
        prefix, _, inner = name.partition(".")
        module = self.prefixes.get(prefix)
        if module is None:
            allowed = ", ".join(f"{known}.…" for known in self.prefixes) or "none"
            raise UsageError(f"{name!r} has a prefix that is not known here; known prefixes: {allowed}")
        try:
            package = importlib.import_module(module)
        except ImportError:
            raise UsageError(f"{name!r} needs the package {prefix}; pip install {prefix}") from None
        classes = {key.lower(): key for key in dir(package) if isinstance(getattr(package, key), type)}
        if inner.lower() not in classes:
            hint = near(inner, classes.values())
            raise UsageError(f"{prefix} has no {inner}" + (f"; did you mean {' or '.join(hint)}?" if hint else ""))
        real = classes[inner.lower()]
        return Component(self.kind, f"{prefix}.{real}", prefix, Imported(getattr(package, real)), ("params",))


def near(word: str, known: Iterable[str]) -> list[str]:
    """Up to three of the `known` names that look like `word`, best first."""
    by_lower = {name.lower(): name for name in known}
    return [by_lower[match] for match in difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.7)]


def _same(known: Component, function: Callable[..., Any]) -> bool:
    """Whether a user's file is only being run again."""
    target = known.definition.target if isinstance(known.definition, Imported) else None
    return getattr(target, "__code__", None) == function.__code__


def _own(kind: str) -> Iterable[Component]:
    """The functions in `__all__` of the module of that name beside this one, or of the modules in the folder."""
    folder = Path(__file__).parent / kind
    inside = [f"{kind}.{path.stem}" for path in sorted(folder.glob("[!_]*.py"))]
    for module in inside or [kind]:
        for written in exported(f"optrun.components.{module}"):
            yield Component(kind, written.name, "optrun", written)


def _models() -> Iterable[Component]:
    """optrun's own, and torchvision's classification models."""
    yield from _own("models")
    for name, definition in model_definitions().items():
        yield Component("models", name, "torchvision", definition)


def _transforms() -> Iterable[Component]:
    for name, definition in transform_definitions().items():
        yield Component("transforms", name, "torchvision", definition)


def _optimizers() -> Iterable[Component]:
    for written in classes_below("torch.optim", "Optimizer"):
        yield Component("optimizers", written.name, "torch.optim", written, ("params",))


def _schedulers() -> Iterable[Component]:
    for written in classes_below("torch.optim.lr_scheduler", "LRScheduler"):
        yield Component("schedulers", written.name, "torch.optim.lr_scheduler", written, ("optimizer", "last_epoch"))


def _losses() -> Iterable[Component]:
    """The criteria that take (output, target) and need nothing to be built; `CrossEntropyLoss` is `cross_entropy`."""
    for written in classes_below("torch.nn.modules.loss", "_Loss"):
        forward = written.method("forward")
        pair = forward is not None and len(forward.args.args) == 3
        if written.name.endswith("Loss") and pair and not any(p.required for p in written.signature().settings):
            yield Component("losses", snake_case(written.name.removesuffix("Loss")), "torch.nn", written)


def snake_case(name: str) -> str:
    """`CrossEntropy` → `cross_entropy`, `BCEWithLogits` → `bce_with_logits`, `L1` → `l1`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


models = Registry("models", "model", _models)
datasets = Registry("datasets", "data set", lambda: _own("datasets"))
optimizers = Registry(
    "optimizers",
    "optimizer",
    _optimizers,
    {"pytorch_optimizer": "pytorch_optimizer", "schedulefree": "schedulefree", "timm": "timm.optim"},
)
schedulers = Registry("schedulers", "scheduler", _schedulers)
losses = Registry("losses", "loss", _losses)
metrics = Registry("metrics", "metric", lambda: _own("metrics"))
functions = Registry("functions", "function", lambda: _own("functions"))
transforms = Registry("transforms", "transform", _transforms)

KINDS = {r.kind: r for r in (models, datasets, optimizers, schedulers, losses, metrics, functions, transforms)}
