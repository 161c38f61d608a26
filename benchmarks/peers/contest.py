"""The peers as programs, and rounds in which each has its turn."""

from __future__ import annotations

import contextlib
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.peers.workloads import Workload
from benchmarks.processes import environment
from benchmarks.turns import Side, Turn

__all__ = ["BARE", "OPTRUN", "PEERS", "Contest", "Peer", "command", "contest", "differences", "folder_for"]


@dataclass(frozen=True)
class Peer:
    """A way to train; `module` is its program in benchmarks/rivals/training, None for optrun itself.

    `exact` is what must have the bits of the bare loop, if it is optrun.
    """

    name: str
    module: str | None
    arguments: tuple[str, ...] = ()
    package: str = "torch"
    exact: bool = True


OPTRUN = Peer("optrun", None)
BARE = Peer("bare loop", "bare_run")
TEXTBOOK = Peer("textbook loop", "textbook_run")
PEERS = (
    *(OPTRUN, BARE, TEXTBOOK),
    Peer("Ignite", "ignite_run", package="pytorch-ignite"),
    Peer("Accelerate", "accelerate_run", package="accelerate"),
    Peer("skorch", "skorch_run", package="skorch"),
    Peer("Lightning, bare", "lightning_run", ("bare",), "lightning"),
    Peer("Lightning, defaults", "lightning_run", (), "lightning"),
    Peer("fastai", "fastai_run", package="fastai"),
    Peer("HF Trainer", "trainer_run", package="transformers"),
)


class Contest:
    """Peers that are ready to train, each in a folder of its own below `directory`."""

    def __init__(self, directory: Path, sides: Mapping[str, Side], peers: Sequence[Peer]) -> None:
        self.directory, self.sides, self.peers = directory, sides, peers
        self._round = 0

    def round(self) -> dict[str, Turn]:
        """Everybody's turn, in an order that is another in every round."""
        self._round += 1
        order = random.Random(self._round).sample(list(self.sides), len(self.sides))
        return {name: self.sides[name].turn() for name in order}

    def finish(self) -> dict[str, float]:
        """Train to the end; how far everybody's weights then are from the bare loop's, see `differences`."""
        for side in self.sides.values():
            side.finish()
        return differences(self.peers, self.directory)


@contextlib.contextmanager
def contest(
    workload: Workload, peers: Sequence[Peer], rounds: int, *, threads: int = 1, rival_python: str = sys.executable
) -> Iterator[Contest]:
    """Start the peers, with so many rounds to train and one more, in which they end."""
    epochs = (rounds + 1) * workload.turn
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as opened:
        sides: dict[str, Side] = {}
        for peer in peers:
            folder = folder_for(peer, workload, Path(directory), epochs, threads)
            program = command(peer, workload, folder, rival_python)
            sides[peer.name] = Side(program, environment(threads), folder / "output.txt", workload.turn)
            opened.callback(sides[peer.name].close)
        for side in sides.values():
            side.wait()
        yield Contest(Path(directory), sides, peers)


def folder_for(peer: Peer, workload: Workload, directory: Path, epochs: int, threads: int) -> Path:
    """A folder with what the peer is to train."""
    folder = directory / peer.name
    folder.mkdir()
    workload.write(folder, epochs=epochs, threads=threads)
    return folder


def command(peer: Peer, workload: Workload, folder: Path, rival_python: str, *, whole: bool = False) -> list[str]:
    """The program of a peer; as a `whole` process optrun is `optrun train`."""
    if peer.module is not None:
        python = sys.executable if peer.package == "torch" else rival_python
        return [python, "-m", f"benchmarks.rivals.training.{peer.module}", str(folder), *peer.arguments]
    if not whole:
        imports = map(str, workload.imports)
        return [sys.executable, "-m", "benchmarks.peers.optrun_run", str(folder), *imports, *peer.arguments]
    imports = [word for path in workload.imports for word in ("--import", str(path))]
    where = ["--run-dir", str(folder / "run")]
    return [sys.executable, "-m", "optrun", "train", str(folder / "config.yaml"), *where, *imports, *peer.arguments]


def differences(peers: Sequence[Peer], directory: Path) -> dict[str, float]:
    """The largest difference between a peer's weights and the bare loop's (else the first peer's); 0.0: the same bits.

    Raises AssertionError where it is optrun's.
    """
    weights = {peer.name: _weights(peer, directory / peer.name) for peer in peers}
    expected = weights.get(BARE.name, weights[peers[0].name])
    found = {name: max(_difference(*pair) for pair in zip(its, expected, strict=True)) for name, its in weights.items()}
    wrong = [peer.name for peer in peers if peer.module is None and peer.exact and found[peer.name]]
    assert not wrong, f"{', '.join(wrong)}: the weights differ from the bare loop's"
    return found


def _weights(peer: Peer, folder: Path) -> list[Tensor]:
    if peer.module is None:
        return list(torch.load(folder / "run" / "checkpoints" / "last.pt", weights_only=True)["model"].values())
    return list(torch.load(folder / "final.pt", weights_only=True).values())


def _difference(these: Tensor, those: Tensor) -> float:
    return 0.0 if torch.equal(these, those) else (these - those).abs().max().item()
