"""The sweep of `python -m benchmarks sweep-overhead` as users of other tools write it; none of this imports optrun.

Each file is a program of its own, `python -m benchmarks.rivals.NAME FOLDER TRIALS`, that runs the trials of `trial.py`.
"""
