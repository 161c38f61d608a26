"""The run directory: real files, real processes, real signals."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from forking import processes
from hypothesis import given, settings
from hypothesis import strategies as st

from optrun.errors import NoRunsYet, NotARun, RunError, RunLocked
from optrun.runs import environment, files, reader
from optrun.runs.finding import find, resolve
from optrun.runs.layout import is_run, new_run_directory
from optrun.runs.lock import GroupLock, Lock, is_locked, sweep_up
from optrun.runs.record import Record, strict_json

CALLS = [name for name in vars(files.System) if not name.startswith("_")]
NOW = datetime(2026, 1, 2, 3, 4, 5)


class Interposed(files.System):
    """The disk, with something happening instead of its n-th system call."""

    def __init__(self, n: int, happen: Callable[[], None]) -> None:
        self.left, self.happen = n, happen

    def __getattribute__(self, name: str) -> Any:
        call = super().__getattribute__(name)
        if name not in CALLS:
            return call

        def interposed(*arguments: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.happen()
            return call(*arguments)

        return interposed


def failing(n: int, number: int) -> Interposed:
    """A disk whose n-th system call fails, as it does for want of space or rights, or for a bad block."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return Interposed(n, fail)


def killing(n: int) -> Interposed:
    """A disk on which the process dies before its n-th system call, which is after the one before that."""
    return Interposed(n, lambda: os.kill(os.getpid(), signal.SIGKILL))


class ShortWrites(files.System):
    """A disk that takes `most` bytes at a time, as a nearly full one, a pipe or a network may; and `space` in all."""

    def __init__(self, most: int, space: int = 1 << 40) -> None:
        self.most, self.space = most, space

    def write(self, file: int, data: memoryview) -> int:
        if self.space == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(file, data[: min(self.most, self.space)])
        self.space -= written
        return written


def until_done(call: Callable[[files.System], None], disk: Callable[[int], files.System]) -> Iterator[Exception]:
    """Make `call` on the disk that has its fault at n, n = 1, 2, … until it meets none; yields what failed."""
    for n in range(1, 100):
        try:
            call(disk(n))
        except (OSError, RunError) as error:
            yield error
        else:
            assert n > 3
            return


def in_process(function: Callable[..., None], *arguments: Any) -> int | None:
    """Call `function` in another process; its exit code, negative for a signal."""
    process = processes.Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def start(function: Callable[..., None], *arguments: Any) -> tuple[Any, Connection]:
    """Start `function(*arguments, connection)` in another process; returns it when it has sent something, and ours."""
    ours, theirs = processes.Pipe()
    process = processes.Process(target=function, args=(*arguments, theirs))
    process.start()
    theirs.close()
    assert ours.recv() is not None
    return process, ours


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "runs" / "digits-20260102-030405-0001")


def make_run(directory: Path, status: str = "completed") -> Path:
    directory.mkdir(parents=True)
    with Record(directory, config="name: digits\noptimizer: {name: SGD, lr: 1e-05}\n") as record:
        record.row({"step": 1, "epoch": 0, "time": 0.5, "train/loss": 2.5})
        record.row({"step": 2, "epoch": 1, "time": 1.0, "val/loss": math.nan})
        record.summary({"run": directory.name, "status": status, "final": {"val/loss": math.inf}})
    return directory


# --- layout ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ["layout", "files", "record", "reader", "lock"])
def test_the_room_opens_without_torch(room: str) -> None:
    code = f"import sys, optrun.runs.{room}; assert not {{'torch', 'numpy', 'pydantic'}} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_run_directories_of_the_same_second_differ(tmp_path: Path) -> None:
    made = {new_run_directory(tmp_path / "new" / "runs", "digits", NOW) for _ in range(50)}
    assert len(made) == 50
    for directory in made:
        assert directory.is_dir()
        assert directory.match("new/runs/digits-20260102-030405-[0-9a-f][0-9a-f][0-9a-f][0-9a-f]")
        assert not is_run(directory)


@pytest.mark.parametrize("name", ["../x", "a/b", "/x", "x/"])
def test_a_name_cannot_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is a path, not the name of a run"):
        new_run_directory(tmp_path, name, NOW)


def test_a_file_where_the_runs_should_be_is_a_clean_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match=r"cannot make .*/runs/x-.*: file exists; mend the cause and try again"):
        new_run_directory(tmp_path / "runs", "x", NOW)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bytes | None, number: int
) -> None:
    path = tmp_path / "summary.json"

    def write(disk: files.System) -> None:
        path.unlink(missing_ok=True)
        if old is not None:
            path.write_bytes(old)
        with monkeypatch.context() as patch:
            patch.setattr(files, "system", disk)
            files.write_atomically(path, b"new")

    for _ in until_done(write, lambda n: failing(n, number)):
        left = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        assert left in ({"summary.json": b"new"}, {} if old is None else {"summary.json": old})
    assert path.read_bytes() == b"new"


def _write_and_die(path: Path, n: int) -> None:
    files.system = killing(n)
    files.write_atomically(path, b"new" * 10_000)


def test_a_write_killed_at_any_system_call_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    path, seen = tmp_path / "summary.json", set()
    for n in range(1, 100):
        path.write_bytes(b"old" * 10_000)
        code = in_process(_write_and_die, path, n)
        seen.add(path.read_bytes())
        assert len(list(tmp_path.iterdir())) <= 2  # what is left behind does not add up
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert n > 6
    assert seen == {b"old" * 10_000, b"new" * 10_000}
    files.write_atomically(path, b"newer")
    assert list(tmp_path.iterdir()) == [path]


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "system", ShortWrites(most=7))
    files.write_atomically(tmp_path / "a", bytes(range(256)))
    assert (tmp_path / "a").read_bytes() == bytes(range(256))
    files.LineFile(tmp_path / "b").append(b"a line of more than seven\n")
    assert (tmp_path / "b").read_bytes() == b"a line of more than seven\n"


def test_a_prepared_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (tmp_path / ".summary.json.tmp").symlink_to(outside)
    (tmp_path / "summary.json").symlink_to(outside)
    files.write_atomically(tmp_path / "summary.json", b"new")
    assert outside.read_bytes() == b"precious"
    assert (tmp_path / "summary.json").read_bytes() == b"new"
    assert not (tmp_path / "summary.json").is_symlink()


@pytest.mark.parametrize("tail", [b"", b"torn", b'{"step": 3', b"x" * 200_000])
@pytest.mark.parametrize("whole", [b"", b"\n", b"one\n", b"one\ntwo\n", b"y" * 100_000 + b"\n"])
def test_a_torn_tail_is_cut_on_opening(tmp_path: Path, whole: bytes, tail: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(whole + tail)
    lines = files.LineFile(path)
    assert lines.size == len(whole)
    lines.append(b"more\n")
    assert path.read_bytes() == whole + b"more\n"


# --- record ----------------------------------------------------------------------------------------------------------

numbers = st.floats() | st.integers() | st.none()
rows = st.dictionaries(st.text(), numbers | st.lists(numbers)).map(lambda row: {**row, "step": 1})


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For examples that each write their rows anew."""
    return make_run(tmp_path_factory.mktemp("runs") / "one")


def without_nan(value: Any) -> Any:
    """NaN equals nothing, not even itself; here it is to equal NaN. -0.0 is to differ from 0.0, and 1 from 1.0."""
    return repr(value)


@settings(max_examples=100, deadline=None)
@given(written=st.lists(rows, max_size=5))
def test_rows_come_back_as_they_were_written(one_run: Path, written: list[Any]) -> None:
    with Record(one_run) as record:
        for row in written:
            record.row(row)
        assert record.position == (one_run / "metrics.jsonl").stat().st_size
    run = reader.read(one_run)
    assert without_nan(run.rows()) == without_nan(written)
    assert run.problems == []


def test_every_line_is_strict_json(run: Path) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    with Record(run) as record:
        record.row({"step": 1, "val/loss": math.nan, "lr": [math.inf, -math.inf, 0.1], "train/loss": 1e-05})
    (line,) = (run / "metrics.jsonl").read_text().splitlines()
    assert line == '{"step": 1, "val/loss": "NaN", "lr": ["Infinity", "-Infinity", 0.1], "train/loss": 1e-05}'
    summary = (run / "summary.json").read_text()
    assert json.loads(line, parse_constant=refuse)
    assert json.loads(summary, parse_constant=refuse)["final"] == {"val/loss": "Infinity"}
    assert summary.startswith('{\n  "run": ')
    assert summary.endswith("}\n")


def test_what_json_has_no_form_for_is_refused() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        strict_json({"loss": object()})


def test_the_config_is_written_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "system", failing(5, errno.EIO))  # unlink, open, write, fsync, close
    with pytest.raises(RunError, match=r"cannot write .*config\.yaml: input/output error"):
        Record(tmp_path, config="{name: x}")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    Record(tmp_path, config="{name: x}").close()
    assert reader.read(tmp_path).status == "interrupted"
    assert reader.read(tmp_path).rows() == []


def test_a_resume_cuts_the_rows_after_the_checkpoint(run: Path) -> None:
    with Record(run) as record:
        record.row({"step": 1})
        position = record.position
        record.row({"step": 2})
        record.error("Traceback: …")
    (run / "metrics.jsonl").open("ab").write(b'{"step": 3')
    with Record(run, metrics_bytes=position) as record:
        assert record.position == position
        assert record.notes == []
        record.row({"step": 22})
    assert [row["step"] for row in reader.read(run).rows()] == [1, 22]
    assert not (run / "error.txt").exists()


def test_rows_missing_at_a_resume_are_told(run: Path) -> None:
    with Record(run, metrics_bytes=1_000) as record:
        (note,) = record.notes
        assert note.endswith("has 112 of the 1000 bytes it had at the checkpoint: rows are missing from it")
        assert record.position == 112
    assert len(reader.read(run).rows()) == 2


def test_a_full_disk_keeps_the_whole_rows(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for space in range(40):
        _fill_disk(run, monkeypatch, space)


def _fill_disk(run: Path, monkeypatch: pytest.MonkeyPatch, space: int) -> None:
    with Record(run) as record:
        monkeypatch.setattr(files, "system", ShortWrites(most=3, space=space))
        for step in range(space // 12):
            record.row({"step": step})
            record.flush()
        record.row({"step": 9})
        with pytest.raises(RunError) as caught:
            record.flush()
        assert str(caught.value) == (
            f"cannot write {run}/metrics.jsonl: no space left on device; free some space and `optrun resume {run}`"
        )
        assert record.position == len('{"step": 0}\n') * (space // 12)
        monkeypatch.undo()
        record.row({"step": 99})
    assert [row["step"] for row in reader.read(run).rows()] == [*range(space // 12), 99]


def _fill(run: Path) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
    with Record(run) as record:
        while record.position < 980:
            record.row({"step": record.position})
        record.row({"step": "a row of more than what is left"})
        with pytest.raises(RunError, match=r"cannot write .*metrics.jsonl: file too large; mend the cause"):
            record.flush()


def test_a_real_limit_of_the_kernel_keeps_the_whole_rows(run: Path) -> None:
    assert in_process(_fill, run) == 0
    assert 980 <= (run / "metrics.jsonl").stat().st_size < 1_000
    assert reader.read(run).problems == []
    assert (run / "metrics.jsonl").read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_every_failure_is_one_sentence_and_the_run_can_be_resumed(
    run: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def write(disk: files.System) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(files, "system", disk)
            with Record(run, metrics_bytes=position) as record:
                record.row({"step": 2})
                record.sync()
                record.summary({"status": "running"})

    with Record(run) as record:
        record.row({"step": 1})
        position = record.position
    for error in until_done(write, lambda n: failing(n, number)):
        assert re.fullmatch(f"cannot write {run}/.*: .*; .* and `optrun resume {run}`", str(error))
        seen = reader.read(run)
        assert [row["step"] for row in seen.rows()] in ([1], [1, 2])
        assert seen.problems == []
    assert reader.read(run).status == "interrupted"


@pytest.mark.parametrize("name", ["metrics.jsonl", ".lock"])
def test_nothing_is_written_outside_the_run_directory(run: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside)
    with pytest.raises(RunError, match="too many levels of symbolic links"):
        Record(run, metrics_bytes=3) if name == "metrics.jsonl" else Lock(run)
    assert outside.read_bytes() == b"precious"


def _write_rows(run: Path, position: int, connection: Connection) -> None:
    with Lock(run), Record(run, metrics_bytes=position) as record:
        record.summary({"status": "running"})
        connection.send("ready")
        for step in range(1, 1_000_000):
            record.row({"step": step, "train/loss": 1 / step})
            if step % 50 == 0:
                record.sync()
                record.summary({"status": "running", "steps": step})


def test_a_run_killed_while_writing_can_always_be_read(run: Path) -> None:
    chance, position = random.Random(0), 0
    for _ in range(20):
        process, _ = start(_write_rows, run, position)
        wanted = position + chance.randrange(1, 20_000)
        while (run / "metrics.jsonl").stat().st_size < wanted:
            if chance.random() < 0.1:
                assert reader.read(run).status == "running"
        process.kill()
        process.join()
        killed = reader.read(run)
        assert killed.status == "interrupted"
        assert killed.problems == []
        assert [row["step"] for row in killed.rows()][-1] >= killed.summary.get("steps", 0)
        position = chance.choice([0, len((run / "metrics.jsonl").read_bytes().split(b"\n")[0]) + 1])


# --- reader ----------------------------------------------------------------------------------------------------------


def test_a_run_is_read_back(run: Path) -> None:
    read = reader.read(run)
    assert read.config == {"name": "digits", "optimizer": {"name": "SGD", "lr": 1e-05}}
    assert read.status == "completed"
    assert read.summary["final"] == {"val/loss": math.inf}
    assert read.rows()[0] == {"step": 1, "epoch": 0, "time": 0.5, "train/loss": 2.5}
    assert math.isnan(read.rows()[1]["val/loss"])
    assert read.environment == {}
    assert read.problems == []


@pytest.mark.parametrize("name", ["metrics.jsonl", "summary.json", "environment.json", "config.yaml"])
def test_a_file_cut_at_any_byte_is_no_obstacle(run: Path, name: str) -> None:
    with Record(run, metrics_bytes=1_000) as record:
        record.environment({"threads": 1})
    content = (run / name).read_bytes()
    for length in range(len(content)):
        (run / name).write_bytes(content[:length])
        read = reader.read(run)
        assert len(read.rows()) <= 2
        assert read.status in ("completed", "interrupted")
        assert isinstance(read.config, dict)
        assert isinstance(read.environment, dict)
        if name == "metrics.jsonl":
            assert read.problems == []
            assert len(read.rows()) == content[:length].count(b"\n")


def test_random_bytes_are_reported_and_never_raised(run: Path) -> None:
    chance = random.Random(0)
    for name in ["metrics.jsonl", "summary.json", "environment.json", "config.yaml"]:
        for _ in range(50):
            (run / name).write_bytes(chance.randbytes(chance.randrange(200)))
            read = reader.read(run)
            assert isinstance(read.rows(), list)
            assert isinstance(read.config, dict)
            assert isinstance(read.environment, dict)
            assert read.problems or name == "metrics.jsonl"


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ('{"step": 1, "lr": [0.1, "NaN"]}', True),
        ('{"step": 1, "lr": null}', True),
        ('{"step": 1, "name": "x"}', False),
        ('{"step": "1"}', False),
        ('{"lr": 1}', False),
        ("[1]", False),
        ("", False),
        ("[" * 100_000, False),
        ('{"step": ' + "9" * 5_000 + "}", False),
        ('{"step": 1, "x": {}}', False),
        ("\x00\xff", False),
    ],
)
def test_lines_that_are_no_rows_are_left_out_and_counted(run: Path, line: str, kept: bool) -> None:
    (run / "metrics.jsonl").write_text(f'{{"step": 7}}\n{line}\n{{"step": 8}}\n{line}\n')
    read = reader.read(run)
    assert len(read.rows()) == len(read.rows()) == (4 if kept else 2)
    assert read.problems == ([] if kept else [f"{run}/metrics.jsonl:2: 2 lines are no rows, and left out"])


def test_a_summary_of_the_wrong_types_is_put_right(run: Path) -> None:
    mangled = {
        "status": 3,
        "steps": "x",
        "final": {"a": [], "b": "NaN"},
        "best": 1,
        "train_time": "Infinity",
        "own": {},
    }
    (run / "summary.json").write_text(json.dumps(mangled))
    read = reader.read(run)
    assert read.status == "interrupted"
    assert without_nan(read.summary) == without_nan(
        {"status": None, "steps": None, "final": {"a": None, "b": math.nan}, "best": None, "train_time": math.inf}
        | {"own": {}}
    )
    assert len(read.problems) == 4


def test_a_pipe_in_place_of_a_file_is_not_waited_for(run: Path) -> None:
    for name in ("metrics.jsonl", "summary.json", "environment.json"):
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)
    read = reader.read(run)
    assert read.rows() == []
    assert read.environment == {}
    assert [problem.partition(": ")[2] for problem in read.problems] == ["it cannot be read: it is no regular file"] * 3


@pytest.mark.parametrize("status", ["completed", "failed", "diverged", "interrupted", "pruned"])
def test_an_end_is_shown_as_it_is(tmp_path: Path, status: str) -> None:
    assert reader.read(make_run(tmp_path / "x", status)).status == status


def test_running_is_believed_only_while_the_lock_is_held(tmp_path: Path) -> None:
    run = make_run(tmp_path / "x", "running")
    assert reader.read(run).status == "interrupted"
    with Lock(run):
        assert reader.read(run).status == "running"
    (run / "summary.json").unlink()
    assert reader.read(run).status == "interrupted"
    with Lock(run):
        assert reader.read(run).status == "running"


def _end_runs(run: Path, connection: Connection) -> None:
    connection.send("ready")
    while connection.recv() == "go":
        with Lock(run), Record(run) as record:
            record.summary({"status": "running"})
            record.summary({"status": "completed"})
        connection.send("ended")


def test_a_run_that_ends_while_it_is_read_is_not_called_interrupted(run: Path) -> None:
    process, connection = start(_end_runs, run)
    for _ in range(50):
        connection.send("go")
        while not connection.poll():
            assert reader.read(run).status in ("running", "completed")
        connection.recv()
    connection.send("enough")
    process.join()
    assert reader.read(run).status == "completed"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """runs/ with two runs and a sweep of two trials, oldest first, seen from its parent."""
    names = ["digits-20260101-000000-aaaa", "lr/sgd-11111111", "lr/sgd-22222222", "digits-20260102-000000-bbbb"]
    for second, name in enumerate(names):
        run = make_run(tmp_path / "runs" / name)
        os.utime(run / "config.yaml", (second, second))
    (tmp_path / "runs" / "lr" / "sgd-33333333").mkdir()  # a trial that has not begun
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return Path("runs")


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        ([], "digits-20260101-000000-aaaa digits-20260102-000000-bbbb sgd-11111111 sgd-22222222"),
        (["runs"], "digits-20260101-000000-aaaa digits-20260102-000000-bbbb sgd-11111111 sgd-22222222"),
        (["runs/lr"], "sgd-11111111 sgd-22222222"),
        (["lr"], "sgd-11111111 sgd-22222222"),
        (["runs/lr/sgd-2*", "lr"], "sgd-22222222 sgd-11111111"),
        (["lr/*"], "sgd-11111111 sgd-22222222"),
        (["last", "sgd-1"], "digits-20260102-000000-bbbb sgd-11111111"),
    ],
)
def test_finding_runs(tree: Path, paths: list[str], found: str) -> None:
    assert [run.path.name for run in find(paths, tree)] == found.split()


def test_a_loop_of_links_ends(tree: Path) -> None:
    (tree / "lr" / "loop").symlink_to(tree.absolute())
    assert len(find([tree / "lr"], tree)) == 4
    assert find([], Path("missing")) == []


def test_a_glob_of_the_shell_names_every_file_of_a_sweep(tree: Path) -> None:
    (tree / "lr" / "sweep.yaml").write_text("name: lr")
    assert len(find(sorted((tree / "lr").iterdir()), tree)) == 2
    with pytest.raises(NoRunsYet, match=r"there are no runs in runs/lr/sweep\.yaml$"):
        find(["runs/lr/sweep.yaml"], tree)


@pytest.mark.parametrize(("text", "meant"), [("runs/rl", "runs/lr"), ("lrs", "lr"), ("rusn/lr", None)])
def test_a_path_that_does_not_exist_is_answered_with_the_one_that_is_near(
    tree: Path, text: str, meant: str | None
) -> None:
    words = f"there is no {text}; did you mean {meant}?" if meant else f"there is no run {text} in runs; the newest is"
    with pytest.raises(NotARun, match=re.escape(words)) as caught:
        find([text], tree)
    assert not isinstance(caught.value, NoRunsYet)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("last", "runs/digits-20260102-000000-bbbb"),
        ("runs/lr/sgd-11111111", "runs/lr/sgd-11111111"),
        ("lr/sgd-11111111", "runs/lr/sgd-11111111"),
        ("sgd-11111111", "runs/lr/sgd-11111111"),
        ("sgd-2", "runs/lr/sgd-22222222"),
        ("lr/sgd-2", "runs/lr/sgd-22222222"),
        ("digits-20260101", "runs/digits-20260101-000000-aaaa"),
    ],
)
def test_resolving_a_run(tree: Path, text: str, path: str) -> None:
    assert resolve(text, tree) == Path(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dig", "2 runs are called dig…: digits-20260102-000000-bbbb, digits-20260101-000000-aaaa; name one of them"),
        ("sgd-11111112", "there is no run sgd-11111112 in runs; did you mean lr/sgd-11111111?"),
        ("zzz", "there is no run zzz in runs; the newest is digits-20260102-000000-bbbb"),
        ("", "there is no run  in runs; the newest is digits-20260102-000000-bbbb"),
        ("runs/lr", "runs/lr is a directory of runs; name one of them, such as runs/lr/sgd-11111111"),
    ],
)
def test_what_is_no_run_is_answered_with_what_is_near(tree: Path, text: str, message: str) -> None:
    with pytest.raises(NotARun) as caught:
        resolve(text, tree)
    assert str(caught.value) == message


def test_no_runs_at_all(tree: Path) -> None:
    with pytest.raises(NotARun, match="there is no run last: empty holds no runs"):
        resolve("last", Path("empty"))
    with pytest.raises(NoRunsYet, match="there are no runs in empty"):
        find(["empty"], tree)
    with pytest.raises(NotARun, match=r"empty is not a run: it has no config\.yaml"):
        reader.read(Path("empty"))


# --- lock ------------------------------------------------------------------------------------------------------------


def test_looking_at_a_lock_creates_nothing(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert not is_locked(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


def test_one_holds_the_lock(tmp_path: Path) -> None:
    with Lock(tmp_path) as lock:
        assert is_locked(tmp_path)
        with pytest.raises(RunLocked, match=rf"{tmp_path} is in use by process {os.getpid()} on .*; wait for it, or"):
            Lock(tmp_path)
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    lock.release()
    with Lock(tmp_path):
        assert is_locked(tmp_path)


def test_a_place_without_a_lock_is_a_clean_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot lock .*/missing/.lock: no such file or directory; mend the cause"):
        Lock(tmp_path / "missing")


def _hold_and_fork(directory: Path, connection: Connection) -> None:
    """Hold the lock, with a forked child and a program running that both outlive this process."""
    with Lock(directory):
        child = os.fork()
        if child == 0:
            signal.pause()
        program = subprocess.Popen(["sleep", "60"])
        connection.send((child, program.pid))
        signal.pause()


def _take_lock(directory: Path) -> None:
    Lock(directory).release()


def test_a_dead_process_holds_no_lock_whatever_it_started(tmp_path: Path) -> None:
    ours, theirs = processes.Pipe()
    process = processes.Process(target=_hold_and_fork, args=(tmp_path, theirs))
    process.start()
    started = ours.recv()
    assert is_locked(tmp_path)
    process.kill()
    process.join()
    try:
        assert not is_locked(tmp_path)
        assert in_process(_take_lock, tmp_path) == 0
        for pid in started:
            os.kill(pid, 0)  # raises if it were dead: then nothing would be shown
    finally:
        for pid in started:
            os.kill(pid, signal.SIGKILL)


def _fork_a_child_that_ends(directory: Path) -> None:
    with Lock(directory) as lock:
        child = os.fork()
        if child == 0:
            lock.release()
            os._exit(0 if is_locked(directory) else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert is_locked(directory)


def test_a_child_cannot_release_the_lock_of_its_parent(tmp_path: Path) -> None:
    assert in_process(_fork_a_child_that_ends, tmp_path) == 0
    assert not is_locked(tmp_path)


def _release_beside_a_child(directory: Path) -> None:
    """Let go of the lock while a child has a copy of which Python does not know."""
    lock = Lock(directory)
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        signal.pause()
    lock.release()
    free = not is_locked(directory)
    os.kill(child, signal.SIGKILL)
    assert free


def test_a_child_of_a_c_library_cannot_keep_the_lock(tmp_path: Path) -> None:
    assert in_process(_release_beside_a_child, tmp_path) == 0


def _compete(directory: Path, connection: Connection) -> None:
    connection.send("ready")
    connection.recv()
    try:
        lock = Lock(directory)
    except RunLocked as error:
        connection.send(str(error))
    else:
        connection.send("won")
        connection.recv()
        lock.release()


def test_of_many_processes_one_wins(tmp_path: Path) -> None:
    competitors = [start(_compete, tmp_path) for _ in range(8)]
    for _, connection in competitors:
        connection.send("go")
    results = [connection.recv() for _, connection in competitors]
    assert results.count("won") == 1
    assert sum("is in use by " in result for result in results) == 7
    for process, connection in competitors:
        connection.close()
        process.join()


def _look(directory: Path, connection: Connection) -> None:
    connection.send("ready")
    while not connection.poll():
        is_locked(directory)


def test_the_lock_is_had_when_who_looked_has_looked(tmp_path: Path) -> None:
    Lock(tmp_path).release()
    process, connection = start(_compete, tmp_path)
    with open(tmp_path / ".lock") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        connection.send("go")
        assert not connection.poll(0.05)  # it neither has the lock nor gives up
    assert connection.recv() == "won"
    connection.send("enough")
    process.join()


def test_who_only_looks_is_in_nobodys_way(tmp_path: Path) -> None:
    with Lock(tmp_path):
        onlookers = [start(_look, tmp_path) for _ in range(3)]
    for _ in range(200):
        Lock(tmp_path).release()
    for process, connection in onlookers:
        connection.send("enough")
        process.join()


def _hold_group(directory: Path, connection: Connection) -> None:
    with GroupLock(directory, ["a", "b"]):
        connection.send("held")
        signal.pause()


def test_a_group_holds_the_locks_of_its_runs(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    with GroupLock(tmp_path, ["a", "b"]) as group, group.member(tmp_path / "a"), group.member(tmp_path / "b"):
        assert [is_locked(tmp_path / name) for name in "abc"] == [True, True, False]
        with pytest.raises(RunLocked, match=rf"{tmp_path}/a is in use by process {os.getpid()} on .*; wait for it, or"):
            Lock(tmp_path / "a")
        with GroupLock(tmp_path, ["b", "c"]) as other, pytest.raises(RunLocked, match="/b is in use by process"):
            other.member(tmp_path / "b")
        with Lock(tmp_path / "c"), pytest.raises(RunLocked, match="/c is in use by another process"):
            group.member(tmp_path / "c")
    assert not any(is_locked(tmp_path / name) for name in "abc")
    with Lock(tmp_path / "a"):
        assert list((tmp_path / ".groups").iterdir()) == []


def test_a_killed_group_holds_nothing_and_is_swept_up(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    ours, theirs = processes.Pipe()
    process = processes.Process(target=_hold_group, args=(tmp_path, theirs))
    process.start()
    assert ours.recv() == "held"
    sweep_up(tmp_path)
    assert is_locked(tmp_path / "a")
    process.kill()
    process.join()
    assert not is_locked(tmp_path / "a")
    Lock(tmp_path / "a").release()
    sweep_up(tmp_path)
    assert list((tmp_path / ".groups").iterdir()) == []


# --- environment -----------------------------------------------------------------------------------------------------


def git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.check_output(["git", "-C", directory, *identity, *arguments], text=True).strip()


def test_the_environment_is_described(tmp_path: Path) -> None:
    import numpy
    import torch

    around = environment.surroundings(tmp_path)
    described = environment.describe(["optrun", "train", "my digits.yaml"], threads=1, device="cpu", around=around)
    assert described["versions"]["torch"] == torch.__version__
    assert described["versions"]["numpy"] == numpy.__version__
    assert described["command_line"] == "optrun train 'my digits.yaml'"
    assert datetime.fromisoformat(described["started"]).tzinfo is not None
    assert described["threads"] == 1
    assert described["git"] is None
    assert described["gpus"] == described["resumes"] == []
    assert all(described[key] for key in ("os", "hostname", "cpu", "cpu_count", "device"))
    again = environment.resumed(json.loads(strict_json(described)), 40, ["optrun", "resume", "x"])
    again = environment.resumed(again, 60, ["optrun", "resume", "x"])
    assert [resume["step"] for resume in again["resumes"]] == [40, 60]
    assert again["resumes"][0]["versions"] == described["versions"]
    assert described["resumes"] == []
    assert environment.resumed({"resumes": "mangled"}, 1, ["x"])["resumes"][0]["step"] == 1


def test_the_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "digits.yaml").write_text("seed: 0\n")
    git(tmp_path, "init", "-q")
    assert environment.git(tmp_path) is None  # no commit yet
    git(tmp_path, "add", "configs")
    git(tmp_path, "commit", "-qm", "first")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "untracked").write_text("")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert environment.git(tmp_path / "configs") == {"commit": commit, "dirty": False}
    (tmp_path / "configs" / "digits.yaml").write_text("seed: 11\n")
    assert environment.git(tmp_path / "configs") == {"commit": commit, "dirty": True}


@pytest.mark.parametrize("key", ["core.fsmonitor", "filter.evil.clean", "core.sshCommand", "hook"])
def test_a_strangers_repository_starts_no_program(tmp_path: Path, key: str) -> None:
    repository, ran = tmp_path / "repository", tmp_path / "ran"
    repository.mkdir()
    git(repository, "init", "-q")
    (repository / "a").write_text("1")
    (repository / ".gitattributes").write_text("a filter=evil\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "first")
    (repository / "a").write_text("2")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    if key == "hook":
        (repository / ".git" / "hooks" / "post-index-change").symlink_to(program)
    else:
        git(repository, "config", key, str(program))
    described = environment.git(repository)
    assert described is not None
    assert described["dirty"] is (None if key.startswith("filter") else True)
    assert not ran.exists()
    if key != "core.sshCommand":
        subprocess.run(["git", "status"], cwd=repository, capture_output=True, check=False)
        assert ran.exists()  # as it does for everybody else
