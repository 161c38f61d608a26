"""Data sets: each function before it is called costs no import beyond torch; its settings are keyword-only."""
