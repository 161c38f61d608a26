"""Signatures and docstrings, read from a module's source instead of by importing it.

The signature is the schema: what a configuration may set, of which type and with which default, is what the class or
function itself says. Reading it from the source keeps torch (seconds to import) out of every command that only has to
know what exists. Code that is already imported, such as a user's own file, is read by `inspect` into the same form.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

__all__ = ["REQUIRED", "Definition", "Imported", "Parameter", "Signature", "Written", "exported", "parsed"]


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED: Any = _Required()


@dataclass(frozen=True)
class Parameter:
    """One setting: its name, its annotation as source text ("" when it has none) and its default or `REQUIRED`."""

    name: str
    annotation: str = ""
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


@dataclass(frozen=True)
class Signature:
    """What a component is called with: `handed` by the engine, `settings` by the configuration."""

    handed: tuple[str, ...]
    settings: tuple[Parameter, ...]
    takes_any: bool = False

    def without(self, *names: str) -> Signature:
        """The same signature after the engine has taken `names` for itself."""
        kept = tuple(parameter for parameter in self.settings if parameter.name not in names)
        return replace(self, handed=(*self.handed, *names), settings=kept)

    def names(self) -> list[str]:
        return [parameter.name for parameter in self.settings]


class Definition(Protocol):
    """A function or class that can be described without being called."""

    def signature(self) -> Signature: ...
    def doc(self) -> str: ...
    def load(self) -> Callable[..., Any]: ...


@dataclass(frozen=True)
class Imported:
    """A definition that is already a live object: a user's own function, a class of an imported package."""

    target: Callable[..., Any]

    def signature(self) -> Signature:
        parameters = [p for p in inspect.signature(self.target).parameters.values() if p.name != "self"]
        keywords_only = inspect.isfunction(self.target)
        handed, settings = [], []
        for p in parameters:
            if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
                continue
            if keywords_only and p.kind is not p.KEYWORD_ONLY:
                handed.append(p.name)
                continue
            annotation = "" if p.annotation is p.empty else _text(p.annotation)
            settings.append(Parameter(p.name, annotation, REQUIRED if p.default is p.empty else p.default))
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        return Signature(tuple(handed), tuple(settings), takes_any)

    def doc(self) -> str:
        return inspect.getdoc(self.target) or ""

    def load(self) -> Callable[..., Any]:
        return self.target


@dataclass(frozen=True)
class Written:
    """A definition as it stands in the source of `module` (dotted), found without importing it."""

    module: str
    name: str

    def signature(self) -> Signature:
        node = self.node()
        if isinstance(node, ast.ClassDef):
            initializer = self.method("__init__")
            return self._signature_of(initializer, everything=True) if initializer else Signature((), ())
        return self._signature_of(node, everything=False)

    def doc(self) -> str:
        return self._appended_doc() or ast.get_docstring(self.node()) or ""

    def load(self) -> Callable[..., Any]:
        return getattr(importlib.import_module(self.module), self.name)

    def node(self) -> ast.ClassDef | ast.FunctionDef:
        return self.home().nodes[self.name]

    def home(self) -> SourceModule:
        """The module that holds the definition itself, past any re-export."""
        return _home(self.module, self.name)

    def ancestors(self) -> Iterator[Written]:
        """The class and its bases, as far as their sources can be followed."""
        yield self
        node, home = self.node(), self.home()
        for base in node.bases if isinstance(node, ast.ClassDef) else []:
            try:
                parent = Written(home.name, ast.unparse(base))
                parent.node()
            except (KeyError, OSError):
                continue
            yield from parent.ancestors()

    def descends_from(self, base: str) -> bool:
        """Whether it is a class and `base` the name of one above it; no source is read that this does not need."""
        try:
            node, home = self.node(), self.home()
        except (KeyError, FileNotFoundError):
            return False
        bases = [ast.unparse(above) for above in node.bases] if isinstance(node, ast.ClassDef) else []
        return base in bases or any(Written(home.name, above).descends_from(base) for above in bases)

    def method(self, name: str) -> ast.FunctionDef | None:
        for written in self.ancestors():
            node = written.node()
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == name and not _is_overload(item):
                    return item
        return None

    def _signature_of(self, node: ast.FunctionDef, *, everything: bool) -> Signature:
        """Of a function, the keyword-only arguments are settings; of an `__init__` (`everything`), all but `self`."""
        constants = self.home().constants
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + [*arguments.defaults]
        keywords = zip(arguments.kwonlyargs, arguments.kw_defaults)
        settings = [_parameter(arg, default, constants) for arg, default in keywords]
        takes_any = arguments.kwarg is not None
        if not everything:
            return Signature(tuple(arg.arg for arg in positional), tuple(settings), takes_any)
        pairs = [pair for pair in zip(positional, defaults) if pair[0].arg != "self"]
        before = [_parameter(arg, default, constants) for arg, default in pairs]
        return Signature((), (*before, *settings), takes_any)

    def _appended_doc(self) -> str:
        """torch.optim writes `Class.__doc__ = r\"\"\"…\"\"\" + …` below the class: the first text of it."""
        for node in self.home().tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == f"{self.name}.__doc__":
                texts = [part for part in ast.walk(node.value) if isinstance(part, ast.Constant | ast.JoinedStr)]
                first = min(texts, key=lambda part: (part.lineno, part.col_offset))
                parts = first.values if isinstance(first, ast.JoinedStr) else [first]
                return inspect.cleandoc("".join(str(p.value) for p in parts if isinstance(p, ast.Constant)))
        return ""


@dataclass(frozen=True)
class SourceModule:
    """One parsed source file."""

    name: str
    path: Path
    tree: ast.Module

    @functools.cached_property
    def nodes(self) -> dict[str, ast.ClassDef | ast.FunctionDef]:
        found = (n for n in self.tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef))
        return {node.name: node for node in found}

    @functools.cached_property
    def constants(self) -> dict[str, Any]:
        """The module's own constants: numbers and texts that a default may name (`DEFAULT_NS_STEPS = 5`)."""
        found = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.UnaryOp):
                with contextlib.suppress(ValueError):
                    found[ast.unparse(node.targets[0])] = ast.literal_eval(node.value)
        return found

    def exports(self) -> list[str]:
        """The names in `__all__`, or the public definitions where there is none."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return list(ast.literal_eval(node.value))
        return [name for name in self.nodes if not name.startswith("_")]

    def import_of(self, name: str) -> tuple[str, str] | None:
        """(module, name there) from which this module imports `name`."""
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        for node in self.tree.body:
            if not isinstance(node, ast.ImportFrom):
                continue
            origin = node.module or ""
            if node.level:
                base = package.rsplit(".", node.level - 1)[0]
                origin = f"{base}.{origin}" if origin else base
            for alias in node.names:
                if name in (alias.asname, alias.name):
                    return origin, alias.name
        return None


@functools.cache
def parsed(module: str) -> SourceModule:
    """The source of a dotted module name, parsed; no parent package is imported. Raises FileNotFoundError."""
    root, *inner = module.split(".")
    spec = importlib.util.find_spec(root)
    if spec is None or not spec.origin:
        raise FileNotFoundError(f"no package {root} is installed")
    path = Path(spec.origin).parent.joinpath(*inner)
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return SourceModule(module, path, ast.parse(path.read_text(encoding="utf-8")))


def exported(module: str) -> list[Written]:
    """What a module says it exports (`__all__`), without the re-exported modules and constants."""
    written = []
    for name in parsed(module).exports():
        try:
            _home(module, name)
        except (KeyError, FileNotFoundError):
            continue
        written.append(Written(module, name))
    return written


def _home(module: str, name: str) -> SourceModule:
    source = parsed(module)
    if name in source.nodes:
        return source
    origin = source.import_of(name)
    if origin is None or origin == (module, name):
        raise KeyError(name)
    return _home(*origin)


def _parameter(arg: ast.arg, default: ast.expr | None, constants: Mapping[str, Any]) -> Parameter:
    annotation = ast.unparse(arg.annotation) if arg.annotation else ""
    if isinstance(arg.annotation, ast.Constant) and isinstance(arg.annotation.value, str):
        annotation = arg.annotation.value
    return Parameter(arg.arg, annotation, REQUIRED if default is None else _value(default, constants))


def _value(node: ast.expr, constants: Mapping[str, Any]) -> Any:
    """The value of a default such as `1e-3`, `(0.9, 0.999)` or `1.0 / 3`; its text when it is no plain constant."""
    if isinstance(node, ast.Name) and node.id in constants:
        return constants[node.id]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item, constants) for item in node.elts)
    if any(isinstance(part, ast.Call | ast.Attribute | ast.Name) for part in ast.walk(node)):
        return ast.unparse(node)
    return eval(compile(ast.Expression(node), "<default>", "eval"), {"__builtins__": {}})  # constants only, see above


def _text(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _is_overload(node: ast.FunctionDef) -> bool:
    return any("overload" in ast.unparse(decorator) for decorator in node.decorator_list)
