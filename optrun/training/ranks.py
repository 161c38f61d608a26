"""The processes that train one run together: which of them this is, and what they say to each other.

They are torch's: `torchrun`, or `optrun train --nproc N`, starts them and tells each by its environment which one it is
(https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables). What is said here is small and travels by
gloo between CPUs; gradients travel in `parallel`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from optrun.errors import OptrunError, RunError, Unsaid, UsageError, in_words
from optrun.training.numerics import resolve_device

__all__ = ["MEETING", "Ranks", "as_one", "is_lost", "joined"]

T = TypeVar("T")

MEETING = "OPTRUN_MEETING"
"""The variable that names the private directory in which processes started by `--nproc` find each other."""

PATIENCE = timedelta(hours=2)
"""How long one process waits for another that is alive: it may be writing a checkpoint, or evaluating."""


@dataclass(frozen=True)
class Ranks:
    """`size` processes, of which this is the one with number `rank`, and the number `local` on its machine.

    Every method is called by all of them, in the same order. The one with number 0 writes and speaks for all.
    """

    rank: int
    size: int
    local: int = 0
    parent: int = field(default_factory=os.getppid, compare=False)
    """The process that has started this one."""

    @property
    def is_orphan(self) -> bool:
        """Whether the process that has started this one is gone."""
        return os.getppid() != self.parent

    def share(self, rows: int) -> slice:
        """Which of so many rows are this process's own: sizes differ by one at most, the first have more."""
        each, more = divmod(rows, self.size)
        first = self.rank * each + min(self.rank, more)
        return slice(first, first + each + (self.rank < more))

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, with the same bits in each; the tensor itself is left as it is."""
        total = tensor.clone()
        torch.distributed.all_reduce(total)
        return total

    def totals(self, *numbers: float) -> list[float]:
        """The sums of numbers over all processes, in float64."""
        return self.summed(torch.tensor(numbers, dtype=torch.float64)).tolist()

    def largest(self, *numbers: int) -> list[int]:
        """The largest of each number over all processes."""
        found = torch.tensor(numbers)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
        return found.tolist()

    def gathered(self, value: T) -> list[T]:
        """What each process has, in their order."""
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def collected(self, value: T) -> list[T]:
        """In the first process what each has, in their order; in the others nothing."""
        values: list[Any] = [None] * self.size
        torch.distributed.gather_object(value, values if self.rank == 0 else None, dst=0)
        return values if self.rank == 0 else []

    def told(self, value: T) -> T:
        """What the first process has."""
        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    def device(self, name: str) -> torch.device:
        """The device of this process for a config's `device`: of several GPUs the one with its own number.

        Raises ValueError when there is none, or when the config names one for all.
        """
        device = resolve_device(name)
        if device.type == "mps":
            raise ValueError("several processes cannot share an MPS device; use cpu")
        if device.type == "cuda":
            if device.index is not None:
                raise ValueError(f"each of {self.size} processes takes a GPU of its own, and this names one; use cuda")
            device = resolve_device(f"cuda:{self.local}")
            torch.cuda.set_device(device)
        return device

    def demand_equal(self, model: nn.Module) -> None:
        """Raises RunError unless every process has the same weights, to the bit."""
        others = 0
        for parameter in model.parameters():
            own = _bits(parameter)
            first = own.clone()
            torch.distributed.broadcast(first, src=0)
            others += not torch.equal(own, first)
        if any(self.totals(others)):
            raise RunError("the processes of the run no longer have the same weights: something in it is random")


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().flatten().view(torch.uint8)


def _are_many() -> bool:
    return os.environ.get("WORLD_SIZE", "1") not in ("", "1")


@contextlib.contextmanager
def joined(device: str) -> Iterator[Ranks | None]:
    """Meet the other processes of the run, for as long as this is entered; None where this one trains it alone.

    `device` is the config's. All leave together when the run ends as one of them could have ended it alone; they leave
    at once when something has failed.
    """
    if not _are_many():
        yield None
        return
    ranks = _joined(device)
    try:
        yield ranks
    except OptrunError as error:
        together = not isinstance(error, RunError)
        if together:
            _wait_for_all(ranks)
        if ranks.rank and (together or isinstance(error.__cause__, _Elsewhere) or is_lost(error.__cause__)):
            raise Unsaid(error.exit_code) from error  # the first one says it, or who started them
        raise
    else:
        _wait_for_all(ranks)
    finally:
        with contextlib.suppress(Exception):
            torch.distributed.destroy_process_group()


def _joined(device: str) -> Ranks:
    if missing := [key for key in ("RANK", "LOCAL_RANK") if key not in os.environ]:
        raise UsageError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']} and there is no {' and no '.join(missing)} to tell which of the "
            f"processes this is; start them with torchrun or --nproc, or unset WORLD_SIZE"
        )
    environment = {key: int(os.environ[key]) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    ranks = Ranks(environment["RANK"], environment["WORLD_SIZE"], environment["LOCAL_RANK"])
    on_gpus = device not in ("cpu", "mps") and torch.cuda.is_available() and torch.distributed.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
    where: dict[str, Any] = {}
    if meeting := os.environ.get(MEETING):
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = torch.distributed.FileStore(str(Path(meeting) / f"attempt-{attempt}"), ranks.size)
        where = {"store": store, "rank": ranks.rank, "world_size": ranks.size}
    try:
        torch.distributed.init_process_group(backend, timeout=PATIENCE, **where)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"process {ranks.rank} of {ranks.size} cannot reach the others: {in_words(error)}") from error
    return ranks


def _wait_for_all(ranks: Ranks) -> None:
    """So that nobody who watches over them takes the first one's end for that of the run."""
    with contextlib.suppress(RuntimeError):
        ranks.totals(0)


class _Elsewhere(Exception):
    """Another process has failed at what all have to manage."""


@contextlib.contextmanager
def as_one(ranks: Ranks | None) -> Iterator[None]:
    """What every process has to manage: where one fails, all do. Raises RunError where another one has."""
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    if ranks is not None:
        try:
            failures = ranks.gathered(None if failure is None else in_words(failure))
        except RuntimeError as error:
            if not is_lost(error):
                raise
            raise RunError(f"another of the {ranks.size} processes has ended") from error
        if failure is None and any(failures):
            number, words = next((number, words) for number, words in enumerate(failures) if words)
            raise RunError(f"process {number} of {ranks.size}: {words}") from _Elsewhere()
    if failure is not None:
        raise failure


def is_lost(error: BaseException | None) -> bool:
    """Whether the error says that another process could not be reached."""
    return isinstance(error, RuntimeError) and (
        isinstance(error, torch.distributed.DistError) or "gloo" in str(error) or "closed by peer" in str(error)
    )
