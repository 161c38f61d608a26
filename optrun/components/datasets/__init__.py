"""Data sets: each function returns one as it is, before any split; its settings are keyword-only."""
