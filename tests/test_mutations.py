"""Two thousand configs and overrides that nobody would write, from ones that are all right: `optrun check` answers each
with exit 0, or with exit 2 and messages that tell the place; never with a traceback, whatever is in them.

A mutant is made from its number alone: `python tests/test_mutations.py 17` shows number 17 and its answer, and
`python tests/test_mutations.py` counts all kinds.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import sys
import tempfile
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

pytestmark = pytest.mark.filterwarnings("always::UserWarning")  # as the command shows them

MUTANTS = 2_000
BATCH = 50
"""Mutants in one test."""


@dataclass(frozen=True)
class Mutant:
    """A config, what was done to it, and overrides."""

    kind: str
    good: str
    """The good config it was."""
    config: bytes
    overrides: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether it is all right by the way it was made."""
        return self.kind in ("spelled otherwise", "changed as one may")


# What is put in -------------------------------------------------------------------------------------------------------

NUMBERS = [
    "0", "-0", "1", "-1", "2", "3", "1.5", "-0.5", "0.0", "1e-3", "1e-320", "1e308", "1e309", "-1e309", ".5", "5.",
    "+1", "--1", "1e", "1.2.3", "1_000", "0x10", "0o17", "017", "1:30", "999999", "99999999", "2147483648",
    "9223372036854775807", "9223372036854775808", "1" * 300, "1" * 5000, ".inf", "-.inf", ".nan", "NaN", "１", "٣",
]  # fmt: skip

WORDS = [
    "null", "~", "true", "false", "yes", "no", "on", "''", '""', "[]", "{}", "[null]", "[[]]", "{a: 1}", "[1, 2]",
    "run", "name", "val/loss", "*", "&a", "*a", "!!python/object:os.system", "!x", "<<", "?", ":", "-", "#", "%", "@",
    "`", "|", ">", "---", "...", ",", "[", "]", "{", "}", "'", '"', "\\", "=", "../../etc/passwd", "/", "$(ls)",
    "{name: SGD}",
]  # fmt: skip

CHARACTERS = (
    "\x00\x01\x07\x1b\x7f\x85\xa0\xad\u200b\u200d\u202e\u2028\u2029\ufeff\ufffe\uffff\ud800\U0001f600\U000e0001"
    "é中ﬁIı\t\r\n :#-?[]{},&*!|>'\"%@`"
)


@cache
def names() -> list[str]:
    """Every key, setting and name that a config may use, without torchvision's models."""
    components = [registry.find(name) for registry in KINDS.values() for name in registry.names()]
    settings = {setting for component in components for setting in component.signature.names()}
    small = [c.name for c in components if c.origin != "torchvision" or c.kind == "transforms"]
    return sorted({*settings, *Spec.model_fields, *small})


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
        place, other = draw.randrange(len(tokens)), draw.randrange(len(tokens))
        match draw.randrange(5):
            case 0:
                del tokens[place]
            case 1:
                tokens.insert(place, tokens[other])
            case 2:
                tokens[place], tokens[other] = tokens[other], tokens[place]
            case 3:
                tokens[place] = draw.choice(WORDS)
            case 4:
                tokens[place] = draw.choice(names())
    return "".join(tokens).encode()


def change_words(text: str, draw: random.Random) -> bytes:
    """A misspelt word, or one name for another."""
    word = draw.choice(list(re.finditer(r"[A-Za-z_]{2,}", text)))
    letters = list(word[0])
    letters[draw.randrange(len(letters))] = draw.choice(["", "x", letters[0].swapcase(), "-"])
    new = draw.choice(["".join(letters), draw.choice(names())])
    return (text[: word.start()] + new + text[word.end() :]).encode()


def change_numbers(text: str, draw: random.Random) -> bytes:
    number = draw.choice(list(re.finditer(r"(?<![\w.])\d[\d.e-]*", text)))
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
    """Depth 5,000, aliases that grow a million times, numbers and words that never end."""
    line = draw.choice([line for line in text.splitlines() if re.match(r"\w+:", line)])
    key = line.partition(":")[0]
    depth = draw.choice([10, 63, 64, 65, 500, 5_000])
    bomb = "a: &a [x,x,x,x]\n" + "".join(f"{k}: &{k} [{f'*{chr(ord(k) - 1)},' * 4}]\n" for k in "bcdefghij")
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
            f"{bomb}{key}: *j",
            f"{key}: &x [*x]",
        ]
    )
    return text.replace(line, new, 1).encode()


# What is done to the data ---------------------------------------------------------------------------------------------


def change_structure(text: str, draw: random.Random) -> bytes:
    data = parse(text, "good").data
    for _ in range(draw.randint(1, 2)):
        holder, key = draw.choice(_places(data))
        other, elsewhere = draw.choice(_places(data))
        match draw.randrange(6):
            case 0:
                del holder[key]
            case 1:
                holder[key] = [holder[key]]
            case 2:
                holder[key] = {draw.choice(names()): holder[key]}
            case 3:
                holder[key] = draw.choice([None, True, "", [], {}, 0, -1, 1.5, "x", [[1]], {"name": "SGD"}, "run"])
            case 4:
                holder[key] = json.loads(json.dumps(other[elsewhere]))
            case 5 if isinstance(holder, dict):
                holder[draw.choice(names())] = holder.pop(key)
    return _as_json(data).encode()


def _places(data: Any) -> list[tuple[Any, Any]]:
    """(the list or mapping, the index or key) of every value in the data."""
    keys: Any = data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    return [(data, key) for key in keys] + [place for key in keys for place in _places(data[key])]


def _as_json(data: Any, **form: Any) -> str:
    """JSON is YAML, but for infinity."""
    return json.dumps(data, **form).replace("Infinity", ".inf")


def override(text: str, draw: random.Random) -> tuple[str, ...]:
    """One to three overrides, of keys that are there and of others."""
    written = []
    for _ in range(draw.randint(1, 3)):
        path: list[str] = []
        data = parse(text, "good").data
        while isinstance(data, dict | list) and data and (not path or draw.random() < 0.7):
            key = draw.choice(list(data) if isinstance(data, dict) else list(range(len(data))))
            path, data = [*path, str(key)], data[key]
        if draw.random() < 0.25:
            path.insert(draw.randrange(len(path) + 1), draw.choice([*names(), "0", "9", "-1", "", " "]))
        value = draw.choice([draw.choice(NUMBERS), draw.choice(WORDS), draw.choice(names()), _as_json(data)])
        written.append(".".join(path) + draw.choice(["=", "=", "=", "=", "=", "", ": ", "=="]) + value)
    return tuple(written)


# What is all right ----------------------------------------------------------------------------------------------------


def spell(text: str, draw: random.Random) -> bytes:
    """The same config in other words: another order of keys, other quotes, spaces, ends of lines, letters of names."""
    data = parse(text, "good").data
    shuffled = dict(draw.sample(list(data.items()), len(data)))
    for holder, key in _places(shuffled):
        if key == "name" and holder is not shuffled:
            holder[key] = draw.choice([str.lower, str.upper, str.swapcase, str])(holder[key])
    as_yaml = yaml.safe_dump(shuffled, sort_keys=False, default_flow_style=draw.choice([None, True, False]))
    spelled = draw.choice([text, as_yaml, _as_json(shuffled, indent=draw.choice([None, 1]))])
    spelled = draw.choice(["", "# first\n\n", "---\n", "%YAML 1.2\n---\n", "\ufeff"]) + spelled
    if draw.random() < 0.5:
        spelled = re.sub(r"\n(?=\w)", lambda _: draw.choice(["\n", "\n\n", "  # remark\n"]), spelled)
    return spelled.replace("\n", draw.choice(["\n", "\r\n"])).encode()


CHANGES = [
    "seed=7", "seed=9223372036854775807", "epochs=4", "steps=500", "name=other-1.2_x", "notes=é 中 😀", "tags=[a,b]",
    "clip_norm=.inf", "clip_value=1e-3", "log_every=1000000", "eval_every={steps: 7}", "eval_every=5", "threads=1",
    "checkpoint_every=3", "dataset.split_seed=123456789012", "early_stop.patience=2", "early_stop=null", "metrics=[]",
    "target={metric: val/loss, value: 1}", "deterministic=false", "keep_checkpoints=none", "device=cpu",
]  # fmt: skip
"""Overrides that every good config takes, but for those in `EXCEPT`."""

EXCEPT = {"clip_norm": "sparse", "clip_value": "sparse", "metrics": "metric: val/", "steps": "steps_per_epoch: 23"}
"""By key, the word of a config that does not take its override."""


# The mutants ----------------------------------------------------------------------------------------------------------

OF_TEXTS: list[Callable[[str, random.Random], bytes]] = [
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
            return Mutant("spelled otherwise", name, spell(text, draw))
        case 1:
            fitting = [change for change in CHANGES if EXCEPT.get(change.partition("=")[0], "\0") not in text]
            return Mutant("changed as one may", name, text.encode(), tuple(draw.sample(fitting, 2)))
        case 2 | 3:
            return Mutant("overrides", name, text.encode(), override(text, draw))
    change = draw.choice(OF_TEXTS)
    return Mutant(change.__name__, name, change(text, draw))


def judge(mutant: Mutant, folder: Path) -> int:
    """The exit code. Fails when the answer is none that a user should get."""
    code, said, complained = check(mutant.config, *mutant.overrides, folder=folder)
    assert code in ((0,) if mutant.valid else (0, 2)), complained
    for line in complained.splitlines():
        assert line.isprintable(), line
        assert len(line) < 1_000, line
        assert "Traceback" not in line, line
        assert code == 0 or re.match(r"digits\.yaml:\d+:\d+: |digits\.yaml: |override |optrun check: ", line), line
    if code == 2:
        assert said == ""
        assert complained.endswith("\n")
        return code
    with contextlib.chdir(folder):
        spec = load("digits.yaml", mutant.overrides)
        (folder / "digits.yaml").write_text(said)
        again = load("digits.yaml").model_copy(update={"threads": spec.threads})  # auto is resolved in what is said
        assert again.config_hash() == spec.config_hash()
        if mutant.kind == "spelled otherwise":
            (folder / "digits.yaml").write_text(good()[mutant.good])
            assert load("digits.yaml").config_hash() == spec.config_hash()
    return code


def is_yaml(config: bytes) -> bool:
    try:
        for _ in yaml.parse(config, Loader=yaml.CSafeLoader):
            pass
    except (yaml.YAMLError, ValueError):
        return False
    return True


@pytest.mark.parametrize("first", range(0, MUTANTS, BATCH))
def test_mutants_are_answered(first: int, tmp_path: Path) -> None:
    write_files(tmp_path)
    for number in range(first, first + BATCH):
        each = mutant(number)
        try:
            judge(each, tmp_path)
        except BaseException as error:
            error.add_note(f"mutant {number}, {each.kind}: {each.config!r} {each.overrides}")
            raise


def test_enough_mutants_are_yaml_and_enough_are_valid() -> None:
    mutants = [mutant(number) for number in range(MUTANTS)]
    assert sum(each.valid for each in mutants) >= 400
    assert sum(is_yaml(each.config) for each in mutants if each.kind != "overrides" and not each.valid) >= 0.5 * 1_200


def _show(number: int, folder: Path) -> None:
    each = mutant(number)
    print(each.kind, each.overrides, each.config.decode(errors="replace"), sep="\n")
    print(*check(each.config, *each.overrides, folder=folder))


def _count(folder: Path) -> None:
    codes: Counter[tuple[str, int]] = Counter()
    parsed = 0
    for number in range(MUTANTS):
        each = mutant(number)
        parsed += is_yaml(each.config)
        codes[each.kind, judge(each, folder)] += 1
    print(f"{MUTANTS} mutants, {parsed} still YAML, {sum(n for (_, code), n in codes.items() if code == 0)} valid")
    for kind in sorted({kind for kind, _ in codes}):
        print(f"{kind:20} exit 0: {codes[kind, 0]:4}   exit 2: {codes[kind, 2]:4}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        write_files(Path(directory))
        if len(sys.argv) == 1:
            _count(Path(directory))
        for argument in sys.argv[1:]:
            _show(int(argument), Path(directory))
