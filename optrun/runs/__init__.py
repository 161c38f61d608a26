"""The run directory: its names (layout), its writer (record, checkpoint, environment), its reader, its lock.

Everything that reaches the disk goes through `files`. Only `checkpoint` and a part of `environment` need torch, and
they import it when they are called.
"""
