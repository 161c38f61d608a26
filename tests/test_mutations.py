"""Two thousand configs and overrides that nobody would write, from ones that are all right: `optrun check` answers each
with exit 0, or with exit 2 and messages that tell the place; never with a traceback, whatever is in them.

Every mutant is made from its number alone: `python tests/test_mutations.py 17` shows number 17 and its answer.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from cases import check, good_configs, write_files

from optrun.components.registry import KINDS
from optrun.config.document import parse
from optrun.config.loading import load
from optrun.config.spec import Spec

MUTANTS = 2_000
BATCH = 50
"""Mutants in one test."""


@dataclass(frozen=True)
class Mutant:
    """A config, what was done to it, and overrides."""

    kind: str
    config: bytes
    overrides: tuple[str, ...] = ()
    means: str | None = None
    """The good config that it is only another spelling of."""
    valid: bool = False


# What is put in ------------------------------------------------------------------------------------------------------

NUMBERS = [
    "0", "-0", "1", "-1", "2", "3", "1.5", "-0.5", "0.0", "1e-3", "1e-320", "1e308", "1e309", "-1e309", ".5", "5.", "1_000",
    "0x10", "0o17", "017", "1:30", "99999999", "2147483648", "9223372036854775807", "9223372036854775808", "1" * 300,
    "1" * 5000, ".inf", "-.inf", ".nan", "NaN", "+1", "--1", "1e", "1.2.3", "\uff11", "\u0663",
]  # fmt: skip

WORDS = [
    "null", "~", "true", "false", "yes", "no", "on", "''", '""', "[]", "{}", "[null]", "[[]]", "{a: 1}", "[1, 2, 3]", "run",
    "name", "val/loss", "*", "&a", "*a", "!!python/object:os.system", "!x", "<<", "?", ":", "-", "#", "%", "@", "`", "|", ">",
    "---", "...", ",", "[", "]", "{", "}", "'", '"', "\\", "=", "../../etc/passwd", "/", "C:\\x", "$(ls)", "{name: SGD}",
]  # fmt: skip

CHARACTERS = (
    "\x00\x01\x07\x1b\x7f\x85\xa0\xad\u200b\u200d\u202e\u2028\u2029\ufeff\ufffe\uffff\ud800\U0001f600\U000e0001"
    "é中ﬁIı\t\r\n :#-?[]{},&*!|>'\"%@`"
)


@cache
def names() -> list[str]:
    """Every name and setting that a config may use, and every key."""
    components = [registry.find(name) for registry in KINDS.values() for name in registry.names()]
    settings = {setting for component in components for setting in component.signature.names()}
    large = re.compile(r"vit|regnet|convnext|swin|wide|vgg|resnext|densenet|efficientnet|maxvit|inception|resnet1|google")
    return sorted(settings | set(Spec.model_fields) | {c.name for c in components if not large.search(c.name)})


# What is done to a text -----------------------------------------------------------------------------------------------


def change_bytes(text: str, draw: random.Random) -> bytes:
    content = bytearray(text.encode())
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(content))
        match draw.randrange(4):
            case 0:
                content[place] = draw.randrange(256)
            case 1:
                content[place] ^= 1 << draw.randrange(8)
            case 2:
                del content[place : place + draw.randint(1, 8)]
            case 3:
                content[place:place] = draw.randbytes(draw.randint(1, 4))
    return bytes(content)


def change_tokens(text: str, draw: random.Random) -> bytes:
    tokens = re.findall(r"\w+|\s+|[^\w\s]", text)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(tokens))
        match draw.randrange(5):
            case 0:
                del tokens[place]
            case 1:
                tokens.insert(place, tokens[draw.randrange(len(tokens))])
            case 2:
                other = draw.randrange(len(tokens))
                tokens[place], tokens[other] = tokens[other], tokens[place]
            case 3:
                tokens[place] = draw.choice(WORDS)
            case 4:
                tokens[place] = draw.choice(names())
    return "".join(tokens).encode()


def change_words(text: str, draw: random.Random) -> bytes:
    """A misspelt word, or one name for another."""
    words = list(re.finditer(r"[A-Za-z_]{2,}", text))
    word = draw.choice(words)
    letters = list(word[0])
    letters[draw.randrange(len(letters))] = draw.choice(["", "x", letters[0].swapcase(), "-"])
    new = draw.choice(["".join(letters), draw.choice(names())])
    return (text[: word.start()] + new + text[word.end() :]).encode()


def change_numbers(text: str, draw: random.Random) -> bytes:
    numbers = list(re.finditer(r"(?<![\w.])\d[\d.e-]*", text))
    number = draw.choice(numbers)
    return (text[: number.start()] + draw.choice(NUMBERS) + text[number.end() :]).encode()


def change_lines(text: str, draw: random.Random) -> bytes:
    lines = text.splitlines(keepends=True)
    place, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(5):
        case 0:
            del lines[place]
        case 1:
            lines.insert(other, lines[place])
        case 2:
            lines[place], lines[other] = lines[other], lines[place]
        case 3:
            lines[place] = " " * draw.randint(1, 4) + lines[place]
        case 4:
            lines[place] = lines[place].lstrip() + draw.choice(["\t", "- ", "? ", "  x: y\n"])
    return "".join(lines).encode()


def change_characters(text: str, draw: random.Random) -> bytes:
    characters = list(text)
    for _ in range(draw.randint(1, 3)):
        characters.insert(draw.randrange(len(characters)), draw.choice(CHARACTERS) * draw.choice([1, 1, 1, 50]))
    return "".join(characters).encode("utf-8", "surrogatepass")


def go_deep(text: str, draw: random.Random) -> bytes:
    """Depth 5,000, aliases that grow a billion times, numbers and words that never end."""
    line = draw.choice([line for line in text.splitlines() if re.match(r"\w+:", line)])
    key = line.partition(":")[0]
    depth = draw.choice([10, 63, 64, 65, 500, 5_000])
    bomb = "a: &a [x,x,x,x]\n" + "".join(
        f"{new}: &{new} [*{old},*{old},*{old},*{old}]\n" for old, new in zip("abcdefgh", "bcdefghi")
    )
    new = draw.choice(
        [
            f"{key}: {'[' * depth}{']' * depth}",
            f"{key}: {'{a: ' * depth}1{'}' * depth}",
            f"{key}: {'[' * depth}",
            f"{key}:\n" + "".join(f"{' ' * i}- \n" for i in range(1, min(depth, 400))),
            f"{key}: {'1' * depth}",
            f"{key}: {'x' * depth}",
            f"{key}: [{'1, ' * depth}]",
            f"{'x' * depth}: 1",
            f"? {'? ' * min(depth, 200)}x\n: 1",
            f"{bomb}{key}: *i",
            f"{key}: &x [*x]",
        ]
    )
    return text.replace(line, new, 1).encode()


# What is done to the data ---------------------------------------------------------------------------------------------


def change_structure(text: str, draw: random.Random) -> bytes:
    data = parse(text, "good").data
    for _ in range(draw.randint(1, 2)):
        holder, key = draw.choice(list(_places(data)))
        match draw.randrange(6):
            case 0:
                del holder[key]
            case 1:
                holder[key] = [holder[key]]
            case 2:
                holder[key] = {draw.choice(names()): holder[key]}
            case 3:
                holder[key] = draw.choice([None, True, "", [], {}, 0, -1, 1.5, "x", [[1]], {"name": "SGD"}, 10**12, "run"])
            case 4:
                other, where = draw.choice(list(_places(data)))
                holder[key] = json.loads(json.dumps(other[where]))
            case 5 if isinstance(holder, dict):
                holder[draw.choice(names())] = holder.pop(key)
        if not data:
            break
    return json.dumps(data).replace("Infinity", ".inf").encode()


def _places(data: Any) -> list[tuple[Any, Any]]:
    """(the list or mapping, the index or key) of every value in the data."""
    keys: Any = data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    return [(data, key) for key in keys] + [place for key in keys for place in _places(data[key])]


def override(text: str, draw: random.Random) -> list[str]:
    """One to three overrides, of keys that are there and of others."""
    written = []
    for _ in range(draw.randint(1, 3)):
        path, data = [], parse(text, "good").data
        while isinstance(data, dict | list) and data and (not path or draw.random() < 0.7):
            key = draw.choice(list(data) if isinstance(data, dict) else list(range(len(data))))
            path, data = [*path, str(key)], data[key]
        if draw.random() < 0.25:
            path.insert(draw.randrange(len(path) + 1), draw.choice([*names(), "0", "9", "-1", "", " "]))
        value = draw.choice([draw.choice(NUMBERS), draw.choice(WORDS), draw.choice(names()), json.dumps(data)])
        written.append(draw.choice(["=", "=", "=", "=", "=", "", ": ", "=="]).join([".".join(path), value]))
    return written


# What changes nothing, and what may be changed ------------------------------------------------------------------------


def spell(text: str, draw: random.Random) -> bytes:
    """The same config in other words: another order of keys, other quotes, spaces, ends of lines, letters of names."""
    data = parse(text, "good").data
    shuffled = dict(draw.sample(list(data.items()), len(data)))
    for holder, key in _places(shuffled):
        if key == "name" and isinstance(holder[key], str) and holder is not shuffled:
            holder[key] = draw.choice([str.lower, str.upper, str.swapcase, str])(holder[key])
    as_json = json.dumps(shuffled, indent=draw.choice([None, 1])).replace("Infinity", ".inf")
    as_yaml = yaml.safe_dump(shuffled, sort_keys=False, default_flow_style=draw.choice([None, True, False]))
    spelled = draw.choice([text, as_json, as_yaml])
    spelled = draw.choice(["", "# first\n\n", "---\n", "%YAML 1.2\n---\n", "\ufeff"]) + spelled
    if draw.random() < 0.5:
        spelled = re.sub(r"\n(?=\w)", lambda _: draw.choice(["\n", "\n\n", "  # remark\n"]), spelled)
    return spelled.replace("\n", draw.choice(["\n", "\r\n"])).encode()


CHANGES = [
    "seed=7", "seed=9223372036854775807", "epochs=1", "steps=17", "name=other-1.2_x", "notes=é 中 😀", "tags=[a,b]", "clip_norm=.inf",
    "clip_value=1e-3", "log_every=1000000", "eval_every={steps: 7}", "eval_every=5", "checkpoint_every=3", "threads=1",
    "dataset.split_seed=123456789012", "dataset.val_fraction=0.1", "early_stop.patience=2", "target={metric: val/loss, value: 1}",
    "deterministic=false", "keep_checkpoints=none", "dataset.test_fraction=0.2", "early_stop=null", "device=cpu", "metrics=[]",
]  # fmt: skip
"""Overrides that every good config takes, but for those in `EXCEPT`."""

EXCEPT = {"clip_norm": "sparse", "clip_value": "sparse", "metrics": "val/accuracy", "dataset.test_fraction": "test_fraction"}


# The mutants ----------------------------------------------------------------------------------------------------------

TEXTS: list[Callable[[str, random.Random], bytes]] = [
    change_bytes, change_tokens, change_words, change_words, change_numbers, change_numbers, change_lines,
    change_characters, go_deep, change_structure, change_structure,
]  # fmt: skip


@cache
def good() -> dict[str, str]:
    return good_configs()


def mutant(number: int) -> Mutant:
    """The mutant of that number."""
    draw = random.Random(number)
    name = draw.choice(sorted(good()))
    text = good()[name]
    match number % 10:
        case 0:
            return Mutant("spelled otherwise", spell(text, draw), means=name, valid=True)
        case 1:
            fitting = [c for c in CHANGES if EXCEPT.get(c.partition("=")[0], "\0") not in text]
            return Mutant("changed as one may", text.encode(), tuple(draw.sample(fitting, 2)), valid=True)
        case 2 | 3:
            return Mutant("overrides", text.encode(), tuple(override(text, draw)))
    change = draw.choice(TEXTS)
    return Mutant(change.__name__, change(text, draw))


def is_yaml(config: bytes) -> bool:
    try:
        for _ in yaml.parse(config, Loader=yaml.CSafeLoader):
            pass
    except (yaml.YAMLError, RecursionError, ValueError):
        return False
    return True


def judge(mutant: Mutant, folder: Path) -> tuple[bool, str]:
    """Whether the mutant is valid, and what was said. Fails when the answer is none that a user should get."""
    code, said, complained = check(mutant.config, *mutant.overrides, folder=folder)
    assert code in (0, 2), complained
    for line in complained.splitlines():
        assert line.isprintable(), line
        assert len(line) < 1_000, line
        assert "Traceback" not in line, line
    if code == 2:
        assert said == ""
        assert complained.endswith("\n")
        assert not mutant.valid, complained
        for line in complained.splitlines():
            assert re.match(r"digits\.yaml:\d+:\d+: |digits\.yaml: |override |optrun check: ", line), line
    else:
        with contextlib.chdir(folder):
            spec = load("digits.yaml", mutant.overrides)
            (folder / "digits.yaml").write_text(said)
            again = load("digits.yaml").model_copy(update={"threads": spec.threads})  # auto is resolved in what is said
        assert again.config_hash() == spec.config_hash()
    return code == 0, complained


@cache
def hash_of(name: str, folder: Path) -> str:
    (folder / "good.yaml").write_text(good()[name])
    return load(folder / "good.yaml").config_hash()


COUNTS: Counter[str] = Counter()


@pytest.mark.parametrize("first", range(0, MUTANTS, BATCH))
def test_mutants_are_answered(first: int, tmp_path: Path) -> None:
    write_files(tmp_path)
    for number in range(first, first + BATCH):
        each = mutant(number)
        COUNTS["yaml"] += is_yaml(each.config)
        COUNTS["mutants"] += 1
        try:
            valid, _ = judge(each, tmp_path)
        except BaseException as error:
            error.add_note(f"mutant {number}, {each.kind}: {each.config!r} {each.overrides}")
            raise
        COUNTS["valid"] += valid


if __name__ == "__main__":
    import tempfile
    import time

    for number in map(int, sys.argv[1:]):
        shown = mutant(number)
        with tempfile.TemporaryDirectory() as directory:
            write_files(Path(directory))
            print(shown.kind, shown.overrides, shown.config.decode(errors="replace")[:2000], sep="\n")
            print(check(shown.config, *shown.overrides, folder=Path(directory)))
