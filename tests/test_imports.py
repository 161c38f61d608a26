"""The house keeps its order: imports run one way, every file says what it is, and what is promised is there."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from importlinter import configuration
from importlinter.application import use_cases

import optrun

ROOT = Path(__file__).parent.parent
FILES = sorted(ROOT.glob("optrun/**/*.py"))
CONTRACT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = [dotted(path) for path in FILES if path.stem != "__main__"]


def test_imports_run_downward_only(capsys: pytest.CaptureFixture[str]) -> None:
    configuration.configure()
    kept = use_cases.lint_imports(str(ROOT / "pyproject.toml"), cache_dir=None)
    assert kept, capsys.readouterr().out


def test_every_room_has_its_floor() -> None:
    rooms = {f"optrun.{path.stem}" for path in ROOT.glob("optrun/*") if (path / "__init__.py").exists()}
    rooms |= {dotted(path) for path in ROOT.glob("optrun/*.py") if not path.stem.startswith("__")}
    assert {room.strip() for floor in CONTRACT["layers"] for room in floor.split("|")} == rooms


def test_what_optrun_promises_is_there() -> None:
    assert sorted(optrun.__all__) == list(optrun.__all__)
    for name in optrun.__all__:
        assert getattr(optrun, name) is not None
        assert name in dir(optrun)
    with pytest.raises(AttributeError, match="module 'optrun' has no attribute 'trian'"):
        optrun.trian  # noqa: B018


@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_promises_is_there(module: str) -> None:
    imported = importlib.import_module(module)
    for name in getattr(imported, "__all__", []):
        assert hasattr(imported, name), name


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_every_file_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert docstring.split("\n\n")[0].rstrip().endswith((".", ":")), docstring


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_no_file_uses_what_another_keeps_for_itself(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("optrun."):
            promised = getattr(importlib.import_module(str(node.module)), "__all__", None)
            for alias in node.names if promised is not None else []:
                name = f"{node.module}.{alias.name}"
                assert alias.name in promised or name in MODULES, name


def test_modules_can_be_imported_in_any_order() -> None:
    """Each alone, first: no import works only because another came before it."""
    program = "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name)"
    light = [module for module in MODULES if module.split(".")[1:2] in (["config"], ["runs"], ["errors"])]
    for module in light:
        subprocess.run([sys.executable, "-c", program, module], check=True)
