"""`python -m benchmarks`: each measurement prints its figures and writes them to a JSON file.

The README and configs/README.md quote the files in this folder, made with `--output
benchmarks/….json`.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")


def step_cost(pairs: int) -> dict[str, Any]:
    from benchmarks.step_cost import measure

    figures = measure(pairs)
    ratio, microseconds = figures["ratio"], figures["microseconds_per_step"]
    print(
        f"{figures['workload']}: a step of optrun over a step of the bare loop, {pairs} pairs of "
        f"{figures['steps_per_turn']} steps, same bits\n"
        f"  median {ratio['median']:.3f}   quartiles {ratio['lower_quartile']:.3f} … {ratio['upper_quartile']:.3f}   "
        f"range {ratio['min']:.3f} … {ratio['max']:.3f}\n"
        f"  median step {microseconds['optrun']:.0f} µs and {microseconds['bare']:.0f} µs"
    )
    return figures


def config_results(seeds: int) -> dict[str, Any]:
    from benchmarks.config_results import measure

    return measure(seeds)


def machine() -> dict[str, Any]:
    """On what and with what it was measured."""
    from optrun.runs.environment import describe

    known = describe([], int(os.environ["OMP_NUM_THREADS"]), "cpu", Path())
    return {key: known[key] for key in ("cpu", "cpu_count", "os", "versions")}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    cost = commands.add_parser("step-cost", help="a step of optrun over a step of the bare loop")
    cost.add_argument("--pairs", type=int, default=51)
    results = commands.add_parser("config-results", help="what every config in configs/ reaches, over seeds")
    results.add_argument("--seeds", type=int, default=10)
    for command in (cost, results):
        command.add_argument("--output", metavar="FILE", type=Path, help="default: runs/benchmarks/COMMAND.json")
    chosen = parser.parse_args()
    figures = step_cost(chosen.pairs) if chosen.command == "step-cost" else config_results(chosen.seeds)
    measured_on = machine()
    print(f"  {measured_on['cpu']}, {measured_on['cpu_count']} cores, torch {measured_on['versions']['torch']}")
    path = chosen.output or Path("runs", "benchmarks", f"{chosen.command.replace('-', '_')}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**figures, "machine": measured_on}, indent=1) + "\n", encoding="utf-8")
    print(f"  written to {path}")


if __name__ == "__main__":
    main()
