"""Measurements of optrun against plain PyTorch and against other tools: `python -m benchmarks --help`."""
