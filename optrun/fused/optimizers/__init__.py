"""Optimizers over a stack: `vectorised` by rules of our own, `replayed` by torch's source, the rest one by one."""

from optrun.fused.optimizers.updates import FUSED, Run, branches, run_of

__all__ = ["FUSED", "Run", "branches", "run_of"]
