"""Measurements of optrun against plain PyTorch: `python -m benchmarks step-cost`, `python -m benchmarks configs`."""
