"""`python -m benchmarks`: each measurement prints its figures and writes them to a JSON file.

The README, docs/ and configs/README.md quote the files in this folder, made with `--output benchmarks/….json`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).parent
Figures = dict[str, Any]


def measured(room: str, *arguments: Any) -> Figures:
    """What `measure` of a module here finds, printed by its `table` (its `report`, if it has none)."""
    module = importlib.import_module(f"benchmarks.{room}")
    figures = module.measure(*arguments)
    shown = getattr(module, "table", None) or module.report
    print(shown(figures), flush=True)
    return figures


def peers(chosen: argparse.Namespace) -> Figures:
    from benchmarks.peers import draw

    lengths = (chosen.rounds, chosen.processes)
    figures = measured("peers", chosen.workloads, chosen.threads, *lengths, chosen.rival_python, chosen.patience)
    if chosen.picture:
        draw(figures, chosen.picture)
    return figures


def scaling(chosen: argparse.Namespace) -> Figures:
    return measured("scaling", chosen.steps)


def start(chosen: argparse.Namespace) -> Figures:
    return measured("start", chosen.rounds, chosen.patience)


def logging(chosen: argparse.Namespace) -> Figures:
    return measured("logging_cost", chosen.rounds)


def settings(chosen: argparse.Namespace) -> Figures:
    return measured("settings", chosen.workloads, chosen.rounds)


def profile(chosen: argparse.Namespace) -> Figures:
    return measured("profile_step", chosen.config, chosen.overrides, chosen.seconds)


def performance(chosen: argparse.Namespace) -> Figures:
    """All of the above, into this folder and into the documentation."""
    picture = str(HERE.parent / "docs" / "peers.svg")
    rivals = ["--rival-python", chosen.rival_python]
    for words in (
        ["profile"],
        ["logging"],
        ["start"],
        ["scaling"],
        ["settings"],
        ["peers", *rivals, "--picture", picture],
    ):
        run([*words, "--output", str(HERE / f"{words[0]}.json")])
    return quote(chosen)


def quote(chosen: argparse.Namespace) -> Figures:
    from benchmarks.quoting import PAGES, quoted

    for page in PAGES:
        page.write_text(quoted(page.read_text(encoding="utf-8")), encoding="utf-8")
    return {}


def config_results(chosen: argparse.Namespace) -> Figures:
    from benchmarks.config_results import measure

    return measure(chosen.seeds)


def sweep_overhead(chosen: argparse.Namespace) -> Figures:
    return measured("sweep_overhead", chosen.trials, chosen.repeat, chosen.rival_python, chosen.patience)


def ray(chosen: argparse.Namespace) -> Figures:
    from benchmarks.sweep_overhead import ON_RAY

    return measured("sweep_overhead", chosen.trials, chosen.repeat, chosen.rival_python, chosen.patience, ON_RAY)


def planner(chosen: argparse.Namespace) -> Figures:
    return measured("planner", chosen.trials, chosen.workers, chosen.folder)


def trials_per_hour(chosen: argparse.Namespace) -> Figures:
    return measured("trials_per_hour", chosen.repeat)


def sweep_throughput(chosen: argparse.Namespace) -> Figures:
    return measured("sweep_throughput", chosen.repeat, chosen.patience)


def fused(chosen: argparse.Namespace) -> Figures:
    lengths = (chosen.repeat, chosen.patience, chosen.pool)
    return {workload: measured("fused_sweeps", workload, *lengths) for workload in chosen.workloads}


def fused_cuda(chosen: argparse.Namespace) -> Figures:
    return measured("fused_cuda", chosen.workloads, chosen.sizes, chosen.steps, chosen.repeat, chosen.patience)


def compare_runs(chosen: argparse.Namespace) -> Figures:
    return measured("compare_runs", chosen.runs, chosen.repeat, chosen.rival_python)


def resuming(chosen: argparse.Namespace) -> Figures:
    return measured("resuming", chosen.kills, chosen.rival_python)


def soak(chosen: argparse.Namespace) -> Figures:
    return measured("soak", chosen.trials, chosen.jobs)


def calibration(chosen: argparse.Namespace) -> Figures:
    from benchmarks.calibration import measure
    from benchmarks.calibration_merged import measure_merged
    from benchmarks.calibration_tables import markdown

    figures = {**measure(chosen.studies), "merged": measure_merged(chosen.studies)}
    print("\n\n".join(markdown(figures)))
    return figures


def machine() -> Figures:
    """On what and with what it was measured."""
    from optrun.runs.environment import surroundings

    known = surroundings(Path())
    return {key: known[key] for key in ("cpu", "cpu_count", "os", "versions")}


def run(words: list[str] | None = None) -> None:
    """Measure what a command line asks for, print it and write it down."""
    chosen = _parser().parse_args(words)
    figures = chosen.measure(chosen)
    if not figures:
        return
    measured_on = machine()
    print(f"  {measured_on['cpu']}, {measured_on['cpu_count']} cores, torch {measured_on['versions']['torch']}")
    path = chosen.output or Path("runs", "benchmarks", f"{chosen.command.replace('-', '_')}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**figures, "machine": measured_on}, indent=1) + "\n", encoding="utf-8")
    print(f"  written to {path}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(
        measure: Callable[[argparse.Namespace], Figures], help_: str, **numbers: int
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(measure.__name__.replace("_", "-"), help=help_)
        made.set_defaults(measure=measure)
        made.add_argument("--output", metavar="FILE", type=Path, help="default: runs/benchmarks/COMMAND.json")
        for name, default in numbers.items():
            made.add_argument(f"--{name}", metavar="N", type=int, default=default, help=f"default: {default}")
        return made

    beside = command(
        peers, "optrun beside loops by hand and other libraries, on three workloads", rounds=21, processes=7
    )
    beside.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="of the steps; processes have one")
    beside.add_argument("--picture", metavar="FILE", type=Path, help="an SVG, PNG or PDF")
    command(scaling, "what a step costs early and late in a long run, and what the run has on the disk", steps=100_000)
    starting = command(start, "how long commands take to start", rounds=15)
    command(logging, "a step that writes a row, over one that writes none", rounds=51)
    changing = command(settings, "what settings that change bits gain, and how much they change", rounds=11)
    for made in (beside, changing):
        made.add_argument("--workloads", nargs="+", default=["digits", "images", "transformer"])
    profiling = command(profile, "where the time of a step goes")
    profiling.add_argument("config", nargs="?", type=Path, default=HERE.parent / "configs" / "quickstart.yaml")
    profiling.add_argument("overrides", metavar="KEY=VALUE", nargs="*")
    profiling.add_argument("--seconds", type=float, default=20)
    whole = command(performance, "profile, logging, start, scaling, settings and peers; then quote. Takes an hour")
    command(quote, "write the figures in this folder into README.md and docs/")
    command(config_results, "what every config in configs/ reaches, over seeds", seeds=10)
    sweeps = command(
        sweep_overhead, "a sweep of trivial trials, beside Optuna, Hydra and Ray Tune", trials=200, repeat=5
    )
    tune = command(ray, "sweeps of trivial trials on Ray: optrun beside Ray Tune", trials=200, repeat=5)
    planning = command(planner, "the driver of a sweep of 100,000 trials of recorded durations", workers=64)
    planning.add_argument("--trials", type=int, nargs="+", default=[1000, 10_000, 100_000])
    planning.add_argument("--folder", default="/dev/shm", help="for 40 KB a trial; default: /dev/shm")
    command(trials_per_hour, "the cost model held against sweeps of the pool and on Ray", repeat=3)
    throughput = command(sweep_throughput, "16 digits runs: the pool of two beside inline", repeat=3)
    fusing = command(fused, "fused sweeps beside a pool of two bare loops", repeat=7)
    fusing.add_argument("--workloads", nargs="+", default=["digits", "moons", "transformer", "images"])
    fusing.add_argument("--pool", action="store_true", help="measure optrun's own pool too")
    on_gpu = command(
        fused_cuda, "1 to 1,024 trials on a CUDA GPU, which it needs: fused, in turn, pool", steps=200, repeat=3
    )
    on_gpu.add_argument("--workloads", nargs="+", default=["digits", "images", "transformer"])
    on_gpu.add_argument("--sizes", metavar="K", nargs="+", type=int, default=[1, 4, 16, 64, 256, 1024])
    comparing = command(
        compare_runs, "optrun compare of many runs, beside loading them with pandas, and MLflow's listing", repeat=5
    )
    comparing.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000])
    killing = command(resuming, "kill -9 and a new start, with optrun, Lightning and Accelerate", kills=25)
    for made in (beside, whole, sweeps, tune, comparing, killing):
        made.add_argument(
            "--rival-python", metavar="PATH", default=sys.executable, help="the Python that has the others"
        )
    for made, seconds in (
        (beside, 600),
        (starting, 120),
        (sweeps, 300),
        (tune, 120),
        (throughput, 60),
        (fusing, 300),
        (on_gpu, 300),
    ):
        made.add_argument(
            "--patience", metavar="SECONDS", type=float, default=seconds, help="to wait for a busy machine"
        )
    command(soak, "thousands of trials through one pool: memory and open files of its processes", trials=4000, jobs=2)
    command(calibration, "how often optrun compare is wrong, on simulated studies and on real seeds", studies=4000)
    return parser


if __name__ == "__main__":
    run()
