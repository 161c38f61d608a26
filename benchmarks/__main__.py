"""`python -m benchmarks`: each measurement prints its figures and writes them to a JSON file.

The README and configs/README.md quote the files in this folder, made with `--output
benchmarks/….json`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")


def step_cost(chosen: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.step_cost import measure

    figures = measure(chosen.pairs)
    ratio, microseconds = figures["ratio"], figures["microseconds_per_step"]
    print(
        f"{figures['workload']}: a step of optrun over a step of the bare loop, {chosen.pairs} pairs of "
        f"{figures['steps_per_turn']} steps, same bits\n"
        f"  median {ratio['median']:.3f}   quartiles {ratio['lower_quartile']:.3f} … {ratio['upper_quartile']:.3f}   "
        f"range {ratio['min']:.3f} … {ratio['max']:.3f}\n"
        f"  median step {microseconds['optrun']:.0f} µs and {microseconds['bare']:.0f} µs"
    )
    return figures


def config_results(chosen: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.config_results import measure

    return measure(chosen.seeds)


def sweep_overhead(chosen: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.sweep_overhead import measure, table

    figures = measure(chosen.trials, chosen.repeat, chosen.rival_python, chosen.patience)
    print(table(figures))
    return figures


def sweep_throughput(chosen: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.sweep_throughput import measure, report

    figures = measure(chosen.repeat, chosen.patience)
    print(report(figures))
    return figures


def fused(chosen: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.fused_sweeps import measure, report

    found = {}
    for workload in chosen.workloads:
        found[workload] = measure(workload, chosen.repeat, chosen.patience, chosen.pool)
        print(report(found[workload]))
    return found


def compare_runs(chosen: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.compare_runs import measure, report

    figures = measure(chosen.runs, chosen.repeat, chosen.rival_python)
    print(report(figures))
    return figures


def resuming(chosen: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.resuming import measure, report

    figures = measure(chosen.kills, chosen.rival_python)
    print(report(figures))
    return figures


def soak(chosen: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.soak import measure, report

    figures = measure(chosen.trials, chosen.jobs)
    print(report(figures))
    return figures


def calibration(chosen: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.calibration import measure
    from benchmarks.calibration_merged import measure_merged
    from benchmarks.calibration_tables import markdown

    figures = {**measure(chosen.studies), "merged": measure_merged(chosen.studies)}
    print("\n\n".join(markdown(figures)))
    return figures


def machine() -> dict[str, Any]:
    """On what and with what it was measured."""
    from optrun.runs.environment import surroundings

    known = surroundings(Path())
    return {key: known[key] for key in ("cpu", "cpu_count", "os", "versions")}


def main() -> None:
    chosen = _parser().parse_args()
    figures = chosen.measure(chosen)
    measured_on = machine()
    print(f"  {measured_on['cpu']}, {measured_on['cpu_count']} cores, torch {measured_on['versions']['torch']}")
    path = chosen.output or Path("runs", "benchmarks", f"{chosen.command.replace('-', '_')}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**figures, "machine": measured_on}, indent=1) + "\n", encoding="utf-8")
    print(f"  written to {path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(measure: Callable[[argparse.Namespace], dict[str, Any]], help_: str) -> argparse.ArgumentParser:
        made = commands.add_parser(measure.__name__.replace("_", "-"), help=help_)
        made.set_defaults(measure=measure)
        made.add_argument("--output", metavar="FILE", type=Path, help="default: runs/benchmarks/COMMAND.json")
        return made

    cost = command(step_cost, "a step of optrun over a step of the bare loop")
    cost.add_argument("--pairs", type=int, default=51)
    results = command(config_results, "what every config in configs/ reaches, over seeds")
    results.add_argument("--seeds", type=int, default=10)
    sweeps = command(sweep_overhead, "a sweep of trivial trials, beside Optuna, Hydra and Ray Tune")
    sweeps.add_argument("--trials", type=int, default=200)
    sweeps.add_argument("--repeat", type=int, default=5)
    sweeps.add_argument("--patience", metavar="SECONDS", type=float, default=300, help="to wait for a busy machine")
    throughput = command(sweep_throughput, "16 digits runs: the pool of two beside inline")
    throughput.add_argument("--repeat", type=int, default=3)
    throughput.add_argument("--patience", metavar="SECONDS", type=float, default=60)
    fusing = command(fused, "fused sweeps beside a pool of two bare loops")
    fusing.add_argument("--workloads", nargs="+", default=["digits", "moons", "transformer", "images"])
    fusing.add_argument("--repeat", type=int, default=7)
    fusing.add_argument("--patience", metavar="SECONDS", type=float, default=300)
    fusing.add_argument("--pool", action="store_true", help="measure optrun's own pool too")
    comparing = command(
        compare_runs, "optrun compare of many runs, beside loading them with pandas, and MLflow's listing"
    )
    comparing.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000])
    comparing.add_argument("--repeat", type=int, default=5)
    killing = command(resuming, "kill -9 and a new start, with optrun, Lightning and Accelerate")
    killing.add_argument("--kills", type=int, default=25)
    for made in (sweeps, comparing, killing):
        made.add_argument(
            "--rival-python", metavar="PATH", default=sys.executable, help="the Python that has the others"
        )
    soaking = command(soak, "thousands of trials through one pool: memory and open files of its processes")
    soaking.add_argument("--trials", type=int, default=4000)
    soaking.add_argument("--jobs", type=int, default=2)
    calibrating = command(calibration, "how often optrun compare is wrong, on simulated studies and on real seeds")
    calibrating.add_argument("--studies", type=int, default=4000)
    return parser


if __name__ == "__main__":
    main()
