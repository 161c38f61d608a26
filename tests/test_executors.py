"""The executors of sweeps: what they report of tasks, and what their processes have and leave."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import executor_tasks as tasks
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import Driver, descendants, pool, reports

from optrun.errors import UsageError
from optrun.signals import StopRequest
from optrun.sweeps.executors.inline import Inline
from optrun.sweeps.executors.interface import Executor
from optrun.sweeps.executors.pool import Pool


@pytest.fixture(scope="module", params=[Inline, pool], ids=["inline", "pool"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """One for many tests: tasks must not be able to spoil it."""
    with request.param() as entered:
        yield entered


@pytest.fixture(scope="module")
def processes() -> Iterator[Pool]:
    with pool() as entered:
        yield entered


# What is reported ----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 6), max_size=25))
def test_every_report_of_every_task_in_its_order(executor: Executor, given: list[int]) -> None:
    ranges = [tasks.Count(number) for number in given]
    heard: dict[int, list[int]] = {id(task): [] for task in ranges}
    for task, report in reports(executor, tasks.count, ranges):
        heard[id(task)].append(report)
    assert heard == {id(task): list(range(task.upto)) for task in ranges}
    assert executor.stopped is None


def test_large_tasks_and_reports(executor: Executor) -> None:
    data = [bytes([index]) * 3_000_000 for index in range(4)]
    assert sorted(report for _, report in reports(executor, tasks.doubled, data)) == [part + part for part in data]


@pytest.mark.parametrize(
    ("kind", "reason"), [("raises", "ValueError: no such thing"), ("exits", "SystemExit: enough"), ("never", None)]
)
def test_an_exception_of_the_work_is_a_report(executor: Executor, kind: str, reason: str | None) -> None:
    pids = {pid for _, pid in reports(executor, tasks.here, [0] * 20)}
    heard = [report for _, report in reports(executor, tasks.fails, [kind])]
    if reason is None:
        assert heard == ["begun", "ended"]
    else:
        begun, lost = heard
        assert begun == "begun"
        assert (lost.reason, lost.again) == (reason, False)
        assert 'executor_tasks.py", line' in lost.trace
    assert {pid for _, pid in reports(executor, tasks.here, [0] * 20)} == pids


def test_workers_survive_what_cannot_be_pickled(processes: Pool) -> None:
    begun, lost = (report for _, report in reports(processes, tasks.fails, ["cannot be pickled"]))
    assert begun == "begun"
    assert not lost.again
    assert re.search("Can't pickle|Can't get local object", lost.reason)


def test_nothing_to_do(executor: Executor) -> None:
    assert list(executor.run(tasks.count, [])) == []


def test_ticks_while_there_is_nothing_to_hear(processes: Pool, tmp_path: Path) -> None:
    heard = []
    for task, report in processes.run(tasks.until_there, [tmp_path / "awaited"]):
        heard.append(report)
        if task is None:
            (tmp_path / "awaited").touch()
    assert heard[0] is None
    assert heard[-1] == "there"


def test_work_that_other_processes_would_not_find(processes: Pool) -> None:
    work = type(tasks.here)(tasks.here.__code__, {"__name__": "__main__"})
    with pytest.raises(ValueError, match="put it in a module"):
        reports(processes, work, [0])


# Processes -----------------------------------------------------------------------------------------------------------


def test_workers_are_reused_and_no_more_than_needed() -> None:
    before = descendants(os.getpid())
    with pool(2) as executor:
        (one,) = {pid for _, pid in reports(executor, tasks.here, [0])}
        assert len(descendants(os.getpid())) == len(before) + 2  # the template and one worker
        pids = {one} | {pid for _ in range(5) for _, pid in reports(executor, tasks.here, range(10))}
        assert len(pids) <= 2
        assert pids < descendants(os.getpid())
        assert os.getpid() not in pids


def test_tasks_run_side_by_side(tmp_path: Path) -> None:
    """Each waits for what another one makes, or they would never end."""
    with pool(3) as executor:
        files = [tmp_path / str(number) for number in range(3)]
        heard = reports(executor, tasks.meets, [(files[n], files[n - 1]) for n in range(3)])
    assert [report for _, report in heard] == ["met"] * 3


def test_nothing_remains() -> None:
    before = descendants(os.getpid())
    with pool() as executor:
        reports(executor, tasks.here, range(10))
        for task, _ in executor.run(tasks.with_child, ["lives"] * 2):
            if task is not None:
                break
        assert len(descendants(os.getpid())) > len(before)
    assert descendants(os.getpid()) == before
    with pool():  # left before it could begin
        pass
    assert descendants(os.getpid()) == before


def test_closing_kills_what_runs() -> None:
    with pool() as executor:
        running = executor.run(tasks.deaf, range(2))
        pids: set[int] = set()
        while len(pids) < 2:
            pids |= {pid for _, pid in [next(running)] if pid is not None}
        running.close()
        assert not pids & descendants(os.getpid())
        again = reports(executor, tasks.here, range(4))
        assert len(again) == 4
        assert not pids & {pid for _, pid in again}


def test_a_consumer_that_fails() -> None:
    before = descendants(os.getpid())

    def fail() -> None:
        with pool() as executor:
            for task, _ in executor.run(tasks.deaf, range(2)):
                if task is not None:
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert descendants(os.getpid()) == before


def test_what_a_worker_has_of_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pool() as executor:
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path / "modules")
        (_, found), *_ = reports(executor, tasks.surroundings, [0])
    assert found["folder"] == str(tmp_path)
    assert found["path"] == sys.path
    assert found["argv"] == sys.argv
    assert found["group"] == found["pid"]


def test_from_a_thread() -> None:
    heard: list[Any] = []

    def drive() -> None:
        with pool() as executor:
            heard.extend(reports(executor, tasks.count, [tasks.Count(2)]))

    thread = threading.Thread(target=drive)
    thread.start()
    thread.join()
    assert [report for _, report in heard] == [0, 1]


def test_users_files(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import optrun\n@optrun.metrics.register\ndef mine(outputs, targets): return 0.0\n")
    with pool(imports=[file]) as executor:
        assert sorted(reports(executor, tasks.registered, ["mine", "other"])) == [("mine", True), ("other", False)]


def test_memory_is_returned() -> None:
    with pool(1) as executor:
        (_, before), *_ = reports(executor, tasks.fills, [0])
        (_, first), (_, second) = reports(executor, tasks.fills, [500, 0])
    assert max(first, second) - before < 20e6


def test_workers_share_the_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in for torch here says that there are three CUDA devices."""
    (tmp_path / "torch.py").write_text(
        "class backends:\n    class cuda:\n        is_built = staticmethod(lambda: True)\n"
        "class cuda:\n    device_count = staticmethod(lambda: 3)\n    is_initialized = staticmethod(lambda: False)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    with pool(None, preload=["torch"]) as executor:
        assert executor.jobs == 3  # known before the first task is handed out
        heard = reports(executor, tasks.meets_others, [(tmp_path / "first", 3)] * 3)
        assert sorted(device for _, device in heard) == ["4", "6", "7"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pool(5, preload=["torch"]) as executor:
        heard = reports(executor, tasks.meets_others, [(tmp_path / "second", 5)] * 5)
        assert sorted(device for _, device in heard) == ["0", "0", "1", "1", "2"]


def test_jobs() -> None:
    assert 1 <= Pool().jobs <= len(os.sched_getaffinity(0))
    assert Inline().jobs == 1
    with pytest.raises(UsageError, match="0 jobs cannot do anything; give at least 1"):
        Pool(0)


# What the program around it notices ----------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["inline", "pool"])
def test_stdout_is_the_drivers(executor: str) -> None:
    driver = Driver(executor, "prints", "one", "two")
    code, out, err = driver.end()
    assert code == 0
    below = {"one from below", "two from below"} if executor == "inline" else set()  # that is no file of Python's
    assert sorted({*out.splitlines()} - below) == ["one one", "two two"]
    for name in ("one", "two"):
        assert f"{name} from Python" in err
        assert f"{name} from below" in (out if executor == "inline" else err)


DEBUGGED = """\
import executor_tasks as tasks
from optrun.sweeps.executors.inline import Inline
with Inline() as executor:
    print([report for _, report in executor.run(tasks.debugged, [20])])
"""


def test_a_debugger_works_inline() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    typed = "p task + 1\ntask = 41\nc\n"
    done = subprocess.run(
        [sys.executable, "-c", DEBUGGED], input=typed, capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout == "[42]\n"
    assert "(Pdb) 21" in done.stderr


SCRIPT = """\
print("run")
import sys
import executor_tasks as tasks
from optrun.sweeps.executors.pool import Pool
with Pool(2, preload=()) as executor:
    print(sorted({report for task, report in executor.run(tasks.count, [tasks.Count(3)]) if task is not None}))
print([name for name in sys.modules if name in ("torch", "numpy")])
"""


def test_a_script_without_a_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("run\n[0, 1, 2]\n[]\n", "")


def test_workers_have_torch_with_one_thread() -> None:
    environment = dict(os.environ)
    with Pool(1) as executor:
        (_, threads), *_ = reports(executor, tasks.torch_threads, [0])
    assert threads == {"torch": 1, "process": 2}  # the main thread, and the one that listens to the driver
    assert os.environ == environment


# StopRequest within StopRequest --------------------------------------------------------------------------------------


def test_an_inner_request_hears_of_an_earlier_signal() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as outer:
        with StopRequest() as first:
            pass
        with StopRequest() as second:
            os.kill(os.getpid(), signal.SIGTERM)
        with StopRequest() as third:
            assert signal.getsignal(signal.SIGTERM) is before
    assert [request.signal for request in (outer, first, second, third)] == [15, None, 15, 15]
    assert signal.getsignal(signal.SIGTERM) is before
    with StopRequest() as later:
        assert signal.getsignal(signal.SIGTERM) != before
    assert later.signal is None
    assert signal.getsignal(signal.SIGTERM) is before
