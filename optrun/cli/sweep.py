"""`optrun sweep`: train every trial of a plan that is not done yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from optrun.cli import options
from optrun.cli.output import Output, print_json

if TYPE_CHECKING:
    from optrun.sweeps.driver import Sweep


def sweep(
    config: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep, or the config of a run.")],
    overrides: options.Overrides = None,
    grid: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="KEY=V1,V2", help="An axis of the grid: optimizer.lr=0.01,0.1. Repeatable."),
    ] = None,
    seeds: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="N", help="Every point with seeds 0 to N-1, or with those of a list: 0,3,7."),
    ] = None,
    executor: Annotated[
        str,
        typer.Option(metavar="NAME", help="inline, pool, fused (alike trials as one, same bits), ray, slurm or auto."),
    ] = "auto",
    jobs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, metavar="N", help="Trials at a time; by default one per core or CUDA device."),
    ] = None,
    address: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="HOST:PORT", help="The Ray cluster, or auto; without it one starts on this machine."),
    ] = None,
    cpus: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(metavar="N", help="On Ray, CPUs for a trial; by default one for each of its threads."),
    ] = None,
    gpus: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(metavar="N", help="On Ray, GPUs for a trial, 0.25 for four on one; by default 1 if it uses CUDA."),
    ] = None,
    slurm: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="KEY=VALUE",
            help="A setting of the jobs, by submitit's name: timeout_min=60, slurm_partition=gpu. Repeatable.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the trials; run nothing.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed trials again.")] = False,
    rerun_changed: Annotated[
        bool, typer.Option("--rerun-changed", help="Repeat trials made with other imported files or other data.")
    ] = False,
    imports: options.Imports = None,
    runs_dir: options.RunsDir = options.RUNS_DIR,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train every trial of a grid or a search that is not done yet; ends with the ranking.

    The same command again goes on where it was stopped, and adds what was added to the plan. Exit codes: 0 done,
    2 the config is wrong, 4 some trials failed, 130 or 143 interrupted.
    """
    from optrun.components.plugins import import_file
    from optrun.config.sweep import load_sweep
    from optrun.sweeps.driver import Sweep
    from optrun.sweeps.executors.choosing import choose, refuse_unknown

    output = Output(json, quiet)
    refuse_unknown(executor)
    imported = [import_file(file) for file in imports or []]
    spec = load_sweep(config, overrides or [], axes=grid or [], seeds=seeds)
    of_jobs = options.settings(slurm or [], "--slurm", "timeout_min=60")
    planned = Sweep(spec, runs_dir, imported=imported, retry_failed=retry_failed, rerun_changed=rerun_changed)
    if dry_run:
        _print_plan(planned, output)
        return

    from optrun.cli.sweep_screen import follow_sweep

    with planned:
        of_ray = {"address": address, "cpus": cpus, "gpus": gpus}
        follow_sweep(planned, choose(planned, executor, jobs, imports or [], slurm=of_jobs, **of_ray), output)


def _print_plan(sweep: Sweep, output: Output) -> None:
    """The trials, with what there is of each."""
    from optrun.config.labels import Labels
    from optrun.errors import ConfigError

    trials = sweep.plan()
    labels = Labels(trial.point.settings for trial in trials)
    search = sweep.spec.search
    if output.json:
        print_json([_as_json(trial) for trial in trials])
    else:
        for trial in trials:
            label = labels.line(trial.point.settings, trial.spec.seed)
            output.results.print(f"{trial.directory.name}  {trial.status:11}  {label}")
    if search and not trials:
        proposals = f"{search.sampler} proposes {search.trials} points as it goes, {search.batch} at a time"
        seeds = len(sweep.spec.seeds)
        output.remarks.print(f"{proposals}, each with {seeds} seed{'s' * (seeds > 1)}")
        return
    number = "1 trial" if len(trials) == 1 else f"{len(trials)} trials"
    doubles = f"; {sweep.doubles} more are equal to one of these" if sweep.doubles else ""
    for error in dict.fromkeys(str(error) for error in sweep.drawn if isinstance(error, ConfigError)):
        output.warn(f"a proposed point cannot be run: {error}")
    output.remarks.print(f"{number}, {len(sweep.due(trials))} to be run{doubles}")


def _as_json(trial: Any) -> dict[str, Any]:
    return {
        "settings": dict(trial.point.settings),
        "seed": trial.spec.seed,
        "config_hash": trial.spec.config_hash(),
        "status": trial.status,
        "path": str(trial.directory),
    }
