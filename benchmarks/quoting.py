"""Figures reach the documentation by this, never by hand: `python -m benchmarks quote` writes anew what stands between
`<!-- figures: NAME -->` and `<!-- end -->`, out of benchmarks/NAME.json."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import (
    fused_sweeps,
    logging_cost,
    peers,
    planner,
    profile_step,
    scaling,
    settings,
    start,
    sweep_overhead,
    trials_per_hour,
)
from benchmarks.ratios import words

__all__ = ["FIGURES", "PAGES", "figures", "quoted"]

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "performance.md", ROOT / "docs" / "fused.md", ROOT / "docs" / "scale.md")
SECTION = re.compile(r"(?<=<!-- figures: )(\S+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
OTHERS = (("images", "a CNN"), ("transformer", "a transformer"))
BEHIND = (
    "textbook loop",
    "Ignite",
    "Accelerate",
    "skorch",
    "Lightning, bare",
    "Lightning, defaults",
    "fastai",
    "HF Trainer",
)


def figures(name: str) -> dict[str, Any]:
    """What was measured, as `--output benchmarks/NAME.json` left it."""
    return json.loads((ROOT / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))


def quoted(page: str) -> str:
    """The page with the figures as they are."""

    def section(found: re.Match[str]) -> str:
        name = found[1]
        return f"{name}{found[2]}{FIGURES[name]()}\n"

    return SECTION.sub(section, page)


def _table(name: str, table: Callable[[Mapping[str, Any]], str]) -> Callable[[], str]:
    def made() -> str:
        measured = figures(name)
        return f"{table(measured)}\n\n{_machine(measured)}"

    return made


def _machine(measured: Mapping[str, Any]) -> str:
    on = measured["machine"]
    versions = {"torch": on["versions"]["torch"], **measured.get("peer_versions", {})}
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return _filled(f"{on['cpu']}, {on['cpu_count']} cores; Python {on['versions']['python']}, {named}.")


def _summary() -> str:
    """The item of the README."""
    measured = figures("peers")
    steps = {name: each["steps"]["1"]["peers"] for name, each in measured["workloads"].items()}
    ours = {name: words(its["optrun"]["ratio"]) for name, its in steps.items()}
    digits, on = steps["digits"], measured["machine"]
    more = "".join(f", {ours[name]} for {what}" for name, what in OTHERS if name in ours)
    others = ", ".join(f"{name} {digits[name]['ratio']['median']:.1f}" for name in BEHIND if name in digits)
    rounds = digits["optrun"]["ratio"]["n"]
    return _filled(
        "With a row of metrics for every step, with clipping and a schedule, and to the same bits, a step costs "
        f"{ours['digits']} of its time in the [bare loop](benchmarks/bare_loop.py) of PyTorch calls for an MLP on "
        f"digits{more}. On digits others take: "
        f"{others} (medians of {rounds} interleaved rounds, quartiles in brackets; one thread, {on['cpu']}, torch "
        f"{on['versions']['torch']}; [all figures](docs/performance.md), `python -m benchmarks peers`).",
        bullet=True,
    )


def _filled(text: str, *, bullet: bool = False) -> str:
    indents = ("- ", "  ") if bullet else ("", "")
    return textwrap.fill(
        text,
        120,
        initial_indent=indents[0],
        subsequent_indent=indents[1],
        break_long_words=False,
        break_on_hyphens=False,
    )


FIGURES: dict[str, Callable[[], str]] = {
    "fused": _table("fused", fused_sweeps.table),
    "peers": _table("peers", peers.table),
    "summary": _summary,
    "scaling": _table("scaling", scaling.table),
    "start": _table("start", start.table),
    "logging": _table("logging", logging_cost.table),
    "settings": _table("settings", settings.table),
    "profile": _table("profile", profile_step.table),
    "planner": _table("planner", planner.table),
    "trials_per_hour": _table("trials_per_hour", trials_per_hour.table),
    "ray": _table("ray", sweep_overhead.table),
}
"""What a page may have written into it."""
