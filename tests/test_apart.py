"""Trials whose work does not see their directories, without a cluster: the work is done in this process."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sweeping import BASE, metrics, statuses, write_sweep

from optrun.config.sweep import load_sweep
from optrun.runs.journal import PIECE
from optrun.runs.lock import Lock
from optrun.sweeps import Sweep, parcel, work
from optrun.sweeps.executors.apart import Apart
from optrun.sweeps.executors.fused import Fused
from optrun.sweeps.executors.inline import Inline
from optrun.sweeps.executors.interface import Executor, Lost
from optrun.sweeps.freight import Stock, _looked_at, pieces
from optrun.sweeps.lodging import lodge, lodging
from optrun.sweeps.tasks import Ended, Noted
from optrun.sweeps.work import train_trial


class Here(Executor):
    """A far executor in this process: what it is given and what it says is pickled. `most` messages come of a task that
    trains, and no more: as if the driver were killed then."""

    jobs = neighbours = 1
    stopped = None

    def __init__(self, most: int | None = None) -> None:
        self.most = most

    def run(self, work: Callable[[Any], Iterator[Any]], tasks: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        for task in tasks:
            for number, said in enumerate(work(pickle.loads(pickle.dumps(task)))):
                if task.work is train_trial and number == self.most:
                    raise KeyboardInterrupt
                yield task, pickle.loads(pickle.dumps(said))


def sweep(path: Path, runs: Path, executor: Executor) -> Sweep:
    found = Sweep(load_sweep(path), runs)
    with found, executor:
        for _ in found.events(executor):
            pass
    return found


class Dying(Here):
    """Loses its worker whenever a trial has said how it ended, and tries it once more."""

    def run(self, work: Callable[[Any], Iterator[Any]], tasks: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        for task in tasks:
            for _, said in super().run(work, [task]):
                yield task, said
                if isinstance(said.report, Ended):
                    yield task, Lost("its process died.", again=True)
                    yield from super().run(work, [task])
                    break


@pytest.fixture
def path(tmp_path: Path) -> Path:
    base = {**BASE, "checkpoint_every": 1}
    return write_sweep(tmp_path, base, grid={"optimizer.lr": [0.1, 0.2]})


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_what_had_come_back_is_gone_on_with(path: Path, tmp_path: Path, most: int) -> None:
    sweep(path, tmp_path / "inline", Inline())
    with pytest.raises(KeyboardInterrupt):
        sweep(path, tmp_path / "apart", Apart(Here(most)))
    sweep(path, tmp_path / "apart", Apart(Here()))
    assert metrics(tmp_path / "apart" / "s") == metrics(tmp_path / "inline" / "s")


def test_empty_directories_go_along(path: Path, tmp_path: Path) -> None:
    """A driver that was killed before the first checkpoint had come leaves one."""
    sweep(path, tmp_path, Apart(Here()))
    for run in (tmp_path / "s").glob("t-*"):
        for file in [*(run / "checkpoints").iterdir(), run / "summary.json"]:
            file.unlink()
    sweep(path, tmp_path, Apart(Here()))
    assert statuses(tmp_path / "s") == ["completed"] * 2


def test_a_trial_ends_once(path: Path, tmp_path: Path) -> None:
    found = Sweep(load_sweep(path), tmp_path)
    with found, Apart(Dying()) as executor:
        said = [event for event in found.events(executor) if event is not None]
    assert [*map(type, said)].count(Noted) == 0
    assert sum(isinstance(event, tuple) and isinstance(event[1], Ended) for event in said) == 2
    assert found.counts == {"completed": 2}


def test_work_that_raises_fails_its_trial_alone(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exits(experiment: Any, until: int | None) -> Iterator[Any]:
        if experiment.spec.optimizer.settings["lr"] == 0.1:
            raise SystemExit(7)
        return trains(experiment, until)

    trains = work._training
    monkeypatch.setattr(work, "_training", exits)
    sweep(path, tmp_path, Apart(Here()))
    assert sorted(statuses(tmp_path / "s")) == ["completed", "failed"]


def test_a_trial_that_is_in_use_fails_alone(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also out of a group."""
    monkeypatch.setattr(parcel, "PATIENCE", 0.0)
    spec = load_sweep(path, axes=["optimizer.lr=0.1,0.2,0.3"])
    for name, executor in (("alone", Apart(Here())), ("fused", Fused(Apart(Here()), race=False))):
        found = Sweep(spec, tmp_path / name)
        used = found.plan()[0].directory
        used.mkdir(parents=True)
        with Lock(used), found, executor:
            for _ in found.events(executor):
                pass
        assert found.counts == {"completed": 2, "failed": 1}


@pytest.fixture
def lodged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a machine, with a process that has its own in it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = lodging()
    with lodge(folder):
        yield folder


@pytest.mark.parametrize("content", [{"a.csv": 0, "b/c.csv": 3 * PIECE // 2}, {}])
def test_data_is_received_whole(tmp_path: Path, content: dict[str, int], lodged: Path) -> None:
    """By two at the same time, too."""
    (tmp_path / "data" / "b").mkdir(parents=True)
    for name, size in content.items():
        (tmp_path / "data" / name).write_bytes(bytes(size))
    given = [_looked_at(str(tmp_path / "data"))]
    *sent, end = pieces(given, [given[0].path])
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    stocks = [Stock(given, lodged)]
    with lodge(lodged):
        stocks.append(Stock(given, lodged))
        for piece in sent:
            for stock in stocks:
                stock.receive(*piece)
                assert stock.places() == {given[0].path: None}
        for stock in stocks:
            stock.receive(*end)
        place = stock.places()[given[0].path]
    assert place is not None
    found = {str(path.relative_to(place)): path.stat().st_size for path in Path(place).rglob("*") if path.is_file()}
    assert found == content


def test_data_that_changes_meanwhile_is_not_taken(tmp_path: Path, lodged: Path) -> None:
    (tmp_path / "own.csv").write_text("a\n1\n")
    given = [_looked_at(str(tmp_path / "own.csv"))]
    (tmp_path / "own.csv").write_text("a\n1\n2\n")
    stock = Stock(given, lodged)
    *sent, end = pieces(given, [given[0].path])
    for piece in sent:
        stock.receive(*piece)
    with pytest.raises(OSError, match="has changed while it was sent"):
        stock.receive(*end)


def test_what_killed_processes_leave_is_removed(tmp_path: Path, lodged: Path) -> None:
    (lodged / "worker-killed" / "optrun-trial").mkdir(parents=True)
    own = tempfile.gettempdir()
    with lodge(lodged):
        assert sorted(lodged.iterdir()) == sorted(map(Path, (own, tempfile.gettempdir())))


@pytest.mark.usefixtures("lodged")
def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lodging().chmod(0o755)
    with pytest.raises(PermissionError, match="only you can enter"):
        lodging()
