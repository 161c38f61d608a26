"""What a command does not need is not imported: torch alone is seconds, and a misspelt word is no reason to wait.

`python tests/test_startup.py` prints the CPU seconds of each command.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from cases import GOOD, Case

from optrun.config.sweep import load_sweep

HEAVY = {"torch", "torchvision", "numpy", "scipy", "sklearn", "matplotlib", "pandas", "PIL", "plotext"} | {
    "jsonschema",
    "ray",
}

COMMANDS: dict[str, tuple[list[str], int]] = {
    "help": (["--help"], 0),
    "help of train": (["train", "--help"], 0),
    "no command": ([], 2),
    "version": (["--version"], 0),
    "list without runs": (["list"], 0),
    "list": (["list", "--runs-dir", "with-one"], 0),
    "list as JSON": (["list", "--runs-dir", "with-one", "--json"], 0),
    "show": (["show", "with-one/first"], 0),
    "watch": (["watch", "with-one"], 0),
    "watch as JSON": (["watch", "with-one/first", "--json"], 0),
    "show as JSON": (["show", "with-one/first", "--json"], 0),
    "a run that is not there": (["show", "nothing"], 2),
    "components": (["components"], 0),
    "components of a kind": (["components", "optimizers"], 0),
    "one component": (["components", "schedulers", "OneCycleLR"], 0),
    "one of torchvision's": (["components", "models", "resnet18"], 0),
    "schema": (["schema"], 0),
    "schema of a sweep": (["schema", "sweep"], 0),
    "plan of a sweep": (["sweep", "good.yaml", "--grid", "optimizer.lr=0.1,0.2", "--dry-run"], 0),
    "sweep of what is wrong": (["sweep", "good.yaml", "--grid", "optimizer.lr=0.1,-1"], 2),
    "help of sweep": (["sweep", "--help"], 0),
    "a sweep that is done": (["sweep", "done.yaml"], 0),
    "init": (["init", "new.yaml"], 0),
    "no file": (["check", "none.yaml"], 2),
    "wrong text": (["check", "text.yaml"], 2),
    "wrong key": (["check", "key.yaml"], 2),
    "wrong name": (["check", "name.yaml"], 2),
    "wrong setting": (["check", "setting.yaml"], 2),
    "wrong type": (["check", "type.yaml"], 2),
    "wrong value": (["check", "value.yaml"], 2),
    "wrong together": (["check", "together.yaml"], 2),
    "wrong override": (["check", "good.yaml", "optimizer.lrr=1"], 2),
    "training of what is wrong": (["train", "setting.yaml"], 2),
    "schedule of what is wrong": (["schedule", "setting.yaml"], 2),
    "range test of what is wrong": (["lr-find", "setting.yaml"], 2),
}
"""Command lines that need no torch, and their exit codes."""

CONFIGS = {
    "good": "",
    "text": "model: {name: mlp, hidden: [32}\n",
    "key": "sede: 1\n",
    "name": "optimizer: {name: SDG, lr: 0.1}\n",
    "setting": "optimizer: {name: SGD, lr: 0.1, momentun: 0.9}\n",
    "type": "model: {name: mlp, hidden: 64}\n",
    "value": "scheduler: {name: StepLR, step_size: 0}\n",
    "together": "optimizer: {name: Adagrad, lr: 0.1}\nscheduler: {name: OneCycleLR, max_lr: 0.1}\n",
}

RUN = """\
import json, sys
from optrun.cli.app import run
code = run(sys.argv[1:])
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("startup"))


def filled(folder: Path) -> Path:
    """The folder, with the configs and a directory of one finished run in it."""
    for name, changes in CONFIGS.items():
        (folder / f"{name}.yaml").write_text(Case("", changes).config())
    (folder / "done.yaml").write_text(GOOD)
    spec = load_sweep(folder / "done.yaml").points[0].trials[0]
    trial = folder / "runs" / spec.name / f"{spec.name}-{spec.config_hash()[:8]}"
    trial.mkdir(parents=True)
    (trial / "config.yaml").write_text(GOOD)
    (trial / "summary.json").write_text(json.dumps({"status": "completed", "config_hash": spec.config_hash()}))
    run = folder / "with-one" / "first"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(GOOD)
    (run / "metrics.jsonl").write_text('{"step": 23, "epoch": 1, "time": 0.5, "val/loss": 1.0, "val/accuracy": 0.9}\n')
    best = {"metric": "val/accuracy", "mode": "max", "value": 0.9, "step": 23, "epoch": 1}
    (run / "summary.json").write_text(json.dumps({"name": "first", "status": "completed", "epochs": 1, "best": best}))
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_heavy_is_imported(name: str, folder: Path) -> None:
    arguments, code = COMMANDS[name]
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], cwd=folder, capture_output=True, text=True)
    got, modules = json.loads(done.stderr.splitlines()[-1])
    assert got == code, done.stderr
    assert HEAVY & set(modules) == set()


SCREEN = {"annotated_doc", "click", "rich", "shellingham", "typer"}
MARKUP = {"attr", "markdown_it", "mdurl", "pygments"}
CONFIG = {"annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection", "yaml"}
TORCH = {"numpy", "torch", "torchgen", "tqdm"}
NEEDS: dict[str, tuple[list[str], set[str]]] = {
    "help": (["--help"], SCREEN | MARKUP),
    "list": (["list", "--runs-dir", "with-one"], SCREEN | CONFIG),
    "check with an error": (["check", "together.yaml"], SCREEN | CONFIG),
    "compare": (["compare", "--runs-dir", "with-one"], SCREEN | CONFIG | {"numpy", "scipy", "charset_normalizer"}),
    "train": (["train", "good.yaml", "steps=1"], SCREEN | MARKUP | CONFIG | TORCH),
}
"""Packages beyond Python's own that a command may import, those that the packages bring along included.
(numpy imports charset_normalizer, which comes with Ray, where it finds it.)"""


@pytest.mark.parametrize("name", NEEDS)
def test_a_command_imports_what_it_needs_and_nothing_else(name: str, folder: Path) -> None:
    arguments, allowed = NEEDS[name]
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], cwd=folder, capture_output=True, text=True)
    _, modules = json.loads(done.stderr.splitlines()[-1])
    foreign = {module for module in modules if not module.startswith("_")} - sys.stdlib_module_names
    assert foreign - {"optrun", "cython_runtime"} - allowed == set()


UNNEEDED = {"torch._dynamo", "torch._inductor", "sympy", "torchvision", "scipy", "matplotlib"}


@pytest.mark.parametrize("optimizer", ["SGD, lr: 0.1", "AdamW", "Rprop"])
def test_training_leaves_the_compiler_where_it_is(optimizer: str, tmp_path: Path) -> None:
    """torch imports it for every optimizer, for deterministic algorithms, and when it counts operations."""
    (tmp_path / "config.yaml").write_text(Case("", f"optimizer: {{name: {optimizer}}}\n").config())
    program = f"import sys; from optrun.cli.app import run; run(sys.argv[1:]); print(set(sys.modules) & {UNNEEDED})"
    command = [sys.executable, "-c", program, "train", "config.yaml", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_importing_optrun_costs_nothing() -> None:
    program = "import sys; before = set(sys.modules); import optrun; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = {name.partition(".")[0] for name in json.loads(done.stdout.replace("'", '"'))}
    assert modules & (HEAVY | {"pydantic", "yaml", "typer", "rich"}) == set()


def test_a_name_is_found_without_reading_all_the_others() -> None:
    """optrun's own models and one optimizer need neither torchvision's models nor the other optimizers."""
    program = (
        "from optrun.components.registry import models, optimizers\n"
        "from optrun.components.signatures import parsed\n"
        "models.find('mlp').signature, optimizers.find('sgd').signature\n"
        "read = parsed.cache_info().currsize\n"
        "models.names(), optimizers.names()\n"
        "print(read, parsed.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    few, all_of_them = map(int, done.stdout.split())
    assert few <= 10 < 30 <= all_of_them


def cpu_seconds(arguments: Sequence[str], folder: Path) -> float:
    """User and system time of one call."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "optrun", *arguments], cwd=folder, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        filled(Path(directory))
        for name, (arguments, _) in COMMANDS.items():
            times = sorted(cpu_seconds(arguments, Path(directory)) for _ in range(7))
            print(f"{name:28} {statistics.median(times):5.2f} s  ({times[0]:.2f} to {times[-1]:.2f}, of 7)")
