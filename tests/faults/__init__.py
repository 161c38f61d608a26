"""Faults, put into optrun on purpose: what is promised of them stands in docs/reliability.md.

`pytest tests/faults` tries a part of each, `python tests/faults` as many as wanted and prints a table.
"""
