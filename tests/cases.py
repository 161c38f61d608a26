"""Configs as tables of small differences from one good config, and what optrun says of them.

A table is a text file of blocks:

    # A setting that the class does not have.
    optimizer: {name: SGD, lr: 0.05, momentun: 0.9}
    ! digits.yaml:8:34: optimizer.momentun: SGD has no such setting; did you mean momentum?

The lines of a block take the place of those with the same keys in `broken/digits.yaml`, or follow at its end; `~ loss`
takes a line away, `$` begins an override or another argument, `!` what must come on standard error. The blocks of
`sweep*.txt` are differences from `broken/sweep.yaml`, whose base is that config.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

from optrun.cli.app import run

HERE = Path(__file__).parent
GOOD = (HERE / "broken" / "digits.yaml").read_text(encoding="utf-8")
GOOD_SWEEP = (HERE / "broken" / "sweep.yaml").read_text(encoding="utf-8")

BASES = {
    "digits.yaml": GOOD,
    "empty.yaml": "# nothing yet\n",
    "open.yaml": "model: {name: mlp\n",
    "wrong.yaml": GOOD.replace("hidden:", "hiden:").replace("epochs: 3", "epochs: x"),
    "steps.yaml": GOOD.replace("epochs: 3", "steps: 100"),
    "without.yaml": GOOD.replace("model:", "# model:"),
}
"""Files that a sweep may name as its base, beside `sweep.yaml` itself."""


@dataclass(frozen=True)
class Case:
    """A config by its difference from the good one, and what is said about it."""

    title: str
    changes: str
    overrides: tuple[str, ...] = ()
    messages: str = ""
    of_sweep: bool = False

    def answer(self, folder: Path) -> tuple[int, str, str]:
        """(exit code, standard output, standard error) of the command that reads it, in `folder`."""
        return (sweep if self.of_sweep else check)(self.config(), *self.overrides, folder=folder)

    def config(self) -> str:
        """The good config with the changes made."""
        kept = dict(_entries(GOOD_SWEEP if self.of_sweep else GOOD))
        replaced: set[str] = set()
        added = ""
        for key, text in _entries(self.changes):
            if key.startswith("~ "):
                del kept[key.removeprefix("~ ")]
            elif key in kept and key not in replaced:
                kept[key] = text
                replaced.add(key)
            else:
                added += text
        return "".join(kept.values()) + added


def _entries(text: str) -> list[tuple[str, str]]:
    """(key, its lines) for every top-level key of a YAML text."""
    parts = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    return [(part.partition(":")[0].strip(), part) for part in parts if part]


def blocks(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n\n")


def read(block: str, of_sweep: bool = False) -> Case:
    title, *lines = block.strip("\n").split("\n")
    overrides = tuple(line[2:] for line in lines if line.startswith("$ "))
    messages = "".join(f"{line[2:]}\n" for line in lines if line.startswith("! "))
    changes = "".join(f"{line}\n" for line in lines if not line.startswith(("$ ", "! ")))
    return Case(title.removeprefix("# "), changes, overrides, messages, of_sweep)


def is_of_sweep(path: Path) -> bool:
    """Whether the blocks in that file are sweeps."""
    return path.stem.startswith("sweep")


def broken_cases() -> dict[str, Case]:
    """Every broken config by its name: file and title."""
    found = {}
    for path in sorted((HERE / "broken").glob("*.txt")):
        for case in [read(block, is_of_sweep(path)) for block in blocks(path)]:
            name = f"{path.stem}: {case.title}"
            assert name not in found, name
            found[name] = case
    return found


def good_configs() -> dict[str, str]:
    """YAML texts that are all right, by name: those of `configs/`, and of `good.txt`. `write_files` gives what the
    paths in them name."""
    shipped = {path.stem: path.read_text(encoding="utf-8") for path in sorted((HERE.parent / "configs").glob("*.yaml"))}
    return shipped | {case.title: case.config() for case in map(read, blocks(HERE / "good.txt"))}


def write_files(folder: Path) -> None:
    """The user's own files that good configs name."""
    rows = [f"{i},{i % 7},{(i * i) % 5},{'dog' if i % 3 else 'cat'}" for i in range(40)]
    (folder / "table.csv").write_text("\n".join(["a,b,c,kind", *rows]) + "\n")
    (folder / "book.txt").write_text("It was the best of times, it was the worst of times. " * 40)


def check(config: str | bytes, *arguments: str, folder: Path) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of `optrun check digits.yaml` in `folder`, shown as `$PWD`."""
    (folder / "digits.yaml").write_bytes(config if isinstance(config, bytes) else config.encode())
    return _command("check", "digits.yaml", *arguments, folder=folder)


def sweep(config: str | bytes, *arguments: str, folder: Path) -> tuple[int, str, str]:
    """The same of `optrun sweep --dry-run sweep.yaml`, with the `BASES` beside it."""
    for name, text in BASES.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "sweep.yaml").write_bytes(config if isinstance(config, bytes) else config.encode())
    return _command("sweep", "--dry-run", "sweep.yaml", *arguments, folder=folder)


def _command(*arguments: str, folder: Path) -> tuple[int, str, str]:
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        code = run(arguments)
    return code, said.getvalue(), complained.getvalue().replace(str(folder), "$PWD")
