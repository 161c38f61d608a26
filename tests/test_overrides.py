"""`KEY=VALUE` after a config: what it changes, where it is placed, and every refusal with its exact message."""

from __future__ import annotations

import copy
import enum
import json
import math
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrun.config.document import Document, parse
from optrun.config.overrides import apply
from optrun.errors import ConfigError

CONFIG = """\
name: digits
seed: 0
epochs: 20
metrics: [accuracy]
model: {name: mlp, hidden: [128, 64]}
optimizer: SGD
scheduler:
  name: SequentialLR
  milestones: [5]
  schedulers: [{name: LinearLR}, StepLR]
clip_norm: null
tags: []
"""
DOCUMENT = parse(CONFIG, "digits.yaml")

CHANGES: list[tuple[list[str], dict[str, Any]]] = [
    (["seed=7"], {"seed": 7}),
    (["clip_norm=.inf"], {"clip_norm": math.inf}),
    (["notes=no"], {"notes": "no"}),
    (["notes='a # b'"], {"notes": "a # b"}),
    (["notes=a=b"], {"notes": "a=b"}),
    (["notes=--- %"], {"notes": "--- %"}),
    (["model.hidden=[64,64]"], {"model": {"name": "mlp", "hidden": [64, 64]}}),
    (["model.hidden.1=32"], {"model": {"name": "mlp", "hidden": [128, 32]}}),
    (["model=linear"], {"model": "linear"}),
    ([" model . hidden = 8 "], {"model": {"name": "mlp", "hidden": 8}}),
    # nothing after '=' is null, as in a file
    (["scheduler="], {"scheduler": None}),
    (["scheduler=null"], {"scheduler": None}),
    (["scheduler=''"], {"scheduler": ""}),
    # a name alone becomes a mapping; a whole component replaces the old one
    (["optimizer.lr=1e-3"], {"optimizer": {"name": "SGD", "lr": 0.001}}),
    (["optimizer.lr=1", "optimizer.momentum=0.9"], {"optimizer": {"name": "SGD", "lr": 1, "momentum": 0.9}}),
    (["optimizer={name: Adam, lr: 1e-3}"], {"optimizer": {"name": "Adam", "lr": 0.001}}),
    (["optimizer=\n  name: Adam\n  lr: 0.1"], {"optimizer": {"name": "Adam", "lr": 0.1}}),
    (["optimizer.name=Adam"], {"optimizer": {"name": "Adam"}}),
    (["metrics.0.average=macro"], {"metrics": [{"name": "accuracy", "average": "macro"}]}),
    (
        ["scheduler.schedulers.0.total_iters=5", "scheduler.schedulers.1.step_size=3"],
        {
            "scheduler": {
                "name": "SequentialLR",
                "milestones": [5],
                "schedulers": [{"name": "LinearLR", "total_iters": 5}, {"name": "StepLR", "step_size": 3}],
            }
        },
    ),
    # what is missing on the way is made
    (["early_stop.patience=3"], {"early_stop": {"patience": 3}}),
    (["clip_norm.a.b=1"], {"clip_norm": {"a": {"b": 1}}}),
    # epochs or steps
    (["steps=100"], {"steps": 100, "epochs": ...}),
    (["steps=100", "epochs=3"], {"epochs": 3}),
    (["steps="], {"steps": None}),
    (["eval_every.steps=100"], {"eval_every": {"steps": 100}}),
    # the later one wins
    (["seed=1", "seed=2"], {"seed": 2}),
    (["optimizer.lr=1", "optimizer=Adam"], {"optimizer": "Adam"}),
    (["optimizer=Adam", "optimizer.lr=1"], {"optimizer": {"name": "Adam", "lr": 1}}),
]


@pytest.mark.parametrize(("overrides", "changed"), CHANGES, ids=[" ".join(overrides) for overrides, _ in CHANGES])
def test_what_overrides_change(overrides: list[str], changed: dict[str, Any]) -> None:
    expected = {key: value for key, value in {**DOCUMENT.data, **changed}.items() if value is not ...}
    assert apply(DOCUMENT, overrides).data == expected
    assert parse(CONFIG, "digits.yaml") == DOCUMENT, "the document itself is as before"


def test_places() -> None:
    changed = apply(DOCUMENT, ["optimizer.lr=0.1", "early_stop={patience: 3}", "steps=5", "model.hidden.1=8"])
    places = {
        ("optimizer",): ("digits.yaml", 6, 1),
        ("optimizer", "name"): ("digits.yaml", 6, 12),
        ("optimizer", "lr"): ("override optimizer.lr=0.1", 0, 0),
        ("early_stop", "patience"): ("override early_stop={patience: 3}", 0, 0),
        ("steps",): ("override steps=5", 0, 0),
        ("epochs",): ("digits.yaml", 1, 1),
        ("model", "hidden", 0): ("digits.yaml", 5, 29),
        ("model", "hidden", 1): ("override model.hidden.1=8", 0, 0),
    }
    assert {path: changed.place(path) for path in places} == places
    assert changed.value_place(("model", "hidden", 1)).source == "override model.hidden.1=8"


def test_what_is_replaced_loses_its_places() -> None:
    changed = apply(DOCUMENT, ["scheduler={name: ChainedScheduler, schedulers: []}"])
    assert changed.place(("scheduler", "schedulers", 0)).source.startswith("override scheduler=")
    assert {path for path in changed.keys if path[:1] == ("scheduler",)} == {("scheduler",)}


LIST = "this list only has items 0 to 1; to make it longer, give the whole list"
QUOTE = "put the value in quotes"

REFUSALS: list[tuple[str, list[str]]] = [
    ("lr", ["override lr: '=' is missing; write KEY=VALUE, such as optimizer.lr=0.1"]),
    ("", ["override : '=' is missing; write KEY=VALUE, such as optimizer.lr=0.1"]),
    ("=5", ["override =5: a part of the key is missing; write it like optimizer.lr"]),
    ("model.=5", ["override model.=5: a part of the key is missing; write it like optimizer.lr"]),
    ("a\x1b=1", ["override a\\x1b=1: the character '\\x1b' may not stand in a string; remove it"]),
    (
        f"{'a.' * 64}a=1",
        [f"override {'a.' * 39}a…: the key can have 64 parts at most"],
    ),
    ("seed.x=1", ["override seed.x=1: seed: this is 0, which has no settings of its own"]),
    ("name.x=1", ["override name.x=1: name: this is 'digits', which has no settings of its own"]),
    ("model.hidden.2=1", [f"override model.hidden.2=1: model.hidden.2: {LIST}"]),
    ("model.hidden.x=1", [f"override model.hidden.x=1: model.hidden.x: {LIST}"]),
    ("model.hidden.-1=1", [f"override model.hidden.-1=1: model.hidden.-1: {LIST}"]),
    ("model.hidden.٠=1", [f"override model.hidden.٠=1: model.hidden.٠: {LIST}"]),
    ("tags.0=1", ["override tags.0=1: tags.0: this list is empty; to make it longer, give the whole list"]),
    (
        "metrics.1.average=macro",
        [
            "override metrics.1.average=macro: metrics.1: "
            "this list only has item 0; to make it longer, give the whole list"
        ],
    ),
    (
        "model.hidden=[64",
        ["override model.hidden=[64: model.hidden: this '[' is never closed; add ']' where it ends"],
    ),
    (
        "optimizer={name:Adam}",
        [
            "override optimizer={name:Adam}: optimizer.name:Adam: "
            "a space is missing after the ':' of 'name:Adam', or else its value"
        ],
    ),
    (
        "optimizer={lr: .nan, lr: 1 }",
        [
            "override optimizer={lr: .nan, lr: 1 }: optimizer.lr: NaN is no setting; write a number, or null for none",
            "override optimizer={lr: .nan, lr: 1 }: optimizer.lr: "
            "this key stands twice, first at column 12; keep one of the two",
        ],
    ),
    ("notes=#1", [f"override notes=#1: notes: this '#' begins a comment in YAML; {QUOTE}"]),
    ("notes=fix #2", [f"override notes=fix #2: notes: this '#' begins a comment in YAML; {QUOTE}"]),
    (
        "notes=*x",
        ["override notes=*x: notes: aliases (*x) are not allowed; write the value out, or put the text in quotes"],
    ),
    ("notes=@x", ["override notes=@x: notes: no value can begin with '@'; put the text in quotes"]),
    ("notes=\udcff", ["override notes=\\udcff: notes: the character '\\udcff' may not stand here; remove it"]),
    (
        "notes=a\tb: c",
        ["override notes=a\\tb: c: notes: a tab stands here, where YAML wants spaces; replace it by spaces"],
    ),
]


@pytest.mark.parametrize(("override", "problems"), REFUSALS, ids=[repr(override[:40]) for override, _ in REFUSALS])
def test_refusals(override: str, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        apply(DOCUMENT, [override])
    assert str(caught.value).split("\n") == problems


def test_the_problems_of_all_overrides_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        apply(DOCUMENT, [override for override, _ in REFUSALS])
    assert {str(problem) for problem in caught.value.problems} == {text for _, texts in REFUSALS for text in texts}


class Setting(enum.StrEnum):
    MACRO = "macro"


class TestPythonValues:
    @pytest.mark.parametrize(
        ("value", "plain"),
        [
            ((1, (2.5, None)), [1, [2.5, None]]),
            ({"name": "Adam", "betas": (0.9, 0.99)}, {"name": "Adam", "betas": [0.9, 0.99]}),
            (True, True),
            (np.float64(0.5), 0.5),
            (Setting.MACRO, "macro"),
            (math.inf, math.inf),
            ("a: [b # not YAML", "a: [b # not YAML"),
        ],
    )
    def test_become_plain_data(self, value: Any, plain: Any) -> None:
        changed = apply(DOCUMENT, {"model.setting": value}).data["model"]["setting"]
        assert changed == plain
        assert type(changed) is type(plain)

    def test_are_copied(self) -> None:
        hidden = [1, 2]
        changed = apply(DOCUMENT, {"model.hidden": hidden})
        hidden.append(3)
        assert changed.data["model"]["hidden"] == [1, 2]

    def test_are_named_like_those_of_the_command_line(self) -> None:
        changed = apply(DOCUMENT, {"optimizer.lr": 0.1, "steps": 5})
        assert changed == apply(DOCUMENT, ["optimizer.lr=0.1", "steps=5"])

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            ({"seed": math.nan}, "override seed: seed: NaN is no setting; write a number, or null for none"),
            (
                {"seed": 10**400},
                "override seed: seed: this whole number is too large; the largest number is about 1.8e308",
            ),
            (
                {"seed": np.int64(1)},
                "override seed: seed: numpy.int64 is no plain data; give numbers, text, lists or dicts",
            ),
            (
                {"dataset.root": PurePosixPath("x")},
                "override dataset.root: dataset.root: pathlib.PurePosixPath is no plain data; "
                "give numbers, text, lists or dicts",
            ),
            ({"model": {1: 2}}, "override model: model: the keys of a mapping must be text"),
            ({"notes": "\0"}, "override notes: notes: the character '\\x00' may not stand in a string; remove it"),
            ({10**5000: 2}, "override: a key must be text like 'optimizer.lr', not int"),
            ({"a..b": 2}, "override a..b: a part of the key is missing; write it like optimizer.lr"),
            ({"seed.x": [2]}, "override seed.x=[2]: seed: this is 0, which has no settings of its own"),
        ],
    )
    def test_refusals(self, overrides: dict[Any, Any], message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            apply(DOCUMENT, overrides)
        assert str(caught.value) == message

    def test_a_list_within_itself_is_refused(self) -> None:
        endless: list[Any] = []
        endless.append(endless)
        with pytest.raises(ConfigError, match="lists and mappings can be 64 deep at most"):
            apply(DOCUMENT, {"notes": endless})

    def test_a_document_can_be_plain_data(self) -> None:
        document = Document({"optimizer": "SGD"}, "config", {}, {})
        changed = apply(document, {"optimizer.lr": 1})
        assert changed.data == {"optimizer": {"name": "SGD", "lr": 1}}
        assert changed.place(("optimizer", "name")) == ("config", 0, 0)


KEYS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def paths_in(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(below for key, value in inside for below in paths_in(value, (*path, key)))]


@given(st.dictionaries(KEYS, VALUES, min_size=1), VALUES, st.data())
@settings(max_examples=150, deadline=None)
def test_any_path_takes_any_value(config: dict[str, Any], value: Any, data: st.DataObject) -> None:
    document = parse(json.dumps(config), "x")
    path = data.draw(st.sampled_from(paths_in(config)[1:]))
    expected: Any = copy.deepcopy(config)
    container = expected
    for part in path[:-1]:
        container = container[part]
    container[path[-1]] = value

    key = ".".join(map(str, path))
    text = apply(document, [f"{key}={json.dumps(value)}"])
    assert text == apply(document, {key: value})
    assert text.data == expected
    assert document == parse(json.dumps(config), "x")
    for each in paths_in(expected)[1:]:
        assert (text.place(each).line == 0) == (each[: len(path)] == path)


@given(st.lists(st.text(st.sampled_from("ab.=:[]{},#'\"&*!|%@ \n\t0-\0"), max_size=15), max_size=3))
@settings(max_examples=500, deadline=None)
def test_any_text_is_applied_or_refused_with_a_reason(overrides: list[str]) -> None:
    problems = []
    try:
        apply(DOCUMENT, overrides)
    except ConfigError as error:
        problems = error.problems
    for problem in problems:
        assert str(problem).isprintable()
        assert problem.source.startswith("override ")
        assert "this is not YAML" not in problem.message
