"""What people see: progress, summaries, curves, schedules, range tests, lists. All through the command line."""

from __future__ import annotations

import io
import json
import math
import os
import pty
import re
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from experiments import write_config
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from optrun.cli.app import run
from optrun.components.registry import KINDS
from optrun.config.loading import load
from optrun.pictures.axes import rounded, rounded_log
from optrun.pictures.panel import Curve, Panel, log_helps, means
from optrun.pictures.terminal import Chart
from optrun.training.preparation import prepare_run
from optrun.training.preview import preview

IRIS = {
    "device": "cpu",
    "threads": 1,
    "log_every": 1,
    "epochs": 5,
    "dataset": {"name": "iris", "batch_size": 32},
    "model": {"name": "mlp", "hidden": [8]},
    "loss": "cross_entropy",
    "metrics": ["accuracy"],
    "optimizer": {"name": "SGD", "lr": 0.1, "momentum": 0.9},
}
"""Four steps an epoch."""

METRICS = """
import os, signal, warnings
import optrun

@optrun.metrics.register
def warns(outputs, targets):
    "Warns, in two lines."
    if len(targets) > 2:  # with two it is only tried out
        warnings.warn("the metric\\nis new", stacklevel=1)
    return 1.0

@optrun.metrics.register
def interrupts(outputs, targets):
    "Sends SIGINT, as Ctrl-C does."
    if len(targets) > 2:
        os.kill(os.getpid(), signal.SIGINT)
    return 1.0
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in a directory of its own, on 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "own.py").write_text(METRICS)
    return tmp_path


def config(**changes: Any) -> str:
    given = {key: value for key, value in {**IRIS, **changes}.items() if value is not None}
    return str(write_config(Path("run.yaml"), given))


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    """Standard output and standard error of a command that ends with exit code `code`."""
    capsys.readouterr()
    assert run(arguments) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def document(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    return json.loads(said(capsys, *arguments, "--json", code=code)[0])


# Progress ------------------------------------------------------------------------------------------------------------


def test_training_prints_a_line_an_evaluation_a_summary_and_the_path(capsys):
    out, err = said(capsys, "train", config(clip_norm=0.5))
    lines = err.splitlines()
    assert lines[0] == "run: mlp of 67 parameters on iris, SGD, 5 epochs, 20 steps on cpu"
    assert [line.split("  ")[0] for line in lines[1:6]] == [f"epoch {n}/5" for n in range(1, 6)]
    names = [field.rsplit(" ", 1)[0] for field in lines[5].split("  ")]
    assert names == ["epoch", "step", "train/loss", "val/loss", "val/accuracy", "lr"]
    assert [line.split()[0] for line in lines[6:]] == ["completed", "best", "clipped"]
    assert out == f"{next(Path('runs').iterdir())}\n"


def test_quiet_leaves_only_the_path(capsys):
    out, err = said(capsys, "train", config(), "--quiet")
    assert Path(out.strip()).is_dir()
    assert err == ""


def test_json_is_the_summary_and_nothing_else(capsys):
    summary = document(capsys, "train", config())
    assert summary["status"] == "completed"
    assert summary == {**json.loads((Path(summary["path"]) / "summary.json").read_text()), "path": summary["path"]}


def test_a_diverged_run_still_gives_its_summary_and_its_path(capsys):
    arguments = ["train", config(clip_norm=None), "optimizer.lr=1e30"]
    out, err = said(capsys, *arguments, "--json", code=3)
    assert json.loads(out)["status"] == "diverged"
    assert "diverged" in err.splitlines()[-2]
    assert err.splitlines()[-1].startswith("the loss is ")
    assert Path(said(capsys, *arguments, code=3)[0].strip()).is_dir()


def test_an_interrupted_run_still_gives_its_summary_and_is_resumed(capsys):
    arguments = ["train", config(metrics=["interrupts"]), "--import", "own.py"]
    out, err = said(capsys, *arguments, "--json", code=130)
    assert json.loads(out)["status"] == "interrupted"
    assert "interrupted  4 of 20 steps" in err
    assert "; goes on after step 4\n" in said(capsys, "resume", "last", "--import", "own.py", code=130)[1]


def test_a_complete_run_is_called_complete(capsys):
    path = said(capsys, "train", config(), "--quiet")[0]
    out, err = said(capsys, "resume", "last")
    assert out == path
    assert err == f"{path.strip()} is complete already; epochs=N or steps=N makes it longer\n"


@pytest.mark.filterwarnings("default")
def test_warnings_are_sentences_told_once(capsys):
    _, err = said(capsys, "train", config(metrics=["warns"]), "--import", "own.py", "--quiet")
    assert err == "warning: the metric is new\n"


def test_a_terminal_gets_a_bar_and_a_table_and_scripts_get_the_path(workplace):
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    command = [sys.executable, "-m", "optrun", "train", config(epochs=200), "scheduler=CosineAnnealingLR"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, env=environment)
    os.close(terminal)
    seen = b""
    while chunk := _read(controller):
        seen += chunk
    assert process.stdout is not None
    out = process.stdout.read().decode()
    assert process.wait() == 0
    shown = seen.decode()
    assert Path(out.strip()).is_dir()
    assert "\x1b[?25l" in shown  # the cursor is hidden …
    assert "\x1b[?25h" in shown  # … and comes back
    assert "━" in shown
    assert "epoch   step train/loss val/loss val/accuracy        lr" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert len(re.findall(r"[* ] +\d+ +\d+ +\d\.\d{4} ", plain)) == 20
    assert "steps/s" in shown
    assert "left" in shown


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other end is closed
        return b""


# schedule ------------------------------------------------------------------------------------------------------------

SCHEDULERS: dict[str, Mapping[str, Any]] = {
    "ChainedScheduler": {"schedulers": [{"name": "ConstantLR"}, {"name": "ExponentialLR", "gamma": 0.9}]},
    "ConstantLR": {"total_iters": 2},
    "CosineAnnealingLR": {},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3},
    "ExponentialLR": {"gamma": 0.5, "interval": "step"},
    "LambdaLR": {"lr_lambda": {"name": "inverse_sqrt", "warmup": 3}, "interval": "step"},
    "LinearLR": {"total_iters": "run", "interval": "step"},
    "MultiStepLR": {"milestones": [1, 3]},
    "MultiplicativeLR": {"lr_lambda": {"name": "constant", "value": 0.7}},
    "OneCycleLR": {"max_lr": 0.1},
    "PolynomialLR": {"total_iters": 4, "power": 2},
    "ReduceLROnPlateau": {"patience": 0, "threshold": 1},  # by a threshold of 1 nothing ever improves
    "SequentialLR": {
        "interval": "step",
        "milestones": [5],
        "schedulers": [
            {"name": "LinearLR", "total_iters": 5},
            {"name": "ReduceLROnPlateau", "patience": 0, "threshold": 1},
        ],
    },
    "StepLR": {"step_size": 2, "gamma": 0.1},
}


def test_every_scheduler_is_drawn_below():
    assert SCHEDULERS.keys() == set(KINDS["schedulers"].names())


@pytest.mark.filterwarnings("ignore:.*cycles SGD:UserWarning")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_drawn_rate_is_the_one_each_step_uses(name, capsys):
    rates_agree(capsys, scheduler={"name": name, **SCHEDULERS[name]})


@pytest.mark.parametrize(
    "changes",
    [
        {"scheduler": None},
        {"scheduler": "CosineAnnealingLR", "epochs": None, "steps": 17},
        {"scheduler": {"name": "OneCycleLR", "max_lr": 0.1}, "accumulate": 2},
        {"scheduler": {"name": "ReduceLROnPlateau", "patience": 1, "threshold": 1}, "eval_every": {"steps": 3}},
        {
            "scheduler": "CosineAnnealingLR",
            "optimizer": {"name": "Adam", "param_groups": [{"match": "bias", "lr": 0.01}, {"match": "*", "lr": 1.0}]},
        },
        {
            "scheduler": {"name": "StepLR", "step_size": 1},
            "optimizer": {"name": "Muon", "lr": 0.02, "fallback": {"name": "AdamW", "lr": 0.001}},
        },
        {"scheduler": "CosineAnnealingLR", "optimizer": {"name": "LBFGS", "max_iter": 2}},
    ],
    ids=["none", "steps", "accumulate", "plateau-steps", "groups", "two-optimizers", "closure"],
)
def test_the_drawn_rate_is_the_one_each_step_uses_in(changes, capsys):
    rates_agree(capsys, **changes)


def rates_agree(capsys: pytest.CaptureFixture[str], **changes: Any) -> None:
    path = Path(said(capsys, "train", config(**changes), "--quiet")[0].strip())
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    logged = [row["lr"] for row in rows if "lr" in row]
    drawn = document(capsys, "schedule", "run.yaml", "--stagnant")
    together = list(zip(*(group["lr"] for group in drawn["groups"])))
    assert [list(rates) if isinstance(lr, list) else rates[0] for rates, lr in zip(together, logged)] == logged
    assert drawn["steps"] == len(together) == len(logged)


@pytest.mark.filterwarnings("ignore:.*cycles:UserWarning")
def test_a_preview_changes_no_weight_and_tells_the_momentum():
    spec = load(config(optimizer={"name": "AdamW"}, scheduler={"name": "OneCycleLR", "max_lr": 0.1}))
    spec, state, _ = prepare_run(spec)
    before = [p.clone() for p in state.optimizer.parameters]
    momenta = [told.momentum for told in preview(state, spec)]
    assert all(bool((p == q).all()) for p, q in zip(before, state.optimizer.parameters))
    assert momenta[0] == [0.95]
    assert min(momenta) == [pytest.approx(0.85, abs=0.01)]


def test_the_schedule_in_the_terminal(capsys):
    out, _ = said(capsys, "schedule", config(), "scheduler={name: StepLR, step_size: 2, gamma: 0.5}")
    lines = out.splitlines()
    assert lines[0] == "learning rate"
    assert lines[1].startswith("  0.10 ┤   ⠠⠤⠤⠤⠤")
    assert lines[-5].split() == ["step", "0", "5", "10", "15", "20"]
    assert lines[-4].split() == ["epoch", "0", "1", "2", "3", "4", "5"]
    assert lines[-3:] == [
        "scheduler  StepLR, stepping every epoch",
        "lr         0.1 at step 1, 0.025 at the end",
        "length     20 steps, 4 in an epoch",
    ]
    assert not Path("runs").exists()


def test_what_a_plateau_is_assumed_to_see_is_said(capsys):
    plateau = [config(), "scheduler=ReduceLROnPlateau"]
    assert "val/loss keeps improving; --stagnant" in said(capsys, "schedule", *plateau)[0]
    assert "if val/loss never improves again" in said(capsys, "schedule", *plateau, "--stagnant")[0]


# lr-find -------------------------------------------------------------------------------------------------------------


def test_a_range_test_is_the_same_every_time_and_leaves_nothing(capsys):
    arguments = ["lr-find", config(model={"name": "mlp", "hidden": [8], "dropout": 0.2}), "--steps", "60"]
    first, second = document(capsys, *arguments), document(capsys, *arguments)
    assert first == second
    assert not Path("runs").exists()
    points = first["points"]
    assert points[0]["lr"] == 1e-7
    average = 0.0
    for k, point in enumerate(points, 1):
        average = 0.98 * average + 0.02 * point["loss"]
        assert point["smoothed"] == pytest.approx(average / (1 - 0.98**k))
    assert first["suggestion"] == float(f"{min(first['minimum'] / 10, first['steepest']):.2g}")
    assert first["steepest"] <= first["minimum"]
    assert first["overrides"] == [f"optimizer.lr={first['suggestion']:g}"]


def test_a_range_test_ends_when_the_loss_has_diverged(capsys):
    found = document(capsys, "lr-find", config(clip_norm=None), "--max", "1e6", "--steps", "200")
    assert len(found["points"]) < 200
    best = min(point["smoothed"] for point in found["points"])
    assert all(point["smoothed"] <= 4 * best for point in found["points"][:-1])


def test_a_range_test_scales_every_group_and_names_what_to_change(capsys):
    muon = {"name": "Muon", "lr": 0.02, "fallback": {"name": "AdamW", "lr": 0.002}}
    found = document(capsys, "lr-find", config(optimizer=muon))
    main, fallback = (float(change.partition("=")[2]) for change in found["overrides"])
    assert fallback == pytest.approx(main / 10, rel=0.1)
    groups = {"name": "SGD", "lr": 0.1, "param_groups": [{"match": "bias", "lr": 0.2}]}
    assert "groups" in said(capsys, "lr-find", config(optimizer=groups))[0]
    cycle = {"name": "OneCycleLR", "max_lr": 1.0}
    assert "scheduler.max_lr=" in said(capsys, "lr-find", config(scheduler=cycle))[0]


def test_no_suggestion_where_the_loss_only_falls(capsys):
    arguments = ["lr-find", config(), "--max", "0.1"]
    assert document(capsys, *arguments)["suggestion"] is None
    assert "try another --min or --max" in said(capsys, *arguments)[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["optimizer={name: LBFGS}"], "LBFGS takes many steps on each batch: a range test of its lr says nothing"),
        (["optimizer.lr=0"], "optimizer.lr is 0, and a range test multiplies it; give it any other value"),
        (["--min", "1", "--max", "0.1"], "lr-find needs 0 < --min < --max and --steps of at least 10"),
        (["--png", "nowhere/x.png"], "cannot write nowhere/x.png: No such file or directory"),
    ],
)
def test_what_lr_find_refuses(arguments, sentence, capsys):
    assert said(capsys, "lr-find", config(), *arguments, code=2)[1].splitlines()[-1] == sentence


# show and list -------------------------------------------------------------------------------------------------------


def test_show_tells_config_result_and_curves(capsys):
    said(capsys, "train", config(clip_norm=1.0, scheduler="CosineAnnealingLR"), "log_every=3")
    out, err = said(capsys, "show", "last", "--png", "curves.png", "--svg", "curves.svg")
    assert err == "wrote curves.png\nwrote curves.svg\n"
    assert "optimizer  {name: SGD, lr: 0.1, momentum: 0.9}" in out
    assert "precision" not in out  # as the default has it
    titles = [line.strip() for line in out.splitlines() if line.startswith(("loss   ", "val/", "learning", "gradient"))]
    titles = titles[1:]  # the first is the config's loss
    assert titles[0].startswith("loss   ━ train/loss   ● val/loss")
    assert titles[1:3] == ["val/accuracy", "learning rate"]
    assert titles[3].startswith("gradient norm   ━ grad_norm   ● clip_norm 1")
    assert "\n epoch  0 " in out
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")
    picture = Path("curves.svg").read_text()
    assert xml.etree.ElementTree.fromstring(picture).tag.endswith("svg")
    assert "train/loss" in picture


def test_show_json_has_everything(capsys):
    path = said(capsys, "train", config(), "--quiet")[0].strip()
    shown = document(capsys, "show", "last")
    assert shown["path"] == path
    assert shown["status"] == "completed"
    assert shown["config"]["optimizer"]["lr"] == 0.1
    assert shown["environment"]["device"] == "cpu"
    assert len(shown["rows"]) == 25
    assert shown["problems"] == []


def test_show_names_what_went_wrong(capsys):
    path = Path(said(capsys, "train", config(), "--quiet", "optimizer.lr=1e30", code=3)[0].strip())
    out, _ = said(capsys, "show", "last")
    assert "diverged " in out
    assert "error       the loss is" in out
    with (path / "metrics.jsonl").open("a") as rows:
        rows.write("mangled\n")
    assert "1 line is no row" in said(capsys, "show", "last")[1]
    (path / "summary.json").write_text("{}")
    (path / "metrics.jsonl").write_text("")
    assert "there are no finite values to draw" in said(capsys, "show", "last")[0]


MANGLED = {
    "summary.json": [
        '{"best": {"metric": "val/loss"}, "target": {"reached": true, "step": "x"}, "final": {"val/loss": null}}',
        '{"status": "completed", "best": {"metric": "a", "value": "NaN"}, "steps": "x", "train_time": "Infinity"}',
        "[]",
    ],
    "metrics.jsonl": [
        '{"step": 3, "epoch": [1], "val/loss": 1.0, "lr": [[0.1], 0.2], "train/loss": [1, 2], "grad_norm": null}\n',
        '{"step": 4, "epoch": 1, "val/loss": "NaN", "val/new": 2}\n{"step": 9, "train/loss": 1e308, "lr": null}\n'
        * 200,
        f'{{"step": {10**400}, "train/loss": {10**400}, "epoch": 0, "val/loss": 0}}\n',
    ],
    "config.yaml": ["epochs: {a: 1}", "epochs: many\neval_every: 0\nclip_norm: x\noptimizer: [1]\n", "["],
    "environment.json": ['{"versions": 1, "git": {"commit": 2}, "device": []}', "x"],
}


@pytest.mark.parametrize(("file", "text"), [(file, text) for file, texts in MANGLED.items() for text in texts])
def test_a_mangled_run_is_shown_as_far_as_it_goes(file, text, capsys, monkeypatch):
    path = Path(said(capsys, "train", config(), "--quiet")[0].strip())
    (path / file).write_text(text)
    monkeypatch.setenv("COLUMNS", "140")
    assert path.name in said(capsys, "show", "last")[0]
    assert path.name in said(capsys, "list")[0]


def test_list_is_a_table(capsys):
    assert said(capsys, "list") == ("", "there are no runs in runs yet\n")
    first = said(capsys, "train", config(), "--quiet")[0].strip()
    second = said(capsys, "train", config(), "--quiet", "optimizer.lr=1e30", "name=far", code=3)[0].strip()
    lines = said(capsys, "list")[0].splitlines()
    assert lines[0].split() == ["run", "status", "epochs", "val/accuracy", "time"]
    rows = {line.split()[0]: line.split()[1:3] for line in lines[1:]}
    assert rows == {Path(first).name: ["completed", "5"], Path(second).name: ["diverged", "0/5"]}
    assert [entry["path"] for entry in document(capsys, "list")] == sorted([first, second])


def test_list_says_more_where_there_is_room(capsys, monkeypatch):
    said(capsys, "train", config(scheduler="CosineAnnealingLR"), "--quiet")
    monkeypatch.setenv("COLUMNS", "140")
    heading, row = said(capsys, "list")[0].splitlines()
    assert heading.split()[:4] == ["run", "status", "optimizer", "scheduler"]
    assert "SGD lr 0.1 momentum 0.9  CosineAnnealingLR" in row


def test_looking_imports_neither_torch_nor_matplotlib(capsys):
    said(capsys, "train", config(), "--quiet")
    commands = [["list"], ["list", "--json"], ["show", "last"], ["show", "last", "--json"], ["components"]]
    code = "import sys\nfrom optrun.cli.app import run\n"
    code += "".join(f"assert run({command}) == 0\n" for command in commands)
    code += "print({'torch', 'matplotlib', 'numpy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


# components ----------------------------------------------------------------------------------------------------------


def test_every_component_is_listed(capsys):
    out = said(capsys, "components")[0].split()
    assert all(name in out for registry in KINDS.values() for name in registry.names())


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_listed_with_settings_and_each_of_it_in_full(kind, capsys):
    out = said(capsys, "components", kind)[0]
    for name in KINDS[kind].names()[:20]:
        assert f"{name} " in out
        whole = said(capsys, "components", kind, name)[0]
        assert all(setting in whole for setting in KINDS[kind].find(name).signature.names())
    assert len(document(capsys, "components", kind)) == len(KINDS[kind].names())


def test_a_component_taken_for_a_kind_is_found(capsys):
    sentence = "there is no kind 'adamw'; did you mean `optrun components optimizers adamw`?\n"
    assert said(capsys, "components", "adamw", code=2)[1] == sentence


# Drawing -------------------------------------------------------------------------------------------------------------

MANY = range(1, 100_001)
PANELS = {
    "falling": Panel("loss", [Curve("loss", range(1, 500), [1 / n for n in range(1, 500)])]),
    "logarithmic": Panel("loss", [Curve("loss", range(1, 500), [1 / n for n in range(1, 500)])], log_y=True),
    "one point": Panel("one", [Curve("one", [7], [0.3], pointed=True)], epochs={0: 0, 1: 7}),
    "constant": Panel("same", [Curve("same", range(50), [0.05] * 50)]),
    "zero": Panel("same", [Curve("same", range(50), [0] * 50)]),
    "negative": Panel("r2", [Curve("r2", range(50), [-n for n in range(50)])]),
    "tiny": Panel("lr", [Curve("lr", range(50), [1e-9 * (1 + n / 1000) for n in range(50)])]),
    "huge": Panel("loss", [Curve("loss", range(4), [-1e299, 1e299, 5e-324, 1e308])]),
    "huge, logarithmic": Panel("loss", [Curve("loss", range(3), [5e-324, 1e299, 1])], log_y=True),
    "holes": Panel("loss", [Curve("loss", range(4), [math.nan, 1.0, math.inf, None])]),
    "rate": Panel("test", [Curve("loss", [10.0**-n for n in range(8, -2, -1)], range(10))], log_x=True, x_name="lr"),
    "two": Panel("lr", [Curve(name, range(9), [n] * 9) for n, name in enumerate(("Muon", "a long name " * 5))]),
    "many": Panel(
        "loss",
        [Curve("train/loss", MANY, [math.sin(n) + 2 for n in MANY], noisy=True), Curve("lr", MANY, list(MANY))],
        epochs={n: n * 100 for n in range(1001)},
    ),
}


def drawn(panel: Panel, width: int, **settings: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width, legacy_windows=False, **settings)
    console.print(Chart(panel))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [24, 60, 80, 200])
@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_a_chart_fits_its_width(panel, width):
    lines = drawn(panel, width)
    assert max(map(len, lines)) <= width
    assert len(lines) <= 20
    assert any("⠁" <= character <= "⣿" or character == "●" for line in lines for character in line)


def test_a_chart_without_values_says_so():
    assert drawn(Panel("loss", [Curve("loss", [1], [math.nan])]), 80) == ["loss  no finite values to draw"]


def test_a_chart_of_a_straight_line():
    assert drawn(Panel("lr", [Curve("lr", range(11), range(11))], epochs={0: 0, 1: 10}), 24) == [
        "lr",
        "    10 ┤               ⡠",
        "       │             ⡠⠊ ",
        "     8 ┤            ⡔⠁  ",
        "       │          ⢀⠜    ",
        "     6 ┤         ⡠⠃     ",
        "       │       ⢀⠔⠁      ",
        "     4 ┤     ⢀⠔⠁        ",
        "       │    ⡠⠃          ",
        "     2 ┤  ⢀⠔⠁           ",
        "       │ ⡠⠃             ",
        "     0 ┤⠔⠁              ",
        "       └┬───────┬──────┬",
        "  step  0       5     10",
        " epoch  0              1",
    ]


def test_colours_only_where_they_are_wanted(monkeypatch):
    coloured = drawn(PANELS["two"], 80, force_terminal=True, color_system="256")
    assert any("38;5;32" in line for line in coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any("38;5" in line for line in drawn(PANELS["two"], 80, force_terminal=True, color_system="256"))


def test_a_terminal_without_braille_gets_ascii():
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=terminal, width=80).print(Chart(PANELS["falling"]))
    terminal.seek(0)
    assert "......" in terminal.read()


numbers = st.floats(-1e300, 1e300).map(lambda value: float(f"{value:.6g}"))


@settings(max_examples=300, deadline=None)
@given(numbers, numbers, st.integers(2, 9))
def test_round_axes_hold_their_values_between_round_ticks(one, other, most):
    low, high = sorted((one, other))
    axis = rounded(low, high, most)
    slack = axis.high * 1e-6 - axis.low * 1e-6
    assert axis.low <= low + slack
    assert axis.high >= high - slack
    assert len(set(axis.labels())) == len(axis.ticks) <= most + 1
    assert list(axis.ticks) == sorted(axis.ticks)


@settings(max_examples=300, deadline=None)
@given(st.floats(-320, 284), st.floats(0, 15), st.integers(2, 9))
def test_logarithmic_axes_hold_their_values_between_ticks(exponent, span, most):
    low, high = 10**exponent, 10 ** (exponent + span)
    axis = rounded_log(low, high, most)
    assert axis.low <= max(low, 1e-300) * 1.00001
    assert axis.high >= high / 1.00001
    assert 2 <= len(axis.ticks) <= most + 1
    assert axis.place(axis.low) == 0
    assert axis.place(axis.high) == pytest.approx(1)


def test_means_are_exact_and_few():
    points = [(float(n), float(n % 7)) for n in range(1000)]
    joined, stands_for = means(points, 50)
    assert len(joined) == 50
    assert stands_for == 20
    assert means(points[:50], 50) == (points[:50], 1)
    assert joined[0][1] == pytest.approx(sum(y for x, y in points if x < 10.2) / 11)


def test_a_logarithmic_axis_is_taken_where_it_helps():
    steps = range(100)
    assert log_helps([Curve("StepLR", steps, [0.1 * 0.1 ** (n // 20) for n in steps])])
    assert not log_helps([Curve("cosine", steps, [1 + math.cos(n / 100 * math.pi) for n in steps])])
    assert not log_helps([Curve("accuracy", steps, [1 - 1 / (n + 2) for n in steps])])
    assert not log_helps([Curve("r2", steps, [-1 / (n + 1) for n in steps])])
