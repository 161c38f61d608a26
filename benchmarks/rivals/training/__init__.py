"""The training of `python -m benchmarks peers` as users of other tools write it; none of this imports optrun.

Each file is a program of its own, `python -m benchmarks.rivals.training.NAME FOLDER`, that trains what `task.py` reads
from FOLDER and leaves the weights there. The first line of each says what it logs.
"""
