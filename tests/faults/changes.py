"""Runs that are gone on with after something about them has changed, and checkpoints of releases."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments import write_config
from test_resume import BASE

import optrun
from optrun.cli.app import run as command
from optrun.components.registry import KINDS
from optrun.runs.reader import read

__all__ = ["CASES", "changed", "released"]

ASSETS = Path(__file__).parent.parent / "assets"

CONFIG = {**BASE, "optimizer": {"name": "SGD", "lr": 0.1}}


def changed(number: int, folder: Path) -> int:
    """Refused, with what has changed; or gone on with, with a word on the screen and one in the record."""
    list(_CASES.values())[number](folder)
    return 1


def _said(*words: str) -> tuple[int, str]:
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        return command(list(words)), err.getvalue()


def _interrupted(folder: Path, config: Mapping[str, Any] = CONFIG, *more: str) -> Path:
    """A run that could go on: complete, its length then raised in the config it left."""
    path = write_config(folder / "c.yaml", config)
    code, said = _said("train", str(path), "--run-dir", str(folder / "run"), "--quiet", *more)
    assert code == 0, said
    return folder / "run"


def _refused_override(override: str, key: str) -> Callable[[Path], None]:
    def case(folder: Path) -> None:
        run = _interrupted(folder)
        before = (run / "config.yaml").read_bytes()
        code, said = _said("resume", str(run), "steps=30", override, "--force")
        assert code == 2
        assert f"{key}: cannot be changed by a resume" in said
        assert (run / "config.yaml").read_bytes() == before

    return case


def _edited_config(folder: Path) -> None:
    """A config that was edited under the run: it has another hash than its checkpoint."""
    run = _interrupted(folder)
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("lr: 0.1", "lr: 0.2"))
    code, said = _said("resume", str(run), "steps=30")
    assert code == 2
    assert "config.yaml: optimizer.lr is not what the checkpoint was made with; put it back" in said
    assert _said("resume", str(run), "steps=30", "--force")[0] == 2
    path.write_text(path.read_text().replace("lr: 0.2", "lr: 0.1"))
    assert _said("resume", str(run), "steps=30")[0] == 0


def _data(folder: Path) -> None:
    rows = ["a,b,y", *(f"{i},{i * i % 7},{i % 3}" for i in range(60))]
    (folder / "data.csv").write_text("\n".join(rows))
    dataset = {"name": "csv", "path": "data.csv", "target": "y", "batch_size": 16}
    run = _interrupted(folder, {**CONFIG, "dataset": dataset})
    (folder / "data.csv").write_text("\n".join([*rows[:-1], "59,9,1"]))
    code, said = _said("resume", str(run), "steps=30")
    assert code == 2
    assert "the data is not what the run was begun with; --force goes on with it nevertheless" in said
    assert read(run).summary["steps"] == 22
    code, said = _said("resume", str(run), "steps=30", "--force")
    assert code == 0
    assert "the data is not what the run was begun with: forced" in said
    assert read(run).environment["resumes"][-1]["changes"] == ["the data is not what the run was begun with: forced"]


def _imported(folder: Path) -> None:
    parts = folder / "parts.py"
    text = (
        "import optrun, torch\n@optrun.models.register\ndef own(data, *, size: int = 4):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    parts.write_text(text)
    run = _interrupted(folder, {**CONFIG, "model": "own"}, "--import", str(parts))
    KINDS["models"].forget(str(parts))
    parts.write_text(text + "# changed\n")
    code, said = _said("resume", str(run), "steps=30", "--import", str(parts))
    assert code == 2
    assert "the imported files are not those that the run was begun with" in said
    KINDS["models"].forget(str(parts))
    assert _said("resume", str(run), "steps=30", "--import", str(parts), "--force")[0] == 0
    assert "imported files" in read(run).environment["resumes"][-1]["changes"][0]


def _noted(keys: tuple[str, ...], value: str, sentence: str) -> Callable[[Path], None]:
    def case(folder: Path) -> None:
        run = _interrupted(folder)
        path = run / "environment.json"
        environment = json.loads(path.read_text())
        holder = environment
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = value
        path.write_text(json.dumps(environment))
        code, said = _said("resume", str(run), "steps=30")
        assert code == 0
        assert f"{sentence}" in said
        assert "bits may differ from those of a run that was never stopped" in said
        assert sentence in read(run).environment["resumes"][-1]["changes"][0]

    return case


_CASES: dict[str, Callable[[Path], None]] = {
    "a setting": _refused_override("optimizer.lr=0.2", "optimizer.lr"),
    "the model": _refused_override("model.hidden=[8]", "model.hidden"),
    "the precision": _refused_override("precision=fp64", "precision"),
    "the threads": _refused_override("threads=2", "threads"),
    "the seed": _refused_override("seed=5", "seed"),
    "the config": _edited_config,
    "the data": _data,
    "the imported file": _imported,
    "the device": _noted(("device",), "cuda:0", "the device was cuda:0 and is cpu"),
    "torch": _noted(("versions", "torch"), "2.10.0", "torch was 2.10.0 and is "),
    "optrun": _noted(("versions", "optrun"), "0.0.1", "optrun was 0.0.1 and is "),
    "numpy": _noted(("versions", "numpy"), "1.0", "numpy was 1.0 and is "),
}
CASES = len(_CASES)


def released(number: int, folder: Path) -> int:
    """Runs that releases left behind are read, compared and gone on with."""
    releases = sorted(ASSETS.glob("release-*"))
    assert ASSETS / f"release-{optrun.__version__}" in releases  # a release leaves a run behind
    for release in releases:
        shutil.copytree(release, folder / release.name)
        run = folder / release.name
        before = read(run)
        assert before.problems == []
        code, said = _said("resume", str(run), "steps=40", "--force")
        assert code == 0, said
        after = read(run)
        assert after.status == "completed"
        assert after.summary["steps"] == 40
        assert after.rows()[: len(before.rows())] == before.rows()
        assert _said("compare", str(folder), "--json")[0] == 0
    return len(releases)
