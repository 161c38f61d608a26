"""What the installed torchvision offers a configuration: its classification models and its transforms.

Everything is read from torchvision's source, so that knowing a name and its settings imports neither it nor torch.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optrun.components.choice import Choice
from optrun.components.signatures import Parameter, Signature, Written, parsed

__all__ = [
    "TorchvisionModel",
    "TorchvisionTransform",
    "is_random",
    "model_candidates",
    "model_definitions",
    "transform_candidates",
    "transform_definitions",
]


@functools.cache
def model_definitions() -> dict[str, TorchvisionModel]:
    """Every function that torchvision registers as a classification model, by its name."""
    return {written.name: written for written in model_candidates() if written.is_registered()}


def model_candidates() -> Iterator[TorchvisionModel]:
    """The functions that could be among them, by their first lines alone: parsing all files takes a quarter second."""
    folder = Path(parsed("torchvision.models").path).parent
    for path in sorted(folder.glob("[!_]*.py")):
        for name in re.findall(r"^def ([a-z]\w*)\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            yield TorchvisionModel(f"torchvision.models.{path.stem}", name)


@dataclass(frozen=True)
class TorchvisionModel(Written):
    """A function such as `resnet18`: its settings are the keyword arguments of the class it builds."""

    def is_registered(self) -> bool:
        """Whether torchvision's own decorator makes it a classification model."""
        return any(ast.unparse(decorator).startswith("register_model") for decorator in self.node().decorator_list)

    def signature(self) -> Signature:
        own = (
            Parameter("small_images", "bool", False),
            Parameter("weights", "str | None", None),
        )
        return Signature(("data",), (*self._of_the_class(), *own))

    def load(self) -> Callable[..., Any]:
        from optrun.components.torchvision_models import build

        return functools.partial(build, self.name)

    def _of_the_class(self) -> list[Parameter]:
        """What the function passes on by `**kwargs`: plain values that it does not set itself."""
        function, main = parsed(self.module).nodes[self.name], self._main_class()
        taken, defaults = self._set_on_the_way(function, main)
        parameters = Written(self.module, main).signature().settings
        kept = [replace(p, default=defaults.get(p.name, p.default)) for p in parameters if p.name not in taken]
        return [p for p in kept if not p.required and "Callable" not in p.annotation and "Config" not in p.annotation]

    def _main_class(self) -> str:
        """The class of this module that the function, or the helper it calls, builds."""
        reached = {part.id for node in self._way() for part in ast.walk(node) if isinstance(part, ast.Name)}
        for name, node in parsed(self.module).nodes.items():
            if isinstance(node, ast.ClassDef) and name in reached and _takes_num_classes(node):
                return name
        raise LookupError(f"{self.module}.{self.name} builds no class that takes num_classes")

    def _way(self) -> list[ast.ClassDef | ast.FunctionDef]:
        """The function and the functions of its module that it calls."""
        nodes = parsed(self.module).nodes
        function = nodes[self.name]
        called = {ast.unparse(part.func) for part in ast.walk(function) if isinstance(part, ast.Call)}
        return [function, *(nodes[name] for name in called if name in nodes)]

    def _set_on_the_way(self, function: ast.AST, main: str) -> tuple[set[str], dict[str, Any]]:
        """Names of class arguments the way sets for itself, and the defaults it gives those it lets through."""
        taken, defaults = set(_HANDED), {}
        names = [p.name for p in Written(self.module, main).signature().settings]
        for node in self._way():
            for call in (part for part in ast.walk(node) if isinstance(part, ast.Call)):
                called, texts = ast.unparse(call.func), [ast.unparse(argument) for argument in call.args]
                if called == main:
                    given = {keyword.arg for keyword in call.keywords if keyword.arg}
                    taken |= set(names[: sum("*" not in text for text in texts)]) | given
                elif called == "_ovewrite_named_param" and node is function:
                    taken.add(ast.literal_eval(call.args[1]))
                elif called == "kwargs.pop" and len(call.args) == 2 and _is_constant(call.args[1]):
                    defaults[ast.literal_eval(call.args[0])] = ast.literal_eval(call.args[1])
        return taken - (set(defaults) - set(_HANDED)), defaults


_HANDED = (
    "num_classes",
    "image_size",
    "input_size",
    "aux_logits",
    "dropout_aux",
)  # decided by the data, or by how optrun trains


def _takes_num_classes(node: ast.ClassDef) -> bool:
    methods = (item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__")
    return any(argument.arg == "num_classes" for method in methods for argument in method.args.args)


def _is_constant(node: ast.AST) -> bool:
    try:
        ast.literal_eval(ast.unparse(node))
    except ValueError:
        return False
    return True


# Transforms -----------------------------------------------------------------------------------------------------------

_DETERMINISTIC = {
    "CenterCrop", "Compose", "ConvertImageDtype", "Grayscale", "Identity", "LinearTransformation", "Normalize", "Pad",
    "PILToTensor", "RGB", "Resize", "ToDtype", "ToImage", "ToPILImage", "ToPureTensor", "ToTensor",
}  # fmt: skip

_NOT_FOR_IMAGES = {
    "ClampBoundingBoxes", "ClampKeyPoints", "ConvertBoundingBoxFormat", "RandomIoUCrop", "SanitizeBoundingBoxes",
    "SanitizeKeyPoints", "SetClampingMode", "UniformTemporalSubsample",  # boxes, key points, videos
    "FiveCrop", "TenCrop",  # several images out of one
    "Lambda",  # code, which a configuration cannot name
}  # fmt: skip

_BY_NAME = {
    "dtype": ("float32", "float64", "uint8"),
    "interpolation": ("nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos"),
    "policy": ("imagenet", "cifar10", "svhn"),
}
"""Settings that torchvision wants as a torch.dtype or an enum's member: the names that stand for them."""

_TENSORS = {"transformation_matrix": "list[list[float]]", "mean_vector": "list[float]"}


@functools.cache
def transform_definitions() -> dict[str, TorchvisionTransform]:
    """The classes of `torchvision.transforms.v2` that turn one image into one image, by name; also MixUp and CutMix."""
    return {written.name: written for written in transform_candidates() if written.descends_from("Transform")}


def transform_candidates() -> list[TorchvisionTransform]:
    """The classes that could be among them, by name."""
    module = "torchvision.transforms.v2"
    imports = [node for node in parsed(module).tree.body if isinstance(node, ast.ImportFrom) and node.level]
    names = {alias.name for node in imports for alias in node.names if alias.name[0].isupper()}
    return [TorchvisionTransform(module, name) for name in sorted(names - {"Transform"} - _NOT_FOR_IMAGES)]


def is_random(choice: Choice) -> bool:
    """Whether a transform may give another image for the same one. A registered transform counts as random, unless
    its function has the attribute `deterministic = True`."""
    if choice.name not in transform_definitions():
        from optrun.components.registry import transforms

        return not getattr(transforms.find(choice.name).load(), "deterministic", False)
    inner = [item for value in choice.settings.values() if isinstance(value, list | tuple) for item in value]
    return choice.name not in _DETERMINISTIC or any(is_random(item) for item in inner if isinstance(item, Choice))


@dataclass(frozen=True)
class TorchvisionTransform(Written):
    """A transform class; where it wants an enum or a torch.dtype, a configuration gives the name."""

    def signature(self) -> Signature:
        settings = super().signature().settings
        kept = tuple(_as_configured(p) for p in settings if p.name not in ("labels_getter", "inplace"))
        return Signature((), kept)

    def load(self) -> Callable[..., Any]:
        from optrun.components.torchvision_import import import_torchvision

        import_torchvision()
        return functools.partial(_build, super().load())


def _as_configured(parameter: Parameter) -> Parameter:
    """The parameter as a configuration writes it: `InterpolationMode.BILINEAR` is "bilinear"."""
    if parameter.name in _BY_NAME:
        default = parameter.default if parameter.required else str(parameter.default).rpartition(".")[2].lower()
        return replace(parameter, annotation=f"Literal{list(_BY_NAME[parameter.name])}", default=default)
    return replace(parameter, annotation=_TENSORS.get(parameter.name, parameter.annotation))


def _build(transform: Callable[..., Any], **settings: Any) -> Any:
    return transform(**{key: _as_torchvision(key, value) for key, value in settings.items()})


def _as_torchvision(key: str, value: Any) -> Any:
    import torch
    from torchvision.transforms import AutoAugmentPolicy, InterpolationMode

    if key == "dtype":
        return getattr(torch, value)
    if key in _BY_NAME:
        return (AutoAugmentPolicy if key == "policy" else InterpolationMode)(value)
    return torch.tensor(value) if key in _TENSORS else value
