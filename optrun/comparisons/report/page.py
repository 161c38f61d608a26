"""The page: what came of the comparison first, then the table, the pictures, the settings and the runs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template

from optrun.comparisons.comparison import Comparison
from optrun.comparisons.figures import Picture, pictures
from optrun.comparisons.report.drawing import drawn
from optrun.comparisons.report.markup import Markup, element, joined
from optrun.comparisons.report.tables import (
    costs_table,
    left_out_list,
    ranking_table,
    runs_section,
    settings_table,
    spread_table,
)
from optrun.comparisons.targets import Target
from optrun.comparisons.wording import taken
from optrun.config.labels import counted
from optrun.errors import UsageError
from optrun.runs import files

__all__ = ["html", "write"]


def write(found: Comparison, path: Path, target: Target | None = None) -> None:
    """Write the page, whole or not at all. Raises UsageError if the file cannot be written."""
    text = html(found, target)
    try:
        files.write_atomically(path, text.encode(), durable=False)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def html(found: Comparison, target: Target | None = None) -> str:
    """The page. The same runs give the same text."""
    style, script = (_part(name) for name in ("style.css", "script.js"))
    return Template(_part("page.html")).substitute(
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
        "form-action 'none'",
        title=joined([f"{found.metric} of {counted(len(found.groups), 'group')}"]),
        style=style,
        script=script,
        body=joined(
            [
                _opening(found),
                _section("Ranking", ranking_table(found)),
                _section("Over seeds", spread_table(found)),
                _section("Pictures", element("div", *map(_figure, pictures(found)), class_="figures")),
                _section("Costs", costs_table(found, target)),
                _section("Settings", settings_table(found)),
                _section("Runs", runs_section(found)),
                _section("Left out", left_out_list(found)) if found.skipped or found.damaged else None,
            ]
        ),
    )


def _part(name: str) -> str:
    return resources.files("optrun.comparisons.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What a content security policy calls a text that it allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _opening(found: Comparison) -> Markup:
    what = f"the {taken(found)}" if taken(found) else found.metric
    way = "more" if found.mode == "max" else "less"
    runs = counted(sum(each.results for each in found.groups), "run")
    return element(
        "header",
        element("p", f"optrun compare · {runs}", class_="kicker"),
        element("h1", f"{found.metric}: {counted(len(found.groups), 'group')}"),
        element("p", f"{found.conclusion}.", class_="conclusion"),
        element("p", f"Compared is {what} of each run; {way} is better.", class_="how"),
        element("ul", *(element("li", f"{note[:1].upper()}{note[1:]}.") for note in found.notes))
        if found.notes
        else None,
    )


def _section(title: str, *children: Markup) -> Markup:
    key = title.lower().replace(" ", "-")
    return element("section", element("h2", title, id=key), *children, aria_labelledby=key)


def _figure(picture: Picture) -> Markup:
    """A picture with its title, its caption, and a button for each series that hides and shows it."""
    narrow = picture.narrow
    return element(
        "figure",
        element("h3", picture.title),
        element("div", drawn(picture), class_="drawing roomy" if narrow else "drawing"),
        element("div", drawn(narrow), class_="drawing narrow") if narrow else None,
        _legend(picture.series),
        element("figcaption", picture.caption),
        id=f"figure-{picture.key}",
        class_="wide" if picture.wide else None,
    )


def _legend(series: Sequence[str]) -> Markup | None:
    if not series:
        return None
    buttons = (
        element(
            "button",
            element("span", class_=f"swatch swatch-{number}"),
            label,
            type="button",
            aria_pressed="true",
            data_series=str(number),
            title="hide or show",
        )
        for number, label in enumerate(series)
    )
    return element("div", *buttons, class_="legend")
