"""What is on the disk, and not only in its cache, when a run says that it is complete.

The disk here keeps the books of POSIX: a file's content is on it after an fsync of the file, a name after an fsync of
the directory that holds it. Real ones do more, each in its own way.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from experiments import write_config
from sweeping import BASE, write_sweep

import optrun
from optrun.runs import files

MAY_GO = ("environment.json", ".lock")
"""What a power cut may take along: nothing that was computed is in there."""


class Books(files.System):
    """The disk, with what of it a power cut would take along, by path: contents and names."""

    def __init__(self) -> None:
        self.contents: set[Path] = set()
        self.names: set[Path] = set()
        self.syncs: list[Path] = []
        self.lost: list[set[str]] = []
        """What would have been lost each time when a run said that it was complete."""
        self._open: dict[int, Path] = {}

    def open(self, path: Path, flags: int) -> int:
        if flags & os.O_CREAT and not path.exists():
            self.names.add(path)
        file = super().open(path, flags)
        self._open[file] = path
        return file

    def write(self, file: int, data: memoryview) -> int:
        self.contents.add(self._open[file])
        return super().write(file, data)

    def fsync(self, file: int) -> None:
        super().fsync(file)
        path = self._open[file]
        self.syncs.append(path)
        self.contents.discard(path)
        self.names = {name for name in self.names if name.parent != path}

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self.names.add(path)

    def rename(self, old: Path, new: Path) -> None:
        if new.name == "summary.json" and json.loads(old.read_text())["status"] == "completed":
            before = (self.contents | self.names) - {old, new}
            self.lost.append({path.name for path in before if path.name not in MAY_GO})
        super().rename(old, new)
        self.contents = self.contents - {old, new} | ({new} if old in self.contents else set())
        self.names = self.names - {old} | {new}

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.contents.discard(path)
        self.names.discard(path)

    def would_be_lost(self) -> set[str]:
        return {path.name for path in self.contents | self.names if path.name not in MAY_GO and path.exists()}


@pytest.fixture
def books(monkeypatch: pytest.MonkeyPatch) -> Books:
    kept = Books()
    monkeypatch.setattr(files, "system", kept)
    return kept


@pytest.mark.parametrize("keep", ["all", "last", "none"])
@pytest.mark.parametrize("place", ["new", "new/run"])
def test_a_complete_run_is_on_the_disk(keep: str, place: str, books: Books, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", {**BASE, "keep_checkpoints": keep})
    run_dir = {"new": None, "new/run": tmp_path / place}[place]
    optrun.train(config, runs_dir=tmp_path / "runs", run_dir=run_dir)
    assert books.lost == [set()]
    assert books.would_be_lost() == set()


def test_each_fsync_of_a_trial_is_needed(books: Books, tmp_path: Path) -> None:
    """What each brings to the disk: a trial has no others."""
    sweep = optrun.sweep(
        write_sweep(tmp_path, BASE, grid={"optimizer.lr": [0.1, 0.3]}), executor="inline", runs_dir=tmp_path / "runs"
    )
    assert books.lost == [set(), set()]
    assert books.would_be_lost() == set()
    trial = sweep.trials[1].directory
    first = books.syncs.index(trial / ".config.yaml.tmp") - 1
    of_trial = [str(path.relative_to(trial.parent.parent)).replace(trial.name, "T") for path in books.syncs[first:]]
    assert of_trial == [
        "s",  # the name of the trial
        "s/T/.config.yaml.tmp",
        "s/T",  # the name of its config
        "s/T/metrics.jsonl",  # the rows that the checkpoint relies on
        "s/T",  # the names of metrics.jsonl and checkpoints
        "s/T/checkpoints/.last.pt.tmp",
        "s/T/checkpoints",  # the name of last.pt
        "s/T/metrics.jsonl",  # the last evaluation
        "s/T/.summary.json.tmp",
        "s/T",  # the name of the summary that says `completed`
    ]


def test_a_longer_run_is_on_the_disk(books: Books, tmp_path: Path) -> None:
    path = write_sweep(tmp_path, BASE, grid={"optimizer.lr": [0.1]})
    optrun.sweep(path, executor="inline", runs_dir=tmp_path / "runs")
    optrun.sweep(path, {"epochs": 3}, executor="inline", runs_dir=tmp_path / "runs")
    assert books.lost == [set(), set()]
    assert books.would_be_lost() == set()
