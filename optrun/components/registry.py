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

import functools
import importlib
import importlib.metadata
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from optrun.components.naming import either, near, shortened, snake_case
from optrun.components.signatures import Definition, Imported, Signature, Written, exported, parsed
from optrun.components.torchvision_catalog import TorchvisionModel, model_candidates, transform_candidates
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
        return re.split(r"(?<=[\w)`]\.)(?<!i\.e\.)(?<!e\.g\.) ", prose)[0] or f"Without a description in {self.origin}."

    def load(self) -> Callable[..., Any]:
        """The real class or function; this is where torch gets imported."""
        return self.definition.load()


class UnknownName(UsageError):
    """A registry has no such name; `near` are the ones that look like it."""

    def __init__(self, registry: Registry, name: str) -> None:
        self.near = registry.near(name)
        hint = f"did you mean {either(self.near)}?" if self.near else f"`optrun components {registry.kind}` lists all"
        super().__init__(f"there is no {registry.singular} {shortened(name)!r}; {hint}")


class Registry:
    """The names of one kind of component. Lookup does not regard case; registering a taken name is an error.

    `candidates` gives what may be built in, by name only; whether one `fits` takes reading its source, and is asked
    of no more of them than it must be.
    """

    def __init__(
        self,
        kind: str,
        singular: str,
        candidates: Callable[[], Iterable[Component]],
        fits: Callable[[Any], bool] = lambda definition: True,
        prefixes: Mapping[str, str] | None = None,
    ) -> None:
        self.kind, self.singular = kind, singular
        self.prefixes = dict(prefixes or {})
        self._find_candidates, self._fits = candidates, fits
        self._registered: dict[str, Component] = {}
        self._verdicts: dict[str, bool] = {}  # of `fits`, by name

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
        known = self._registered.get(name.lower()) or self._built_in(name.lower())
        if known is not None and not _same(known, function):
            raise ValueError(f"the {self.singular} name {name!r} is taken by {known.origin}; choose another")
        self._registered[name.lower()] = Component(self.kind, name, origin, Imported(function))
        return function

    def names(self) -> list[str]:
        """Every name, sorted; prefixed packages are not searched."""
        found = (self._find(key) for key in {**self._plugins, **self._candidates, **self._registered})
        return sorted((component.name for component in found if component), key=str.lower)

    def find(self, name: str) -> Component:
        """The component called `name`, whatever its case. Raises UnknownName, with the near names."""
        if "." in name and self.prefixes:
            return self._prefixed(name)
        found = self._find(name.lower())
        if found is None:
            raise UnknownName(self, name)
        return found

    def near(self, name: str) -> list[str]:
        """Up to three names that look like `name`, best first."""
        alike = near(name, {**self._plugins, **self._candidates, **self._registered}, most=9)
        return [component.name for component in map(self._find, alike) if component][:3]

    def forget(self, file: str) -> None:
        """Take out what that Python file has registered."""
        for key, component in list(self._registered.items()):
            if file in _files([component]):
                del self._registered[key]

    def registered_in(self) -> set[str]:
        """The Python files of what was registered in this process, be it by `--import` or by the caller."""
        return _files(self._registered.values())

    def files(self) -> set[str]:
        """The Python files of what users and installed packages have registered."""
        return _files([*self._registered.values(), *self._plugins.values()])

    def _find(self, key: str) -> Component | None:
        return self._registered.get(key) or self._built_in(key) or self._plugins.get(key)

    def _built_in(self, key: str) -> Component | None:
        candidate = self._candidates.get(key)
        if candidate and key not in self._verdicts:
            self._verdicts[key] = self._fits(candidate.definition)
        return candidate if candidate and self._verdicts[key] else None

    @functools.cached_property
    def _candidates(self) -> dict[str, Component]:
        return {component.name.lower(): component for component in self._find_candidates()}

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
                raise UsageError(
                    f"the package {origin} declares {self.kind} {point.name} and fails: {error}"
                ) from error
            found[point.name.lower()] = Component(self.kind, point.name, origin, Imported(function))
        return found

    def _prefixed(self, name: str) -> Component:
        prefix, _, inner = name.partition(".")
        module = self.prefixes.get(prefix)
        if module is None:
            allowed = ", ".join(f"{known}.…" for known in self.prefixes)
            raise UsageError(f"{shortened(name)!r} has a prefix that is not known here; known prefixes: {allowed}")
        try:
            package = importlib.import_module(module)
        except ImportError:
            raise UsageError(f"{shortened(name)!r} needs the package {prefix}; pip install {prefix}") from None
        classes = {key.lower(): key for key in dir(package) if _is_optimizer(getattr(package, key))}
        if inner.lower() not in classes:
            hint = near(inner, classes.values())
            raise UsageError(
                f"{prefix} has no {shortened(inner)}" + (f"; did you mean {either(hint)}?" if hint else "")
            )
        real = classes[inner.lower()]
        return Component(self.kind, f"{prefix}.{real}", prefix, Imported(getattr(package, real)), ("params",))


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, type) and any(base.__name__ == "Optimizer" for base in value.__mro__[1:])


def _files(components: Iterable[Component]) -> set[str]:
    codes = [getattr(getattr(component.definition, "target", None), "__code__", None) for component in components]
    return {code.co_filename for code in codes if code}


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
    for written in model_candidates():
        yield Component("models", written.name, "torchvision", written)


def _is_model(written: Written) -> bool:
    return not isinstance(written, TorchvisionModel) or written.is_registered()


def _transforms() -> Iterable[Component]:
    for written in transform_candidates():
        yield Component("transforms", written.name, "torchvision", written)


def _optimizers() -> Iterable[Component]:
    for name in parsed("torch.optim").exports():
        yield Component("optimizers", name, "torch.optim", Written("torch.optim", name), ("params",))


def _schedulers() -> Iterable[Component]:
    module = "torch.optim.lr_scheduler"
    for name in parsed(module).exports():
        yield Component("schedulers", name, module, Written(module, name), ("optimizer", "last_epoch"))


def _losses() -> Iterable[Component]:
    """torch's criteria: `CrossEntropyLoss` is `cross_entropy`."""
    module = "torch.nn.modules.loss"
    for name in parsed(module).exports():
        if name.endswith("Loss"):
            yield Component("losses", snake_case(name.removesuffix("Loss")), "torch.nn", Written(module, name))


def _is_loss(written: Written) -> bool:
    """Whether the criterion takes (output, target) and needs nothing to be built."""
    forward = written.method("forward") if written.descends_from("_Loss") else None
    pair = forward is not None and len(forward.args.args) == 3
    return pair and not any(parameter.required for parameter in written.signature().settings)


models = Registry("models", "model", _models, _is_model)
datasets = Registry("datasets", "data set", lambda: _own("datasets"))
optimizers = Registry(
    "optimizers",
    "optimizer",
    _optimizers,
    lambda written: written.descends_from("Optimizer"),
    {"pytorch_optimizer": "pytorch_optimizer", "schedulefree": "schedulefree", "timm": "timm.optim"},
)
schedulers = Registry("schedulers", "scheduler", _schedulers, lambda written: written.descends_from("LRScheduler"))
losses = Registry("losses", "loss", _losses, _is_loss)
metrics = Registry("metrics", "metric", lambda: _own("metrics"))
functions = Registry("functions", "function", lambda: _own("functions"))
transforms = Registry("transforms", "transform", _transforms, lambda written: written.descends_from("Transform"))

KINDS = {r.kind: r for r in (models, datasets, optimizers, schedulers, losses, metrics, functions, transforms)}
