"""What a broken config is answered: every message byte for byte, with its place, exit 2 and never a traceback.

Most messages stand in `broken/*.txt`, in the form that `cases.py` tells. The directory that the config is in is written
as `$PWD` there. `python tests/test_errors.py` writes the present messages into the files, to be read in the difference.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from cases import GOOD, HERE, Case, blocks, broken_cases, check, is_of_sweep, read, sweep
from torch import nn

from optrun.cli.app import run
from optrun.components.memory import machine_memory
from optrun.components.registry import KINDS
from optrun.config.loading import load
from optrun.errors import UsageError, in_words
from optrun.training.preparation import prepare_run
from optrun.training.sizing import room_for

pytestmark = pytest.mark.filterwarnings("always::UserWarning")  # as the command shows them


@pytest.mark.parametrize("case", broken_cases().values(), ids=broken_cases().keys())
def test_each_broken_config_is_answered_in_these_words(case: Case, tmp_path: Path) -> None:
    assert case.answer(tmp_path) == (2, "", case.messages)


def test_the_table_covers_much_and_says_nothing_technical() -> None:
    assert len(broken_cases()) >= 250
    for name, case in broken_cases().items():
        assert case.messages, name
        for line in case.messages.splitlines():
            assert len(line) < 400, line
            words = re.sub(r"\{int: |\.int: |uniform, int,", "", line)  # in a search space, int is a word of optrun's
            assert not re.search(r"Traceback|pydantic|Error:|object at 0x|NoneType|\b(dict|str|int)\b", words), line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "digits.yaml: the config is empty; `optrun init` writes one to start from"),
        (b"# nothing yet\n", "digits.yaml: the config is empty; `optrun init` writes one to start from"),
        (b"- a\n- b\n", "digits.yaml:1:1: this is a list; a config consists of lines like 'epochs: 20'"),
        (b"epochs\n", "digits.yaml:1:1: this is just 'epochs'; a config consists of lines like 'epochs: 20'"),
        (b"model:\n\tname: mlp\n", "digits.yaml:2:1: a tab stands here, where YAML wants spaces; replace it by spaces"),
        (b"notes: caf\xe9\n", "digits.yaml:1:11: the byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("seed: 1\n".encode("utf-16"), "digits.yaml: this is UTF-16 or UTF-32; save the file as UTF-8"),
        (b"notes: a\x00b\n", "digits.yaml:1:9: the character '\\x00' may not stand here; remove it"),
        (b"notes: a\x1b[31mb\n", "digits.yaml:1:9: the character '\\x1b' may not stand here; remove it"),
        (b"x" * 200_000, "digits.yaml: a config can have 128 KiB at most; is this the right file?"),
    ],
)
def test_files_that_are_no_config(content: bytes, message: str, tmp_path: Path) -> None:
    assert check(content, folder=tmp_path) == (2, "", f"{message}\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "sweep.yaml: the config is empty; `optrun init` writes one to start from"),
        (b"- a\n- b\n", "sweep.yaml:1:1: this is a list; a config consists of lines like 'epochs: 20'"),
        (
            b"base: digits.yaml\ngrid: {optimizer.lr: [0.1}\n",
            "sweep.yaml:2:26: ',' or ']' is missing before this '}'; the '[' at column 22 is still open",
        ),
        (
            GOOD.encode() + b"grid: {optimizer.lr: [0.1]}\n",
            "sweep.yaml:11:1: grid: this is a key of a sweep, in the config of a run; "
            "put the run below base: or in a file of its own",
        ),
    ],
)
def test_files_that_are_no_sweep(content: bytes, message: str, tmp_path: Path) -> None:
    assert sweep(content, folder=tmp_path) == (2, "", f"{message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "none.yaml"], "none.yaml: there is no such file; check the path"),
        (["check", "."], ".: this is a directory; give the file in it"),
        (["check"], "optrun check: Missing argument 'CONFIG'; see optrun check --help"),
        (["chekc", "x"], "optrun: No such command 'chekc'. Did you mean 'check'?; see optrun --help"),
        (["check", "x.yaml", "--import", "none.py"], "cannot import $PWD/none.py: No such file or directory"),
        (["components", "optimizer"], "there is no kind 'optimizer'; did you mean optimizers?"),
        (["components", "optimizers", "Sdg"], "there is no optimizer 'Sdg'; did you mean SGD?"),
    ],
)
def test_wrong_commands(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.chdir(tmp_path):
        assert run(arguments) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.replace(str(tmp_path), "$PWD")) == ("", f"{message}\n")


def test_a_file_whose_name_is_no_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my run.yaml").write_text(Case("", "~ name\n").config())
    with contextlib.chdir(tmp_path):
        assert run(["check", "my run.yaml"]) == 2
    assert capsys.readouterr().err == (
        "my run.yaml:1:1: name: must begin with a letter or digit and hold only letters, digits, '.', '_' and '-', "
        "not 'my run'; add name: NAME\n"
    )


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    code, _, complained = check(GOOD + "device: cuda:99\n", folder=tmp_path)
    have = torch.cuda.device_count()
    words = f"there is no cuda:99 here ({have} CUDA devices are visible); use auto or cpu"
    assert (code, complained) == (2, f"digits.yaml:11:1: device: {words}\n")


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
def test_an_optimizer_of_a_package_that_is_not_installed(tmp_path: Path) -> None:
    config = Case("", "optimizer: {name: timm.Lamb, lr: 0.1}\n").config()
    message = "digits.yaml:8:13: optimizer.name: 'timm.Lamb' needs the package timm; pip install timm\n"
    assert check(config, folder=tmp_path) == (2, "", message)


@pytest.mark.parametrize(
    ("changes", "warnings"),
    [
        (
            "optimizer: {name: SGD, lr: 0.05}\nscheduler: {name: OneCycleLR, max_lr: 0.1}\n",
            [
                "OneCycleLR cycles SGD's momentum between 0.85 and 0.95; its own 0 is not used. "
                "If that is not meant, add cycle_momentum: false to the scheduler",
                "OneCycleLR sets the learning rate from its max_lr 0.1; optimizer.lr 0.05 has no effect",
            ],
        ),
        (
            "scheduler: {name: CosineAnnealingLR, T_max: 2}\n",
            ["CosineAnnealingLR rises again after T_max 2 and the run goes on to 3; leave T_max out to fit the run"],
        ),
        (
            "scheduler: {name: SequentialLR, milestones: [90], schedulers: [LinearLR, LinearLR]}\n",
            ["the run ends after 3 epochs, before SequentialLR comes to milestone 90"],
        ),
        ("device: cpu\nprecision: bf16\n", ["bf16 is usually slower than fp32 on a CPU"]),
    ],
)
def test_what_works_and_may_not_be_meant_is_a_warning(changes: str, warnings: list[str], tmp_path: Path) -> None:
    code, said, complained = check(Case("", changes).config(), folder=tmp_path)
    assert code == 0
    assert said.startswith("name: digits-sgd\n")
    assert complained == "".join(f"warning: {sentence}\n" for sentence in warnings)


# A user's own file ----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _registries_as_they_were() -> Iterator[None]:
    before = {kind: dict(registry._registered) for kind, registry in KINDS.items()}
    yield
    for kind, registry in KINDS.items():
        registry._registered.clear()
        registry._registered.update(before[kind])


OWN = """\
import torch
import optrun

@optrun.models.register
def residual(data, *, width: int = 4):
    if width == 5:
        raise ValueError("width: 5 is odd")
    if width == 6:
        return data.no_such_thing
    if width == 7:
        return "a model"
    if width == 8:
        return torch.nn.Flatten()
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width))

class Odd(torch.optim.SGD):
    def step(self):
        raise self.no_such_thing

@optrun.optimizers.register
def strange(params, *, lr: float = 0.1):
    return Odd(params, lr)

@optrun.losses.register
def apart(outputs, targets):
    return outputs[:, 0]

@optrun.metrics.register(mode="max", tasks=("classification",))
def share(outputs, targets, *, of: float = 1.0):
    return 1 / 0

@optrun.datasets.register
def odd(*, n: int = 8):
    return optrun.Dataset("classification", optrun.Examples(torch.zeros(n, 2), torch.arange(n)), num_classes=3)

@optrun.datasets.register
def missing(*, path: str):
    return open(path)
"""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("model: {name: residual, width: 5}\n", "5:25: model.width: 5 is odd (ValueError at parts.py:7)"),
        (
            "model: {name: residual, width: 6}\n",
            "5:1: model: 'Data' object has no attribute 'no_such_thing' (AttributeError at parts.py:9)",
        ),
        ("model: {name: residual, width: 7}\n", "5:1: model: residual must return a torch.nn.Module, not str"),
        ("model: {name: residual, width: 8}\n", "5:1: model: residual has no parameters to train"),
        ("model: residual\n", "5:1: model: residual gives [1, 4] for an example of digits; it must give [1, 10]"),
        ("model: {name: residual, depth: 2}\n", "5:25: model.depth: residual has no such setting; it has width"),
        ("model: {name: residual, width: x}\n", "5:25: model.width: must be a whole number, not 'x'"),
        ("model: residule\n", "5:1: model: there is no model 'residule'; did you mean residual?"),
        ("loss: apart\n", "6:1: loss: apart must give one number, the mean over its batch"),
        ("metrics: [share]\n", "7:11: metrics.0: division by zero (ZeroDivisionError at parts.py:30)"),
        (
            "optimizer: {name: strange, lr: 0.2}\n",
            "8:1: optimizer: strange cannot take a step with this: 'Odd' object has no attribute 'no_such_thing' "
            "(AttributeError at parts.py:18)",
        ),
        (
            "dataset: {name: odd, batch_size: 2}\n",
            "4:1: dataset: data set odd: a target is [3], and there are 3 classes, from 0 on",
        ),
        (
            "dataset: {name: missing, path: x.csv, batch_size: 2}\n",
            "4:26: dataset.path: [Errno 2] No such file or directory: '$PWD/x.csv' (FileNotFoundError at parts.py:38)",
        ),
    ],
)
def test_own_components_that_fail_are_told_with_their_line(changes: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text(OWN)
    answer = check(Case("", changes).config(), "--import", "parts.py", folder=tmp_path)
    assert answer == (2, "", f"digits.yaml:{message}\n")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import optrun\nwidth = 1 / 0\n", "$PWD/parts.py:2: ZeroDivisionError: division by zero"),
        ("def model(:\n", "$PWD/parts.py:1: SyntaxError: invalid syntax (parts.py, line 1)"),
        ("print('hello')\nraise SystemExit(3)\n", "$PWD/parts.py:2: SystemExit: 3"),
        ("import no_such_package\n", "$PWD/parts.py:1: ModuleNotFoundError: No module named 'no_such_package'"),
        (
            "import optrun\n\n@optrun.models.register\ndef mlp(data):\n    ...\n",
            "$PWD/parts.py:3: ValueError: the model name 'mlp' is taken by optrun; choose another",
        ),
    ],
)
def test_an_own_file_that_cannot_be_run(source: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text(source)
    code, out, said = check(GOOD, "--import", "parts.py", folder=tmp_path)
    assert (code, out, said.removeprefix("hello\n")) == (2, "", f"{message}\n")


@pytest.mark.parametrize(
    ("error", "words"),
    [(RuntimeError("boom"), "RuntimeError: boom"), (MemoryError(), "MemoryError"), (KeyError("lr"), "KeyError: 'lr'")],
)
def test_an_exception_in_words(error: Exception, words: str) -> None:
    assert in_words(error) == words


# Sizes ----------------------------------------------------------------------------------------------------------------


def test_a_model_larger_than_memory_is_refused_before_its_memory_is_touched() -> None:
    memory = machine_memory()
    refused = rf"^wide with its gradients takes more than .* and there are {memory / 2**30:,.0f}; make it smaller$"
    with pytest.raises(UsageError, match=refused), room_for("wide"):
        nn.Linear(64, int(0.6 * memory) // (64 * 4))


def test_a_model_that_fits_may_be_built() -> None:
    with room_for("small"):
        assert nn.Linear(2, 3).weight.shape == (3, 2)


def test_judging_a_large_model_takes_no_memory_for_it(tmp_path: Path) -> None:
    config = Case("", "model: {name: mlp, hidden: [1000000]}\noptimizer: {name: Adam, lr: 0.1, fused: true}\n").config()
    code, said, complained = check(config, folder=tmp_path)
    assert (code, complained) == (0, "")
    assert "# 75,000,010 parameters" in said
    (tmp_path / "digits.yaml").write_text(config)
    for overrides, weightless in ({}, True), ({"model.hidden": [32]}, False):
        _, state, _ = prepare_run(load(tmp_path / "digits.yaml", overrides), to_train=False)
        assert all(parameter.is_meta == weightless for parameter in state.model.parameters())


def test_images_larger_than_memory_are_refused(tmp_path: Path) -> None:
    resized = "{name: digits, batch_size: 64, transforms: [{name: Resize, size: 20000}]}"
    code, _, complained = check(Case("", f"dataset: {resized}\n").config(), folder=tmp_path)
    refused = r"digits\.yaml:4:1: dataset: transforming the images takes 4,286 GiB of memory, and there are \d+; .*\n"
    assert (code, bool(re.fullmatch(refused, complained))) == (2, True)


# The real command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("sede: 1\n", "digits.yaml:11:1: sede: there is no such key; did you mean seed?\n"),
        ("metrics: [rmse, f1]\n", None),
        ("optimizer: {name: SGD, lr: -0.1}\n", "digits.yaml:8:24: optimizer.lr: Invalid learning rate: -0.1\n"),
    ],
)
def test_the_command_itself(changes: str, message: str | None, tmp_path: Path) -> None:
    config = Case("", changes).config()
    (tmp_path / "digits.yaml").write_text(config)
    command = [sys.executable, "-m", "optrun", "check", "digits.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    expected = message or check(config, folder=tmp_path)[2]
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


def _rewrite() -> None:
    """Write the present messages into the files."""
    for path in sorted((HERE / "broken").glob("*.txt")):
        written = []
        for block in blocks(path):
            case = read(block, is_of_sweep(path))
            with tempfile.TemporaryDirectory() as folder:
                code, said, complained = case.answer(Path(os.path.realpath(folder)))
            shown = complained if code == 2 else f"EXIT {code}\n{textwrap.indent(said + complained, '  ')}"
            kept = [line for line in block.strip("\n").split("\n") if not line.startswith("! ")]
            written.append("\n".join([*kept, *(f"! {line}" for line in shown.splitlines())]))
        path.write_text("\n\n".join(written) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _rewrite()
