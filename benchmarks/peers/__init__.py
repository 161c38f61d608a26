"""optrun beside loops by hand and other libraries: the same training, its steps and whole processes."""

from benchmarks.peers.measuring import measure
from benchmarks.peers.showing import draw, table

__all__ = ["draw", "measure", "table"]
