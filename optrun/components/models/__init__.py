"""Models: each function builds one from the data; its settings are keyword-only."""
