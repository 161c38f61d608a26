"""From YAML text to a checked description of a run, with every problem at its line and column; no torch."""
