"""Importing torchvision, also beside a torch whose operators its compiled extension cannot use.

torchvision's wheel from PyPI is built for CUDA. Beside a CPU-only torch its extension does not load, and the import
ends in "operator torchvision::nms does not exist", although models, transforms and PIL images need no such operator.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch

from optrun.errors import UsageError

__all__ = ["import_torchvision"]

_declared: list[torch.library.Library] = []  # an operator lives as long as the Library that declared it


def import_torchvision() -> ModuleType:
    """The torchvision package, imported. Raises UsageError when it is not installed or cannot be imported.

    Where the extension cannot load, the operators torchvision describes but nobody defines are declared, without an
    implementation: calling one, such as non-maximum suppression, still fails.
    """
    try:
        return importlib.import_module("torchvision")
    except ImportError:
        raise UsageError("this needs torchvision; pip install torchvision") from None
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise UsageError(f"torchvision cannot be imported beside torch {torch.__version__}: {error}") from error
        _forget_half_imported()
        _declare_missing_operators()
        return importlib.import_module("torchvision")


def _forget_half_imported() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def _declare_missing_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    _declared.append(library)
    for name in _described_operators():
        if not hasattr(torch.ops.torchvision, name):
            # Nobody calls it, so any schema will do that takes and gives a tensor.
            library.define(f"{name}(Tensor input) -> Tensor")


def _described_operators() -> list[str]:
    """The operators for which torchvision's source registers what they do to fake tensors."""
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).with_name("_meta_registrations.py").read_text(encoding="utf-8"))
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("register_fake"):
            names.append(str(ast.literal_eval(node.args[0])).removeprefix("torchvision::"))
    return names
