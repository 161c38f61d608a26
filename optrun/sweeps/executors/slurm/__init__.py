"""Trials as jobs of a Slurm cluster, through submitit. The file system is shared: whatever a job has to say is a file.

`executor` is the driver's side and `job` the other one; `cluster` is all that is known of submitit. `reports` are lines
that a job appends to a file and the driver reads, `claims` say which job may work on what, whoever drives.
"""
