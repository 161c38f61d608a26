"""The figures of `python -m benchmarks peers` as Markdown, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers.contest import OPTRUN
from benchmarks.ratios import words
from optrun.pictures.figures import PALETTE, STYLE, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "table"]

BLUE, ORANGE, *_ = PALETTE
GREY = "#7f7f7f"
NUMBERS = {"1": "one thread", "2": "two threads"}


def table(figures: Mapping[str, Any]) -> str:
    """A Markdown table for each workload: medians, with quartiles in brackets."""
    return "\n\n".join(_table(each) for each in figures["workloads"].values())


def _table(workload: Mapping[str, Any]) -> str:
    steps, processes = workload["steps"], workload["processes"]
    first = next(iter(steps.values()))
    rounds = first["peers"]["optrun"]["ratio"]["n"]
    heads = [f"{workload['title']}; {rounds} rounds of {first['steps_per_turn']} steps"]
    heads += [f"a step, {_threads(count)}" for count in steps]
    lines = []
    for name in first["peers"]:
        cells = [name, *(words(each["peers"][name]["ratio"]) for each in steps.values())]
        if processes:
            whole = processes["peers"][name]
            cells += [f"{whole['wall_seconds']['median']:.1f} s, {words(whole['wall_ratio'])}"]
        differs = any(each["peers"][name]["largest_difference"] for each in steps.values())
        lines.append([*cells, "others" if differs else "the same"])
    if processes:
        rounds = processes["peers"]["optrun"]["wall_ratio"]["n"]
        heads.append(f"the process, {processes['epochs']} epochs, {rounds} rounds, to optrun's")
    rows = [[*heads, "bits"], ["---"] * (len(heads) + 1), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _threads(count: str) -> str:
    return NUMBERS.get(count, f"{count} threads")


def draw(figures: Mapping[str, Any], path: Path) -> None:
    """Steps above, processes below, a column for each workload. Dots are medians, lines go from quartile to quartile.

    Raises UsageError if the file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    workloads = list(figures["workloads"].values())
    rows = 2 if all(each["processes"] for each in workloads) else 1
    peers = next(iter(workloads[0]["steps"].values()))["peers"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(
            figsize=(3.3 * len(workloads) + 1.4, (0.23 * len(peers) + 0.9) * rows + 0.3), layout="constrained"
        )
        axes = figure.subplots(rows, len(workloads), squeeze=False)
        for column, workload in enumerate(workloads):
            _draw_steps(axes[0][column], workload)
            if rows == 2:
                _draw_processes(axes[1][column], workload)
            for ax in axes[:, column]:
                ax.set_yticks(range(len(peers)), peers if column == 0 else [""] * len(peers))
                ax.set_ylim(len(peers) - 0.4, -0.6)
                ax.tick_params(axis="y", length=0)
        for label in [label for ax in axes[:, 0] for label in ax.get_yticklabels()]:
            label.set_fontweight("bold" if label.get_text() == OPTRUN.name else "normal")
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
        write(figure, path)


def _draw_steps(ax: Axes, workload: Mapping[str, Any]) -> None:
    for number, (count, found) in enumerate(workload["steps"].items()):
        spreads = [peer["ratio"] for peer in found["peers"].values()]
        shift = 0.18 * (2 * number - len(workload["steps"]) + 1)
        _dots(ax, spreads, shift, (BLUE, ORANGE)[number % 2], _threads(count))
    ax.axvline(1, color=GREY, linewidth=0.8, zorder=0.5)
    ax.set_title(workload["title"])
    ax.set_xlabel("time of a step (bare loop = 1)")
    ax.set_xlim(left=0)


def _draw_processes(ax: Axes, workload: Mapping[str, Any]) -> None:
    _dots(ax, [peer["wall_seconds"] for peer in workload["processes"]["peers"].values()], 0.0, BLUE, "")
    ax.set_xlabel(f"seconds of the whole process ({workload['processes']['epochs']} epochs)")
    ax.set_xlim(left=0)


def _dots(ax: Axes, spreads: list[dict[str, float]], shift: float, colour: str, label: str) -> None:
    places = [place + shift for place in range(len(spreads))]
    lower, upper = ([each[f"{side}_quartile"] for each in spreads] for side in ("lower", "upper"))
    ax.hlines(places, lower, upper, color=colour, linewidth=1.6, alpha=0.6)
    ax.plot([each["median"] for each in spreads], places, "o", color=colour, markersize=4.5, label=label)
