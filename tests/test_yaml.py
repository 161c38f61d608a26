"""YAML text → plain data with places: the words of YAML 1.2, and every refusal with its exact message."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from optrun.config.document import MAX_DEPTH, Document, Place, dotted, parse, parse_value, read
from optrun.config.text import MAX_SIZE
from optrun.errors import ConfigError

CONFIG = """\
name: digits-sgd                 # a comment
seed: 0
epochs: 20
dataset: {name: digits, batch_size: 64}
model:
  name: mlp
  hidden:
  - 128
  - 64
metrics: [accuracy]
optimizer: {name: SGD, lr: 5e-2, momentun: 0.9}
clip_norm: .inf
notes: |
  zwei Zeilen – mit Ümlauten
  und 'Zitat'
"""


def refusal(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.yaml")
    return str(caught.value)


def test_a_config_becomes_plain_data_with_places() -> None:
    document = parse(CONFIG, "digits.yaml")
    assert document.data == {
        "name": "digits-sgd",
        "seed": 0,
        "epochs": 20,
        "dataset": {"name": "digits", "batch_size": 64},
        "model": {"name": "mlp", "hidden": [128, 64]},
        "metrics": ["accuracy"],
        "optimizer": {"name": "SGD", "lr": 0.05, "momentun": 0.9},
        "clip_norm": math.inf,
        "notes": "zwei Zeilen – mit Ümlauten\nund 'Zitat'\n",
    }
    assert document.place(("optimizer", "momentun")) == Place("digits.yaml", 11, 34)
    assert document.value_place(("optimizer", "momentun")) == ("digits.yaml", 11, 44)
    assert document.place(("model", "hidden")) == ("digits.yaml", 7, 3)
    assert document.value_place(("model", "hidden")) == ("digits.yaml", 8, 3)
    assert document.place(("model", "hidden", 1)) == ("digits.yaml", 9, 5)
    assert document.place(("metrics", 0)) == ("digits.yaml", 10, 11)


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        (("optimizer", "lr", "x", 3), ("optimizer", "lr")),
        (("optimizer", "weight_decay"), ("optimizer",)),
        (("metrics", 7), ("metrics",)),
        (("scheduler", "name"), ()),
    ],
)
def test_what_is_not_there_has_the_place_of_what_is_around_it(path: Any, nearest: Any) -> None:
    document = parse(CONFIG, "digits.yaml")
    assert document.place(path) == document.keys[nearest]
    assert document.value_place(path) == document.values[nearest]


def test_data_without_text_has_no_line() -> None:
    assert Document({"epochs": 1}, "dict", {}, {}).place(("epochs",)) == ("dict", 0, 0)


def test_columns_count_characters() -> None:
    assert parse("a: {ü–😀: 1, b: 2}", "x").place(("a", "b")) == ("x", 1, 13)


def test_a_key_path_is_shown_without_what_a_terminal_would_obey() -> None:
    assert dotted(("a", 0, "b\x1b[31m", "c" * 100)) == f"a.0.b\\x1b[31m.{'c' * 59}…"


# The core schema, https://yaml.org/spec/1.2.2/#103-core-schema, and what YAML 1.1 made of the same words.
WORDS: list[tuple[str, Any]] = [
    *[(word, None) for word in ("", "~", "null", "Null", "NULL")],
    *[(word, True) for word in ("true", "True", "TRUE")],
    *[(word, False) for word in ("false", "False", "FALSE")],
    *[(word, word) for word in ("yes", "no", "on", "off", "Yes", "NO", "On", "y", "n", "tRUE", "nUll")],
    *[("0", 0), ("-0", 0), ("+12", 12), ("-3", -3), ("017", 17), ("08", 8), ("0o17", 15), ("0x1F", 31), ("0xff", 255)],
    *[("1e-3", 0.001), ("1E5", 1e5), ("1e+2", 100.0), ("+1.5", 1.5), ("-.5", -0.5), ("5.", 5.0), ("0.", 0.0)],
    *[("1" * 300, int("1" * 300)), ("-1.7e308", -1.7e308), ("5e-324", 5e-324), ("0e-999", 0.0)],
    *[(word, word) for word in ("1:30", "1:30:00", "1_000", "0b11", "-0x1F", "0X1F", "0O7", "0o8", "1.2.3", "1,5")],
    *[(word, word) for word in ("1e", "e5", "1 000", "--", ".", "٣", "=", "inf", "nan", ".infinity")],
    *[(word, word) for word in ("2026-01-31", "2026-01-31 12:00:00")],
    *[(word, math.inf) for word in (".inf", ".Inf", ".INF", "+.inf")],
    *[(word, -math.inf) for word in ("-.inf", "-.Inf", "-.INF")],
    *[('"1"', "1"), ("'null'", "null"), ('""', ""), ("'.nan'", ".nan"), ('"\\u00e9\\n"', "é\n")],
    *[('"\\ud83d\\ude00"', "😀"), ("[1, [], {}]", [1, [], {}]), ("[a b]", ["a b"])],
    *[("{a: 1, 'b': x}", {"a": 1, "b": "x"}), ('{"a":1}', {"a": 1}), ("{? a : b}", {"a": "b"})],
]


@pytest.mark.parametrize(("text", "value"), WORDS)
def test_words_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    read_value = parse(f"key: {text}\n", "x").data["key"]
    assert read_value == value
    assert type(read_value) is type(value)
    assert parse_value(text, "x").data == value


ALIASES = "aliases (*{}) are not allowed; write the value out, or put the text in quotes"
QUOTE = "no value can begin with {!r}; put the text in quotes"
TAB = "a tab stands here, where YAML wants spaces; replace it by spaces"
INDENTATION = "the indentation of this line fits no line above; align it with those it belongs to"
INDENTED = "this line is indented under one that has a value already; align it with the other keys"
COLON = "a second ': ' stands on this line; put the value in quotes, or write it as {key: value}"
TEXT = "this text stands after the end of a value; remove it, or put the whole value in quotes"
NO_VALUE = "a value is missing before this ','; write it, or put the text in quotes"
UNQUOTED = "this quotation mark is never closed; add one where the text ends"
ESCAPE = "this is no escape that YAML knows; write '\\\\' for a '\\', or use single quotes"
PERCENT = "no line of a config can begin with '%'; remove it, or put the text in quotes"
NO_CONFIG = "a config consists of lines like 'epochs: 20'"
EMPTY = "the config is empty; `optrun init` writes one to start from"
NAN = "NaN is no setting; write a number, or null for none"
UTF_16 = "this is UTF-16 or UTF-32; save the file as UTF-8"

REFUSALS: list[tuple[str | bytes, list[str]]] = [
    # not a config
    ("", [f": {EMPTY}"]),
    ("\n# only a comment\n", [f": {EMPTY}"]),
    ("~", [f": {EMPTY}"]),
    ("- 1\n- 2\n", [f":1:1: this is a list; {NO_CONFIG}"]),
    ("\n  digits", [f":2:3: this is just 'digits'; {NO_CONFIG}"]),
    ("a: 1\n---\nb: 2\n", [":2:1: a second document begins here; a config is one, so remove the '---'"]),
    # characters
    (b"a: 1\nb: \xc3\xa9 \xff", [":2:6: the byte 0xff is not UTF-8; save the file as UTF-8"]),
    (b"\xef\xbb\xbfa: \xe9", [":1:4: the byte 0xe9 is not UTF-8; save the file as UTF-8"]),
    ("a: 1".encode("utf-16"), [f": {UTF_16}"]),
    ("a: 1".encode("utf-16-be"), [f": {UTF_16}"]),
    ("a: 1".encode("utf-32"), [f": {UTF_16}"]),
    ("a: 1\r\nb: \0", [":2:4: the character '\\x00' may not stand here; remove it"]),
    ("a: \x1b[31mred", [":1:4: the character '\\x1b' may not stand here; remove it"]),
    ("a: 'x\u2028y'", [":1:6: the character '\\u2028' may not stand here; remove it"]),
    ("a: \udcff", [":1:4: the character '\\udcff' may not stand here; remove it"]),
    ('a: "\\0"', [":1:4: a: the character '\\x00' may not stand in a string; remove it"]),
    ('a: "\\e[31m"', [":1:4: a: the character '\\x1b' may not stand in a string; remove it"]),
    ('a: "\\ud83d"', [":1:4: a: the character '\\ud83d' may not stand in a string; remove it"]),
    ('"\\a": 1', [":1:1: \\x07: the character '\\x07' may not stand in a string; remove it"]),
    (" " * (MAX_SIZE + 1), [": a config can have 128 KiB at most; is this the right file?"]),
    # tabs and indentation
    ("a:\n\tb: 1", [f":2:1: {TAB}"]),
    ("a:\n  b: 1\n\tc: 2", [f":3:1: {TAB}"]),
    ("a:\t1", [f":1:3: {TAB}"]),
    ("a: 1\t# one", [f":1:5: {TAB}"]),
    ("  a: 1\n b: 2", [f":2:2: {INDENTATION}"]),
    ("a:\n  - b\n - c", [f":3:2: {INDENTATION}"]),
    ("a:\n- b: 1\n  c: 2\n d: 3", [f":4:2: {INDENTATION}"]),
    ("a: [1]\n  b: 2", [f":2:3: {INDENTATION}"]),
    ("optimizer: SGD\n  lr: 0.1", [f":2:5: {INDENTED}"]),
    ("- a\nb: 1", [":2:1: a key stands where the list above goes on; begin it with '- ', or indent it differently"]),
    ("a: 1\n- b", [":2:1: a list item stands where the keys above go on; give the list a key of its own"]),
    ("a: - 1", [":1:4: a list cannot begin with '- ' here; begin it on the next line, or write it as [a, b]"]),
    # colons
    ("notes: see: there", [f":1:11: {COLON}"]),
    ('a: "x": y', [f":1:7: {COLON}"]),
    ("lr:0.1\nseed: 1", [":2:5: the line above, 'lr:0.1', is no 'key: value'; add ': ' and the value"]),
    ("seed: 1\nlr:0.1\nname: a", [":2:1: a space is missing after the ':' of 'lr:0.1'"]),
    ('seed: 1\n"lr":0.1', [":2:1: a space is missing after the ':' of '\"lr\":0.1'"]),
    ("epochs 3\nseed: 1", [":2:5: the line above, 'epochs 3', is no 'key: value'; add ': ' and the value"]),
    ("seed: 1\nepochs 3", [":2:1: 'epochs 3' is no 'key: value'; add ': ' and the value, or indent it under its key"]),
    ("a: {name:Adam}", [":1:5: a.name:Adam: a space is missing after the ':' of 'name:Adam', or else its value"]),
    (": 1", [":1:1: a key is missing before this ':'; write it, or put the text in quotes"]),
    ("x" * 1100 + ": 1", [":1:1101: a key can have 1,024 characters at most; shorten it"]),
    # brackets and commas
    ("a: [1, 2", [":1:4: this '[' is never closed; add ']' where it ends"]),
    ("a: {", [":1:4: this '{' is never closed; add '}' where it ends"]),
    ("a: [1, 2\nb: 3", [":2:2: ',' or ']' is missing before this ':'; the '[' on line 1 is still open"]),
    ("a: {b: [1, 2}", [":1:13: ',' or ']' is missing before this '}'; the '[' at column 8 is still open"]),
    ("a: {b: 1 c: 2}", [":1:11: ',' or '}' is missing before this ':'; the '{' at column 4 is still open"]),
    ('a: ["b" "c"]', [":1:9: ',' or ']' is missing before this text; the '[' at column 4 is still open"]),
    ("a: [}", [":1:5: ',' or ']' is missing before this '}'; the '[' at column 4 is still open"]),
    ("a: [1,,2]", [f":1:7: {NO_VALUE}"]),
    ("a: {,}", [f":1:5: {NO_VALUE}"]),
    ("a: ]", [":1:4: this ']' closes nothing; remove it, or put the text in quotes"]),
    ("{a: 1}}", [":1:7: this '}' stands after the end of a value; remove it, or put the whole value in quotes"]),
    ('a: "x",', [":1:7: this ',' stands after the end of a value; remove it, or put the whole value in quotes"]),
    ("a: [1, 2] b", [f":1:11: {TEXT}"]),
    # quotes
    ('a: "x" y', [f":1:8: {TEXT}"]),
    ('a: 1\nb: "abc\nc: 2', [f":2:4: {UNQUOTED}"]),
    ("a: 'abc\n---\n", [f":1:4: {UNQUOTED}"]),
    ('a: "C:\\data"', [f":1:8: {ESCAPE}"]),
    ('a: "\\xZZ"', [f":1:7: {ESCAPE}"]),
    ('a: "\\UFFFFFFFF"', [":1:7: this escape stands for no character; correct it"]),
    ("a: |x\n  b", [":1:5: the text after '|' begins on the next line; move it there, or quote it"]),
    ("a: >0\n b", [":1:5: the text after '>' begins on the next line; move it there, or quote it"]),
    ("a: %b", [f":1:4: {QUOTE.format('%')}"]),
    ("a: @b", [f":1:4: {QUOTE.format('@')}"]),
    ("a: `b`", [f":1:4: {QUOTE.format('`')}"]),
    ("a: [|]", [f":1:5: {QUOTE.format('|')}"]),
    ("match: *.bias", [f":1:8: {QUOTE.format('*')}"]),
    ("a: &", [f":1:4: {QUOTE.format('&')}"]),
    ("a: !<x", [f":1:4: {QUOTE.format('!')}"]),
    ("a: !e!x b", [f":1:4: {QUOTE.format('!')}"]),
    ("a: 1\n%b: 2", [f":2:1: {PERCENT}"]),
    ("a: ? b", [":1:4: '?' cannot stand here; put the text in quotes"]),
    ("%YAML 3.0\n---\na: 1", [f":1:1: {PERCENT}"]),
    # more than YAML's plain data
    ("a: &x [1]\nb: *x", [
        ":1:4: a: anchors (&x) are not allowed; write each value out, or put the text in quotes",
        f":2:4: b: {ALIASES.format('x')}",
    ]),
    ("<<: *x", [
        ":1:1: <<: merge keys are not allowed; write the settings out",
        f":1:5: <<: {ALIASES.format('x')}",
    ]),
    ("*x : 1", [f":1:1: *x: {ALIASES.format('x')}"]),
    ("a: !!python/object/apply:os.system [ls]", [
        ":1:4: a: tags (!!python/object/apply:os.system) are not allowed; remove it, or put the text in quotes"
    ]),
    ("a: !mine {b: ! c}", [
        ":1:4: a: tags (!mine) are not allowed; remove it, or put the text in quotes",
        ":1:14: a.b: tags (!) are not allowed; remove it, or put the text in quotes",
    ]),
    ("[a, b]: c", [":1:1: a list or mapping cannot be a key; write a word"]),
    ("1: a\nnull: b\ntrue: c\n", [
        ":1:1: 1: a key must be text, and 1 is not; put it in quotes",
        ":2:1: null: a key must be text, and null is not; put it in quotes",
        ":3:1: true: a key must be text, and true is not; put it in quotes",
    ]),
    ("a: {? }", [":1:6: a.: a key is missing here"]),
    ("a: 1\nb: 2\na: 3\na: 4", [
        ":3:1: a: this key stands twice, first on line 1; keep one of the two",
        ":4:1: a: this key stands twice, first on line 1; keep one of the two",
    ]),
    ("a: {b: 1}\na: {b: 2}", [":2:1: a: this key stands twice, first on line 1; keep one of the two"]),
    ("o: {lr: 1, lr: 2}", [":1:12: o.lr: this key stands twice, first at column 5; keep one of the two"]),
    ("a:\n  " + "[" * MAX_DEPTH, [
        ":2:66: lists and mappings can be 64 deep at most; this is one more"
    ]),
    ("[" * 5000, [":1:65: lists and mappings can be 64 deep at most; this is one more"]),
    ("- " * 5000, [":1:129: lists and mappings can be 64 deep at most; this is one more"]),
    ("{a: " * 5000, [":1:257: lists and mappings can be 64 deep at most; this is one more"]),
    # numbers
    ("a: .nan\nb: [.NaN]\n.NAN: 1", [f":1:4: a: {NAN}", f":2:5: b.0: {NAN}", f":3:1: .NAN: {NAN}"]),
    ("a: 1e999\nb: -1e999", [
        ":1:4: a: 1e999 is too large for a number; write .inf if infinity is meant",
        ":2:4: b: -1e999 is too large for a number; write .inf if infinity is meant",
    ]),
    ("a: 1e-999", [":1:4: a: 1e-999 is too small for a number; write 0 if zero is meant"]),
    ("a: " + "9" * 5000, [":1:4: a: a number of 5000 characters is too long; 300 is the most"]),
    ("a: 0." + "3" * 5000, [":1:4: a: a number of 5002 characters is too long; 300 is the most"]),
    ("a: 0x" + "f" * 290, [":1:4: a: this whole number is too large; the largest number is about 1.8e308"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problems"), REFUSALS, ids=[repr(text[:30]) for text, _ in REFUSALS])
def test_refusals(text: str | bytes, problems: list[str]) -> None:
    assert refusal(text).split("\n") == [f"x.yaml{problem}" for problem in problems]


def test_all_problems_come_at_once_in_the_order_of_the_text() -> None:
    text = "seed: .nan\nseed: 1\nmodel: &m {1: a, hidden: !x [1]}\nnotes: *m\nloss: [a\n"
    assert [problem.line for problem in caught(text).problems] == [1, 2, 3, 3, 3, 4, 5]


def caught(text: str | bytes) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        parse(text, "x.yaml")
    return error.value


def test_forty_thousand_problems_are_cut_to_a_hundred() -> None:
    assert len(caught("a: [" + "*x, " * 30_000 + "]").problems) == 100


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_endings_and_the_byte_order_mark_change_nothing(ending: str, mark: bytes) -> None:
    document = parse(mark + CONFIG.replace("\n", ending).encode(), "digits.yaml")
    assert document == parse(CONFIG, "digits.yaml")


def test_deepest_allowed() -> None:
    text = "{a: " * MAX_DEPTH + "1" + "}" * MAX_DEPTH
    assert parse(text, "x").place(("a",) * MAX_DEPTH) == ("x", 1, 4 * MAX_DEPTH - 2)


class TestFiles:
    def test_a_file_is_named_as_it_was_given(self, tmp_path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "digits.yaml").write_text("epochs: 3\n")
        assert read("digits.yaml").place(("epochs",)) == ("digits.yaml", 1, 1)
        assert read(tmp_path / "digits.yaml").source == f"{tmp_path}/digits.yaml"

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("none.yaml", "none.yaml: there is no such file; check the path"),
            ("folder", "folder: this is a directory; give the file in it"),
            ("file/x.yaml", "file/x.yaml: the file cannot be read (Not a directory); check the path"),
            ("a\0b", "a\\x00b: the file cannot be read (embedded null byte); check the path"),
            ("a\x1b[31m", "a\\x1b[31m: there is no such file; check the path"),
            ("x" * 300, f"{'x' * 300}: the file cannot be read (File name too long); check the path"),
            ("empty", f"empty: {EMPTY}"),
            ("/dev/null", f"/dev/null: {EMPTY}"),
            ("/dev/zero", "/dev/zero: a config can have 128 KiB at most; is this the right file?"),
        ],
    )
    def test_what_cannot_be_read(self, tmp_path, monkeypatch, name: str, message: str) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").write_text("a: 1")
        (tmp_path / "empty").touch()
        with pytest.raises(ConfigError) as caught:
            read(name)
        assert str(caught.value) == message

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_without_permission(self, tmp_path) -> None:
        (tmp_path / "x.yaml").touch(mode=0o000)
        with pytest.raises(ConfigError, match="the file may not be read; check its permissions"):
            read(tmp_path / "x.yaml")


# JSON is YAML 1.2. Control characters are refused, and lone surrogates are no text.
TEXT_DATA = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)
JSON_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT_DATA,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT_DATA, inner, max_size=4),
    max_leaves=20,
)
JSON_CONFIGS = st.dictionaries(TEXT_DATA, JSON_DATA, max_size=5)


def paths_in(data: Any, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], Any]:
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    paths = {path: data}
    for key, value in inside:
        paths |= paths_in(value, (*path, key))
    return paths


@given(JSON_CONFIGS, st.sampled_from([None, 0, 2]))
@example({"😀": {"": ["\u2028", "\ufeff", "~", 1e16, -0.0, 5e-324]}}, 2)
@settings(max_examples=150, deadline=None)
def test_json_reads_as_itself_and_every_place_points_at_its_text(config: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(config, indent=indent)
    document = parse(text, "x")
    assert document.data == config
    assert json.dumps(document.data) == json.dumps(config), "also the types and the order are the same"
    lines = text.split("\n")
    paths = paths_in(config)
    assert document.keys.keys() == document.values.keys() == paths.keys()
    for path, value in paths.items():
        _, line, column = document.value_place(path)
        shown = json.dumps(value)
        assert lines[line - 1][column - 1 :].startswith(shown[0] if isinstance(value, list | dict) else shown)
        _, line, column = document.place(path)
        if path and isinstance(path[-1], str):
            assert lines[line - 1][column - 1 :].startswith(json.dumps(path[-1]) + ":")


def check_that_it_reads_or_says_why_not(text: str | bytes) -> None:
    problems = []
    try:
        document = parse(text, "x.yaml")
        assert document.keys.keys() == document.values.keys() == paths_in(document.data).keys()
    except ConfigError as error:
        problems = error.problems
    lines = len((text if isinstance(text, str) else text.decode("latin-1")).splitlines())
    for problem in problems:
        assert str(problem).isprintable()
        assert len(str(problem)) < 500
        assert 0 <= problem.line <= lines + 1
        assert "this is not YAML" not in problem.message, "this complaint of PyYAML has no sentence of ours"


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes(content: bytes) -> None:
    check_that_it_reads_or_says_why_not(content)


@given(st.text(st.sampled_from("ab1:-?,[]{}#&*!|>'\"%@`~<=.\\ \n\t\r\0xeéU\ufeff"), max_size=40))
@settings(max_examples=1500, deadline=None)
def test_any_text_of_the_characters_that_yaml_gives_a_meaning(text: str) -> None:
    check_that_it_reads_or_says_why_not(text)


PIECES = [
    "",
    "\n",
    "  ",
    "\t",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    '"',
    "'",
    "#",
    "&a ",
    "*a",
    "!t ",
    "|",
    "%",
    "? ",
    "\x1b",
]


@given(st.lists(st.tuples(st.integers(0, len(CONFIG)), st.integers(0, 6), st.sampled_from(PIECES)), max_size=4))
@settings(max_examples=400, deadline=None)
def test_any_mutation_of_a_config(changes: list[tuple[int, int, str]]) -> None:
    text = CONFIG
    for position, length, piece in changes:
        text = text[:position] + piece + text[position + length :]
    check_that_it_reads_or_says_why_not(text)


@pytest.mark.parametrize(
    "piece", ["a", "a: 1\n", " ", "[", "{", "- ", "? ", ":", "*a,", '"a": [', "'", "%a\n", "[],", "9"]
)
@pytest.mark.parametrize("start", ["", "a: ["])
def test_as_much_of_anything_as_is_allowed(start: str, piece: str) -> None:
    check_that_it_reads_or_says_why_not(start + piece * ((MAX_SIZE - len(start)) // len(piece)))
