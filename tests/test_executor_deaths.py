"""Signals and deaths: of workers, of the process they come from, of the driver. All of them are real."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import executor_tasks as tasks
import pytest
from processes import DRIVER, Driver, assert_dead, descendants, pool, reports

from optrun.errors import OptrunError
from optrun.sweeps.executors.interface import Lost
from optrun.sweeps.executors.pool import Pool


@pytest.fixture(scope="module")
def processes() -> Iterator[Pool]:
    with pool() as entered:
        yield entered


# Deaths --------------------------------------------------------------------------------------------------------------

CAUSES = {
    "killed": "its process was killed by signal 9 (SIGKILL); was the memory full?",
    "crashes": "its process was killed by signal 11 (SIGSEGV).",
    "exits": "its process ended with exit code 3.",
}


@pytest.mark.parametrize("how", CAUSES)
def test_a_death_is_tried_again(processes: Pool, how: str, tmp_path: Path) -> None:
    unlucky = (how, tmp_path / "unlucky", 1)
    doomed = (how, tmp_path / "doomed", 2)
    lucky = [(how, tmp_path / str(number), 0) for number in range(5)]
    heard = reports(processes, tasks.dies, [unlucky, doomed, *lucky])
    again, not_again = Lost(CAUSES[how], again=True), Lost(CAUSES[how], again=False)
    of = {task: [report for its, report in heard if its is task] for task in (unlucky, doomed, *lucky)}
    assert of.pop(unlucky) == ["begun", again, "begun", "ended"]
    assert of.pop(doomed) == ["begun", again, "begun", not_again]
    assert all(told == ["begun", "ended"] for told in of.values())
    assert len(set((tmp_path / "doomed").read_text().split())) == 2  # another process each time


def test_what_a_dead_worker_has_started_dies(processes: Pool) -> None:
    heard = reports(processes, tasks.with_child, ["dies"])
    assert_dead([pid for _, pid in heard if isinstance(pid, int)])
    assert [report.again for _, report in heard if isinstance(report, Lost)] == [True, False]


def test_an_idle_worker_dies(processes: Pool) -> None:
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        idle = {pid for _, pid in reports(processes, tasks.here, range(10))}
        for pid in idle:
            os.kill(pid, number)
        assert not idle & {pid for _, pid in reports(processes, tasks.here, range(10))}


def failing(tmp_path: Path, program: str) -> Pool:
    file = tmp_path / "wrong.py"
    file.write_text(program)
    return pool(imports=[file])


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import optrun\n1 / 0", "a worker cannot start: {}:2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit('no')", "a worker cannot start: {}:2: SystemExit: no"),
        ("import os; os._exit(5)", "a worker cannot start: its process ended with exit code 5."),
    ],
)
def test_workers_that_cannot_start(program: str, message: str, tmp_path: Path) -> None:
    before = descendants(os.getpid())
    with failing(tmp_path, program) as executor, pytest.raises(OptrunError) as error:
        reports(executor, tasks.here, range(10))
    assert str(error.value) == message.format(tmp_path / "wrong.py")
    assert descendants(os.getpid()) == before


def test_a_template_that_cannot_start() -> None:
    with pool(preload=["no_such_module"]) as executor, pytest.raises(OptrunError) as error:
        reports(executor, tasks.here, range(10))
    assert str(error.value) == "workers cannot start: ModuleNotFoundError: No module named 'no_such_module'"


def template_of(worker: int) -> int:
    """The process that a worker was forked from."""
    return int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])


NO_TEMPLATE = "the process that starts workers was killed by signal 9 (SIGKILL); was the memory full?"


def test_the_template_is_killed() -> None:
    before = descendants(os.getpid())
    with pool(grace=0.1) as executor:
        (_, worker), *_ = reports(executor, tasks.here, [0])
        running = executor.run(tasks.deaf, range(2))
        while next(running)[0] is None:
            pass
        os.kill(template_of(worker), signal.SIGKILL)
        with pytest.raises(OptrunError) as error:
            list(running)
        with pytest.raises(OptrunError, match="the process that starts workers was killed"):
            reports(executor, tasks.here, [0])
    assert str(error.value) == NO_TEMPLATE
    assert descendants(os.getpid()) == before
    assert_dead([worker])


def test_what_runs_is_saved_when_the_template_is_killed(tmp_path: Path) -> None:
    before = descendants(os.getpid())
    with pool() as executor:
        running = executor.run(tasks.until_stopped, [tmp_path / str(index) for index in range(4)])
        workers: set[int] = set()
        while len(workers) < 2:
            workers |= {report for _, report in [next(running)] if isinstance(report, int)}
        os.kill(template_of(min(workers)), signal.SIGKILL)
        heard = []
        with pytest.raises(OptrunError) as error:
            heard += (report for _, report in running if report is not None)
        assert executor.stopped is None
    assert str(error.value) == NO_TEMPLATE
    assert heard == ["saved", "saved"]
    assert [(tmp_path / name).read_text() for name in "01"] == ["saved after signal 15"] * 2
    assert not (tmp_path / "2").exists()
    assert descendants(os.getpid()) == before
    assert_dead(workers)


# The driver's own end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("executor", ["inline", "pool"])
def test_one_signal_is_a_wish(executor: str, number: int, tmp_path: Path) -> None:
    driver = Driver(executor, "until_stopped", *(tmp_path / str(index) for index in range(5)))
    begun = [driver.line() for _ in range(1 if executor == "inline" else 2)]
    left = descendants(driver.process.pid)
    driver.signal(number)
    code, out, err = driver.end()
    assert code == 0, err
    *saved, stopped = out.splitlines()
    names = [line.split()[0] for line in begun]
    assert sorted(saved) == sorted(f"{name} saved" for name in names)
    assert stopped == f"stopped {int(number)} []"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert_dead(left)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("executor", ["inline", "pool"])
def test_two_signals_are_an_order(executor: str, number: int, tmp_path: Path) -> None:
    driver = Driver(executor, "stubborn", tmp_path / "0", tmp_path / "1")
    lines = 1 if executor == "inline" else 2
    assert all("begun" in driver.line() for _ in range(lines))
    left = descendants(driver.process.pid)
    driver.signal(number)
    assert all("heard" in driver.line() for _ in range(lines))
    driver.signal(number)
    code, out, err = driver.end()
    assert code == -number
    assert out == ""
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)
    assert_dead(left)


def test_workers_end_when_the_driver_is_killed(tmp_path: Path) -> None:
    """One that works saves first."""
    driver = Driver("pool", "until_stopped", tmp_path / "0", tmp_path / "1")
    assert {driver.line().split()[0], driver.line().split()[0]} == {"0", "1"}
    left = descendants(driver.process.pid)
    assert len(left) == 3
    driver.process.kill()
    assert_dead(left)
    assert (tmp_path / "0").read_text() == (tmp_path / "1").read_text() == "saved after signal 15"
    driver.end()


def test_work_that_hears_nothing_ends_after_a_grace(tmp_path: Path) -> None:
    shorter = tmp_path / "shorter.py"
    shorter.write_text("import optrun.sweeps.executors.worker as worker; worker.GRACE = 0.1")
    driver = Driver(
        "pool", "deaf", "0", "1", program=DRIVER.replace("preload=()", f"preload=(), imports=['{shorter}']")
    )
    assert driver.line()
    assert driver.line()
    left = descendants(driver.process.pid)
    driver.process.kill()
    assert_dead(left)
    driver.end()


IDLE = """\
import executor_tasks as tasks
from optrun.sweeps.executors.pool import Pool
with Pool(2, preload=()) as executor:
    print([report for _, report in executor.run(tasks.here, range(9))], flush=True)
    {more}
    tasks._wait(lambda: False)
"""


@pytest.mark.parametrize("more", ["pass", "running = executor.run(tasks.until_stopped, [None]); next(running)"])
def test_idle_workers_end_when_the_driver_is_killed(more: str) -> None:
    driver = Driver(program=IDLE.format(more=more))
    driver.line()
    left = descendants(driver.process.pid)
    assert left
    driver.process.kill()
    assert_dead(left)
    driver.end()


def test_one_worker_is_asked_to_stop(processes: Pool, tmp_path: Path) -> None:
    """`kill PID`: its task ends, the others go on."""
    heard = []
    for task, report in processes.run(tasks.until_stopped, [None, None, None]):
        if isinstance(report, int):
            os.kill(report, signal.SIGTERM)
        if task is None and report is None:
            continue
        heard.append(report)
    assert processes.stopped is None
    assert len({pid for pid in heard if isinstance(pid, int)}) == 3
    assert heard.count("saved") == 3
