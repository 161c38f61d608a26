"""Where and how side by side the trials of a sweep run. Executors know tasks and reports, and nothing of trials.

`interface` says what every executor does, `inline` and `pool` do it, `choosing` finds the right one. The pool's workers
are forked from a process (`template`) that has imported torch, and each lives in the loop of `worker`.
"""
