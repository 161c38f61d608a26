"""The tables of the page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optrun.comparisons import wording
from optrun.comparisons.answers import area_of
from optrun.comparisons.comparison import Compared, Comparison
from optrun.comparisons.costs import costs
from optrun.comparisons.outcomes import Outcome
from optrun.comparisons.provenance import provenance
from optrun.comparisons.report.markup import Markup, element
from optrun.comparisons.targets import Target, to_target
from optrun.config.labels import Labels, brief
from optrun.runs import reader

__all__ = ["costs_table", "left_out_list", "ranking_table", "runs_section", "settings_table", "spread_table"]


def table(headings: Sequence[str], rows: Iterable[Sequence[str | Markup]], *, numbers: Sequence[bool] = ()) -> Markup:
    """A table whose first column names the rows; it scrolls by itself where it is wider than the page."""
    right = [*numbers, *[False] * (len(headings) - len(numbers))]

    def cell(text: str | Markup, column: int) -> Markup:
        kind = "number" if right[column] else None
        return element("th" if column == 0 else "td", text, class_=kind, scope="row" if column == 0 else None)

    head = (element("th", text, scope="col", class_="number" if right[i] else None) for i, text in enumerate(headings))
    body = (element("tr", *(cell(text, column) for column, text in enumerate(row))) for row in rows)
    inner = element("table", element("thead", element("tr", *head)), element("tbody", *body))
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label="table")


def ranking_table(found: Comparison) -> Markup:
    """Every group, and what can be said of it."""
    reference = "the baseline" if any(each.verdict == "baseline" for each in found.groups) else "the leader"
    headings = ["group", found.metric, "verdict", f"to {reference}", "95 % interval", "p", "more seeds", "n", ""]
    return table(headings, map(_ranked, found.groups), numbers=[False, True, False, *[True] * 5])


def _ranked(each: Compared) -> list[str | Markup]:
    return [
        each.group.label,
        wording.mean(each),
        element("span", each.verdict, class_=f"verdict {each.verdict.replace(' ', '-')}"),
        wording.difference(each),
        wording.difference_interval(each),
        wording.p_value(each),
        wording.seeds_wanted(each),
        str(each.n),
        wording.flags(each),
    ]


def spread_table(found: Comparison) -> Markup:
    """How far the runs of each group are apart."""
    rows = [
        [
            each.group.label,
            wording.between(each.ci95),
            *(wording.of_one_run(value, each) for value in (each.best, each.median, each.worst)),
        ]
        for each in found.groups
    ]
    headings = ["group", "95 % interval of the mean", "best", "median", "worst"]
    return table(headings, rows, numbers=[False, *[True] * 4])


def costs_table(found: Comparison, target: Target | None) -> Markup:
    """What the groups took: medians over seeds; and the area under the curve."""
    headings = ["group", "training, s", "samples/s", "steps clipped", f"area under {found.metric}"]
    if target is not None:
        sign = "≥" if target.mode == "max" else "≤"
        headings += [f"steps to {target.metric} {sign} {brief(target.value)}", "s to it", "reached it"]
    rows = []
    for each in found.groups:
        its, area = costs(each.group), area_of(each, found.metric)
        clipped = "" if its.clipped_fraction is None else f"{its.clipped_fraction:.0%}"
        mean = "" if area is None else wording.alike(area["mean"])[0]
        row = [each.group.label, _figure(its.train_time), _figure(its.samples_per_second), clipped, mean]
        if target is not None:
            reached = to_target(each.group, target)
            share = f"{reached.reached} of {len(reached.steps)}"
            row += [_figure(reached.step), _figure(reached.time), share if reached.steps else ""]
        rows.append(row)
    return table(headings, rows, numbers=[False, *[True] * (len(headings) - 1)])


def _figure(value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return "never" if math.isinf(value) else f"{value:,.0f}" if value >= 1000 else brief(value, 3)


def settings_table(found: Comparison) -> Markup:
    """In what the groups differ; what is the same everywhere stands below."""
    labels = Labels([each.group.settings for each in found.groups])
    keys = list(labels.names)

    def cells(settings: Mapping[str, Any]) -> list[str]:
        return [labels.value(key, settings[key]) if key in settings else "" for key in keys]

    rows = [[each.group.label, *cells(each.group.settings)] for each in found.groups]
    common = _common([outcome.settings for each in found.groups for outcome in each.group.outcomes])
    listed = [element("dt", key) + element("dd", _value(value)) for key, value in common.items() if key not in keys]
    same = element("details", element("summary", "The same in all runs"), element("dl", *map(Markup, listed)))
    parts = [table(["group", *keys], rows)] if keys else []
    return element("div", *parts, same)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _common(mappings: Sequence[Any]) -> dict[str, Any]:
    """What stands alike in all of them."""
    if not mappings:
        return {}
    distinct = list({id(each): each for each in mappings}.values())
    first = distinct[0]
    return {key: value for key, value in first.items() if all(each.get(key, ...) == value for each in distinct)}


def runs_section(found: Comparison) -> Markup:
    """Every run and its environment; of this only what differs, and once what is the same."""
    runs = [(each.group.label, outcome) for each in found.groups for outcome in each.group.outcomes]
    surroundings = [_environment(outcome) for _, outcome in runs]
    common = _common(surroundings)
    varying = list(dict.fromkeys(key for its in surroundings for key in its if key not in common))
    rows = [
        [
            outcome.path.name,
            label,
            str(outcome.seed),
            outcome.status,
            wording.NONE if outcome.value is None else wording.alike(outcome.value)[0],
            *(its.get(key, "") for key in varying),
        ]
        for (label, outcome), its in zip(runs, surroundings)
    ]
    listed = [element("dt", key) + element("dd", value) for key, value in common.items()]
    numbers = [False, False, True, False, True]
    every = table(["run", "group", "seed", "status", found.metric, *varying], rows, numbers=numbers)
    return element(
        "div",
        element("dl", *map(Markup, listed)) if listed else None,
        element("details", element("summary", f"Every run ({len(rows):,})"), every),
    )


def _environment(outcome: Outcome) -> dict[str, str]:
    """Where and with what a run was made."""
    known = reader.environment_of(outcome.path)
    if not known:
        return {"environment": "not known"}
    versions, git = (part if isinstance(part := known.get(key), dict) else {} for key in ("versions", "git"))
    commit = str(git.get("commit") or "")[:12] + (" and changes" if git.get("dirty") else "")
    gpus, made = known.get("gpus"), provenance(outcome.path)
    found = {
        "machine": known.get("hostname"),
        "device": known.get("device"),
        "CPU": known.get("cpu"),
        "GPU": ", ".join(map(str, gpus)) if isinstance(gpus, list) else None,
        "threads": known.get("threads"),
        "system": known.get("os"),
        "commit": commit,
        "imports": ", ".join(f"{name} {sha256[:12]}" for name, sha256 in made.imports or ()),
        "data": (made.data or "")[:12],
        **{key: value for key, value in versions.items() if value},
    }
    return {key: str(value) for key, value in found.items() if value}


def left_out_list(found: Comparison) -> Markup:
    """Runs that are in no figure or in no curve, by their reasons."""
    reasons: dict[str, list[str]] = {}
    for each in found.skipped:
        reasons.setdefault(each.kind, []).append(each.path.name)
    for each in found.damaged:
        reasons.setdefault(f"in no curve, {each.kind}", []).append(each.path.name)
    items = (
        element("li", f"{reason}: ", element("span", ", ".join(names), class_="names"))
        for reason, names in reasons.items()
    )
    return element("ul", *items)
