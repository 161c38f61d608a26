"""`python -m benchmarks`: each measurement prints its figures and writes them to a JSON file.

The README and configs/README.md quote the files in this folder, made with `--output
benchmarks/….json`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
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


def sweep_overhead(trials: int, repeat: int, rival_python: str, patience: float) -> dict[str, Any]:
    from benchmarks.sweep_overhead import measure, table

    figures = measure(trials, repeat, rival_python, patience)
    print(table(figures))
    return figures


def sweep_throughput(repeat: int, patience: float) -> dict[str, Any]:
    from benchmarks.sweep_throughput import measure, report

    figures = measure(repeat, patience)
    print(report(figures))
    return figures


def machine() -> dict[str, Any]:
    """On what and with what it was measured."""
    from optrun.runs.environment import surroundings

    known = surroundings(Path())
    return {key: known[key] for key in ("cpu", "cpu_count", "os", "versions")}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    cost = commands.add_parser("step-cost", help="a step of optrun over a step of the bare loop")
    cost.add_argument("--pairs", type=int, default=51)
    results = commands.add_parser("config-results", help="what every config in configs/ reaches, over seeds")
    results.add_argument("--seeds", type=int, default=10)
    sweeps = commands.add_parser("sweep-overhead", help="a sweep of trivial trials, beside Optuna, Hydra and Ray Tune")
    sweeps.add_argument("--trials", type=int, default=200)
    sweeps.add_argument("--repeat", type=int, default=5)
    sweeps.add_argument("--rival-python", metavar="PATH", default=sys.executable, help="the Python that has the others")
    sweeps.add_argument(
        "--patience", metavar="SECONDS", type=float, default=300, help="to spend on waiting for a machine that is busy"
    )
    throughput = commands.add_parser("sweep-throughput", help="16 digits runs: the pool of two beside inline")
    throughput.add_argument("--repeat", type=int, default=3)
    throughput.add_argument("--patience", metavar="SECONDS", type=float, default=60)
    for command in (cost, results, sweeps, throughput):
        command.add_argument("--output", metavar="FILE", type=Path, help="default: runs/benchmarks/COMMAND.json")
    chosen = parser.parse_args()
    if chosen.command == "step-cost":
        figures = step_cost(chosen.pairs)
    elif chosen.command == "config-results":
        figures = config_results(chosen.seeds)
    elif chosen.command == "sweep-throughput":
        figures = sweep_throughput(chosen.repeat, chosen.patience)
    else:
        figures = sweep_overhead(chosen.trials, chosen.repeat, chosen.rival_python, chosen.patience)
    measured_on = machine()
    print(f"  {measured_on['cpu']}, {measured_on['cpu_count']} cores, torch {measured_on['versions']['torch']}")
    path = chosen.output or Path("runs", "benchmarks", f"{chosen.command.replace('-', '_')}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**figures, "machine": measured_on}, indent=1) + "\n", encoding="utf-8")
    print(f"  written to {path}")


if __name__ == "__main__":
    main()
