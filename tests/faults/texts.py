"""Texts that nobody should write: configs at random, and those and checkpoints of somebody who means harm."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import pickle
import random
import re
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from cases import write_files
from test_mutations import OF_TEXTS, judge, mutant

from faults.disks import SMALL, as_if_killed, small
from optrun.cli.app import run as command
from optrun.runs import checkpoint

__all__ = ["HOSTILE", "hostile", "mutated"]

SWEEP = """name: s
base: digits.yaml
seeds: 2
grid:
  - {optimizer.lr: [0.01, 0.1], clip_norm: [null, 1.0]}
  - {optimizer: [{name: Adam}, {name: SGD, momentum: 0.9}], optimizer.lr: [0.001]}
objective: {metric: val/accuracy, mode: max}
prune: {min_epochs: 2, eta: 3}
"""


def mutated(number: int, folder: Path) -> int:
    """`optrun check` of a mutant: exit 0 or 2, every line with its place, in two seconds of CPU and 200 MB more."""
    write_files(folder)
    memory, begun = _peak_from_now(), time.process_time()
    if number % 4:
        judge(mutant(100_000 + number), folder)
    else:
        _sweep(number, folder)
    assert time.process_time() - begun < 2
    assert _peak() - memory < 200 * 1024  # KiB
    return 1


def _peak_from_now() -> int:
    """KiB of memory; let the process's peak begin here."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """KiB of memory that the process has had at most."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]


def _sweep(number: int, folder: Path) -> None:
    dice = random.Random(number)
    (folder / "digits.yaml").write_text(json.dumps({**SMALL, "steps": None, "epochs": 4, "metrics": ["accuracy"]}))
    config = SWEEP.encode() if number % 40 == 0 else dice.choice(OF_TEXTS)(SWEEP, dice)
    (folder / "sweep.yaml").write_bytes(config)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command(["check", "sweep.yaml"])
    assert code in ((0,) if number % 40 == 0 else (0, 2)), err.getvalue()
    for line in err.getvalue().splitlines():
        assert line.isprintable(), line
        assert len(line) < 1_000, line
        assert code == 0 or re.match(r"(sweep|digits)\.yaml:(\d+:\d+:)? |optrun check: ", line), line
    assert code == 0 or err.getvalue()


# Hostile -----------------------------------------------------------------------------------------------------------

TAGS = (
    '!!python/object/apply:os.system ["touch {canary}"]',
    '!!python/object/new:os.system ["touch {canary}"]',
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/object:os.system {{}}",
    '!!python/object/apply:subprocess.check_output [["touch", "{canary}"]]',
    "!!python/object/apply:builtins.exec [\"open('{canary}', 'w')\"]",
    '!!python/tuple ["touch {canary}"]',
)
PLACES = ("dataset", "model", "loss", "optimizer", "scheduler", "notes")
NAMES = (
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "importlib.import_module",
    "torch.hub.load",
    "torch.load",
    "../../evil",
    "pytorch_optimizer.os",
    "timm.os.system",
    "schedulefree.__builtins__",
    "__import__('os').system('touch {canary}')",
)
RUN_NAMES = ("../../evil", "/evil", "..", ".", "a/b", "-rf", "<script>", "\\e[31mred", "x" * 300, "a\\0b", "con\\nfig")


def hostile_configs(canary: Path) -> Iterator[str]:
    """Over 120 configs that try to run code or to write elsewhere."""

    def config(**changes: str) -> str:
        lines = {key: json.dumps(value) for key, value in SMALL.items()}
        return "".join(f"{key}: {value}\n" for key, value in {**lines, **changes}.items())

    for tag, place in itertools.product(TAGS, PLACES):
        yield config(**{place: tag.format(canary=canary)})
        if place != "notes":
            yield config(**{place: f"{{name: x, setting: {tag.format(canary=canary)}}}"})
    for name, place in itertools.product(NAMES, ("dataset", "model", "loss", "optimizer", "scheduler")):
        yield config(**{place: f"{{name: {json.dumps(name.format(canary=canary))}}}"})
    for name in RUN_NAMES:
        yield config(name=f'"{name}"')


PICKLES = ("plain", "torch", "sealed", "in the archive")
LINKS = ("run", "checkpoints", "metrics.jsonl", "summary.json", "config.yaml", "environment.json")
SHOWN = (
    "\x1b[31mred",
    "\x9b31mred",
    "<script>alert(1)",
    "<img src=x onerror=alert(1)>",
    "red\r\x1b]0;title\x07",
    "[red]",
)
PARTS = 8
"""Into which the configs are divided."""
HOSTILE = PARTS + 3
"""Trials: the parts of the configs, then links, pickles, and names."""


class Evil:
    """What runs code when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return (open, (str(self.canary), "w"))


def hostile(number: int, folder: Path) -> int:
    """No code runs, and nothing is written outside the run directory."""
    canary = folder / "canary"
    if number < PARTS:
        tried = [text for i, text in enumerate(hostile_configs(canary)) if i % PARTS == number]
        for i, text in enumerate(tried):
            _train(text, folder / str(i))
        attempts = len(tried)
    elif number == PARTS:
        attempts = sum(_linked(link, folder / link) for link in LINKS)
    elif number == PARTS + 1:
        attempts = sum(_unpickled(kind, canary, folder / kind.replace(" ", "-")) for kind in PICKLES)
    else:
        attempts = sum(_shown(text, folder / str(i)) for i, text in enumerate(SHOWN))
    assert not canary.exists()
    return attempts


def _train(text: str, folder: Path) -> None:
    """Checked, trained, shown and compared; all that appears is below `runs`."""
    folder.mkdir()
    (folder / "evil.yaml").write_text(text)
    before = set(folder.parent.iterdir())
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        codes = [command([*words, "evil.yaml"]) for words in (["check"], ["train"], ["schedule"])]
        command(["list"])
        command(["compare"])
    assert set(codes) <= {0, 2}, err.getvalue()
    assert "Traceback" not in err.getvalue()
    assert "\x1b[31m" not in out.getvalue() + err.getvalue()
    assert {path.name for path in folder.iterdir()} <= {"evil.yaml", "runs"}
    assert set(folder.parent.iterdir()) == before


def _linked(what: str, folder: Path) -> int:
    """A run directory of which a part is a link that leads elsewhere: what is there stays as it is."""
    _, whole = small()
    outside, run = folder / "outside", folder / "runs" / "r"
    shutil.copytree(whole.path, outside)
    shutil.copytree(whole.path, run)
    as_if_killed(run)
    target = run if what == "run" else run / what
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    target.symlink_to(outside if what == "run" else outside / what)
    before = _contents(outside)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for words in (["list"], ["show", "r"], ["compare"], ["resume", "r", "steps=20"]):
            assert command([*words, "--runs-dir", str(folder / "runs")]) in (0, 1, 2)
    if what != "run":  # a link to a whole run is that run
        assert _contents(outside) == before
    return 1


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _unpickled(kind: str, canary: Path, folder: Path) -> int:
    """A run whose checkpoint would run code if it were unpickled."""
    _, whole = small()
    shutil.copytree(whole.path, folder / "r")
    (folder / "r" / "checkpoints" / "previous.pt").unlink(missing_ok=True)
    last = folder / "r" / "checkpoints" / "last.pt"
    state = {"step": 1, "evil": Evil(canary)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    if kind == "plain":
        last.write_bytes(pickle.dumps(state))
    elif kind == "torch":
        last.write_bytes(buffer.getvalue())
    elif kind == "sealed":
        last.write_bytes(bytes(checkpoint._seal(buffer)))
    else:
        with zipfile.ZipFile(last, "a") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(state))
    as_if_killed(folder / "r")
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        assert command(["resume", "r", "--runs-dir", str(folder)]) == 1
    assert str(last) in err.getvalue()
    return 1


def _shown(text: str, folder: Path) -> int:
    """A run directory with that text wherever it may stand: no output has it as anything but text."""
    _, whole = small()
    run, page = folder / "runs" / text, folder / "page.html"
    shutil.copytree(whole.path, run)
    if text.isprintable():  # a config with other characters is none
        before, empty, after = (run / "config.yaml").read_text().partition('notes: ""\ntags: []\n')
        assert empty
        (run / "config.yaml").write_text(f"{before}notes: {json.dumps(text)}\ntags: [{json.dumps(text)}]\n{after}")
    for name in ("summary.json", "environment.json"):
        there = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({**there, "name": text, "run": text, "error": text, "device": text}))
    (run / "metrics.jsonl").write_text(
        (run / "metrics.jsonl").read_text().replace("val/accuracy", f"val/{json.dumps(text)[1:-1]}")
    )
    formats = [["compare", "--format", form] for form in ("table", "csv", "markdown", "latex", "json")]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for words in (["list"], ["show", text], ["compare", "--metric", "val/loss", "--html", str(page)], *formats):
            assert command([*words, "--runs-dir", str(folder / "runs")]) in (0, 2), err.getvalue()
    said = out.getvalue() + err.getvalue()
    assert "Traceback" not in said
    for line in said.split("\n"):
        assert not {"\x1b", "\x9b", "\r", "\x07"} & set(line), line
    assert page.exists(), said
    assert text not in page.read_text() or not text.startswith("<")
    return 1
