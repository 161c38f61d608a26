"""A Ray cluster as the driver of a sweep sees it: all that is asked of Ray itself, which is imported on opening."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from optrun.errors import OptrunError, UsageError
from optrun.sweeps.executors.cores import physical_cores

__all__ = ["Cluster", "Needs", "Unreachable"]

_STORE = 256 << 20
"""Bytes of a local cluster's object store: what passes through it comes in pieces of `journal.PIECE`."""

_PATIENCE = 60.0
"""Seconds to wait for an answer that only tells how things stand."""


class Unreachable(OptrunError):
    """Nothing is heard any more, and Ray does not know yet whether a process has died or its whole node."""


@dataclass(frozen=True)
class Needs:
    """What a trial reserves of its node; fractions of a GPU are possible."""

    cpus: float = 1.0
    gpus: float = 0.0

    def __str__(self) -> str:
        """`4 CPUs and 0.5 GPUs`"""
        cpus = f"{self.cpus:g} CPU{'s' * (self.cpus != 1)}"
        return f"{cpus} and {self.gpus:g} GPU{'s' * (self.gpus != 1)}" if self.gpus else cpus

    def fit(self, resources: Mapping[str, float]) -> int:
        """How many trials a node with these resources has room for."""
        wanted = [("CPU", self.cpus), ("GPU", self.gpus)]
        return min((int(resources.get(name, 0) / need + 1e-9) for name, need in wanted if need), default=0)


class Cluster:
    """The cluster at `address`, or, without one, one of this machine alone that is started by `open`.

    Where Ray says that something has died, methods raise OptrunError with a sentence.
    """

    def __init__(self, address: str | None, needs: Needs, jobs: int | None) -> None:
        self.address = None if address == "local" else address  # Ray's own word would listen beyond this machine
        self.needs, self.jobs = needs, jobs
        self._ray: Any = None
        self._ours = False
        self._folder: str | None = None

    def open(self) -> None:
        """Connect, or start. Raises UsageError."""
        if self.address is not None and "://" in self.address:
            raise UsageError(f"{self.address}: the driver of a sweep is part of the cluster; give host:port, or auto")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if self.address is None and "ray" not in sys.modules:
            _keep_to_ourselves()
        try:
            import ray
        except ImportError:
            raise UsageError("the executor ray needs Ray: pip install 'optrun[ray]'") from None
        self._ray = ray
        if ray.is_initialized():  # by the program that calls this
            return
        self._ours = True
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                **(self._local() if self.address is None else {"address": self.address}),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            self.close()
            raise UsageError(f"there is no Ray cluster at {self.address or 'hand'}: {error}") from error
        finally:
            with contextlib.suppress(ValueError):  # not in the main thread
                signal.signal(signal.SIGTERM, before)
        if self.address is None:
            host = ray.get_runtime_context().gcs_address.rpartition(":")[0]
            if not ip_address(host.strip("[]")).is_loopback:
                self.close()
                raise UsageError(
                    f"Ray would listen on {host}, since it was imported before; import it after optrun, or start a "
                    "cluster yourself and give its address"
                )

    def _local(self) -> dict[str, Any]:
        """How to start a cluster of this machine, in a folder that only its user can read."""
        parent = tempfile.gettempdir()
        # The names of its sockets, of which the system takes 107 bytes, begin with it.
        self._folder = tempfile.mkdtemp(prefix="optrun-ray-", dir=parent if len(parent) < 20 else "/tmp")
        cores = max(float(physical_cores()), (self.jobs or 1) * self.needs.cpus)
        return {
            "address": "local",
            "num_cpus": int(-(-cores // 1)),
            "include_dashboard": False,
            "object_store_memory": _STORE,
            "_temp_dir": self._folder,
        }

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._ours and self._ray is not None:
            self._ray.shutdown()
        self._ours = False
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def nodes(self) -> dict[str, dict[str, float]]:
        """The resources of each node that lives, by its id."""
        return {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}

    def room(self) -> list[int]:
        """How many trials each node has room for."""
        return [self.needs.fit(resources) for resources in self.nodes().values()]

    def largest(self) -> str:
        """What the largest node has, in words."""
        nodes = [Needs(node.get("CPU", 0), node.get("GPU", 0)) for node in self.nodes().values()]
        return str(max(nodes, key=lambda node: (node.gpus, node.cpus), default=Needs(0)))

    def actor(self, of: type, environment: Mapping[str, str], *arguments: Any) -> Any:
        """An actor `of(*arguments)` that begins when a node has room for it."""
        here = {"TMPDIR": self._folder} if self._folder is not None else {}  # what is killed leaves files there
        if not self.needs.gpus:
            here["CUDA_VISIBLE_DEVICES"] = ""  # else Ray leaves all of a node's to an actor that reserves none
        options = {"num_cpus": self.needs.cpus, "num_gpus": self.needs.gpus, "max_restarts": 0}
        return (
            self._ray.remote(of)
            .options(**options, runtime_env={"env_vars": {**environment, **here}})
            .remote(*arguments)
        )

    def kill(self, actor: Any) -> None:
        """End it at once."""
        self._ray.kill(actor)

    def run_on(self, node: str, function: Any, *arguments: Any) -> None:
        """Run a function on a node, whatever runs there; nobody waits for it."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node, soft=False)
        self._ray.remote(function).options(num_cpus=0, scheduling_strategy=there).remote(*arguments)

    def ready(self, awaited: Sequence[Any], seconds: float) -> set[Any]:
        """Those answers, and streams of answers, that have something to take; none if for so long there is nothing."""
        if not awaited:
            time.sleep(seconds)
            return set()
        found, _ = self._ray.wait(list(awaited), timeout=seconds)
        if found and len(awaited) > 1:
            found, _ = self._ray.wait(list(awaited), num_returns=len(awaited), timeout=0)
        return set(found)

    def get(self, answer: Any) -> Any:
        """What was answered."""
        with self._in_words():
            return self._ray.get(answer, timeout=_PATIENCE)

    def next(self, stream: Any) -> Any:
        """The next answer of a stream. Raises StopIteration after the last one."""
        answer = next(stream)
        return self.get(answer)

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        errors = self._ray.exceptions
        try:
            yield
        except errors.OutOfMemoryError as error:
            raise OptrunError("its process was killed since the memory of its node was full.") from error
        except errors.RayTaskError as error:
            raise OptrunError(f"its worker failed: {error.cause!r}") from error
        except errors.ActorUnavailableError as error:
            raise Unreachable("its process is not to be reached any more.") from error
        except errors.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise OptrunError(f"its process died ({lines[-1] if lines else type(error).__name__})") from error


def _keep_to_ourselves() -> None:
    """What Ray reads when it is imported: its nodes are at 127.0.0.1 whatever the system, and who wants to talk to them
    needs a token that only processes of this cluster have."""
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
