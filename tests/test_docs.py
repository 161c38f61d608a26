"""Documentation that cannot rot: what it names exists, what exists is named, and help pages are the real ones."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import optrun
import optrun.cli.app as application
from docs.help_pages import COMMANDS, PAGE, help_page
from optrun.config.spec import Spec

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("configs/*.md")])
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in ROOT.glob("optrun/**/*.py")
    if not path.stem.startswith("__")
)
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
}
AS_PINNED = all(importlib.metadata.version(name) == PINS[canonicalize_name(name)] for name in ("typer", "rich"))


@pytest.mark.parametrize("command", application.COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert f"\n## {command}\n" in COMMANDS.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", application.COMMANDS)
def test_every_command_and_every_argument_has_help(command: str) -> None:
    found = application.command().commands[command]
    assert (found.help or "").partition("\n")[0] == application.COMMANDS[command]
    for parameter in found.params:  # type: ignore[attr-defined]
        assert parameter.help, f"{command} {parameter.name}"


@pytest.mark.skipif(not AS_PINNED, reason="help pages look different with other versions of typer and rich")
@pytest.mark.parametrize("command", ["", *application.COMMANDS])
def test_help_pages_are_the_real_ones(command: str) -> None:
    pages = {page["command"]: page[0] for page in PAGE.finditer(COMMANDS.read_text(encoding="utf-8"))}
    assert pages[command] == help_page(command), "python docs/help_pages.py writes them anew"


@pytest.mark.parametrize("key", Spec.model_fields)
def test_every_key_of_a_config_is_documented(key: str) -> None:
    table = (ROOT / "docs" / "config.md").read_text(encoding="utf-8").partition("## All keys")[2]
    assert re.search(rf"^\|[^|]*`{key}`[^|]*\|", table, re.MULTILINE)


def test_the_commands_of_the_readme_are_those_of_ci() -> None:
    readme, ci = ((ROOT / path).read_text(encoding="utf-8") for path in ("README.md", ".ci/run"))
    assert re.findall(r"^\./dev \w+$", ci, re.MULTILINE) == ["./dev setup", "./dev check"]
    assert "\n./dev setup && ./dev check\n" in readme
    assert ".venv/bin/pip install -c constraints.txt . && .venv/bin/optrun train configs/quickstart.yaml" in readme


def test_the_config_in_the_readme_is_the_quick_start() -> None:
    shown = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert shown
    quickstart = (ROOT / "configs" / "quickstart.yaml").read_text(encoding="utf-8")
    lines = (re.sub(r"\s*#.*", "", line) for line in quickstart.splitlines())
    assert shown[1].splitlines() == [line for line in lines if line and line != "seed: 0"]


def test_the_changelog_names_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(optrun.__version__)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in ROOT.glob("optrun/*/__init__.py")}
    assert {room for room in rooms if f"\n  {room}/ " not in text} == set()
    files = re.findall(r"`((?:\w+/)+\w+\.py)`", text)
    assert files
    assert [file for file in files if not (ROOT / file).exists() and not (ROOT / "optrun" / file).exists()] == []


def test_everything_public_can_be_had() -> None:
    """`optrun.__all__` is complete: sorted, importable, and what the lazy table and the type checker's imports name."""
    assert sorted(optrun.__all__) == optrun.__all__
    assert sorted(name for names in optrun._HOME.values() for name in names) == optrun.__all__
    for name in optrun.__all__:
        assert getattr(optrun, name) is not None
    with pytest.raises(AttributeError):
        _ = optrun.nothing


@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_exports_exists(module: str) -> None:
    imported = importlib.import_module(module)
    assert [name for name in getattr(imported, "__all__", []) if not hasattr(imported, name)] == []


def test_every_dependency_is_pinned_to_a_version_in_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in project["dependencies"] + project["optional-dependencies"]["dev"]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)]), line
