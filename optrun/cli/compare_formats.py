"""A comparison as CSV for programs, and as Markdown and LaTeX for people's papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optrun.cli.compare_cells import columns
from optrun.cli.output import visible

if TYPE_CHECKING:
    from optrun.comparisons import Comparison
    from optrun.comparisons.targets import Target

__all__ = ["written"]


def written(found: Comparison, target: Target | None, form: str) -> str:
    """The comparison in that format; ends with a newline."""
    if form == "csv":
        return _csv(found, target)
    listed = columns(found, target)
    headings = [column.heading for column in listed]
    rows = list(zip(*(column.cells for column in listed)))
    right = [column.right for column in listed]
    return (_markdown if form == "markdown" else _latex)(headings, rows, right)


def _csv(found: Comparison, target: Target | None) -> str:
    """All digits, a column for each setting and each figure; an empty cell where there is none (RFC 4180)."""
    from optrun.comparisons.answers import as_json

    groups = as_json(found, target)["groups"]
    settings = list(dict.fromkeys(key for each in groups for key in each["settings"]))
    rows = []
    for number, each in enumerate(groups, 1):
        its = {key: "null" if value is None else value for key, value in each["settings"].items()}
        figures = _flat({key: value for key, value in each.items() if key not in ("label", "settings")})
        rows.append({"rank": number, "group": each["label"], **{key: its.get(key) for key in settings}, **figures})
    file = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_plain(row.get(name)) for name in names] for row in rows)
    return file.getvalue()


def _flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Nested figures by dotted keys; the ends of an interval as `.low` and `.high`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if value is None and key in ("area", "difference", "target"):
            continue  # other groups have their parts
        if isinstance(value, dict):
            found |= _flat(value, f"{above}{key}.")
        elif key == "ci95":
            found |= dict(zip((f"{above}ci95.low", f"{above}ci95.high"), value or (None, None)))
        elif isinstance(value, list):
            found[above + key] = ";".join("" if item is None else str(item) for item in value)
        else:
            found[above + key] = value
    return found


def _plain(value: Any) -> Any:
    value = visible(value) if isinstance(value, str) else value
    if isinstance(value, str) and value[:1] in "=+-@\t\r":
        return f"'{value}"  # a spreadsheet would run it as a formula
    return "" if value is None else value


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """A pipe table, as GitHub draws it."""
    lines = [headings, ["--:" if each else ":--" for each in right], *rows]
    escaped = [[_in_markdown(cell) for cell in line] for line in lines]
    return "".join("| " + " | ".join(line) + " |\n" for line in escaped)


def _in_markdown(text: str) -> str:
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")


LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "–": "--",
        "−": "$-$",
        "…": r"\dots{}",
        "≈": r"$\approx$",
        "≥": r"$\ge$",
        "≤": r"$\le$",
        "<": "$<$",
        ">": "$>$",
        "\n": " ",
    }
)


def _latex(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """A tabular with the rules of the booktabs package."""

    def line(cells: Sequence[str]) -> str:
        return "  " + " & ".join(cell.translate(LATEX) for cell in cells) + r" \\"

    shape = "".join("r" if each else "l" for each in right)
    lines = [rf"\begin{{tabular}}{{{shape}}}  % \usepackage{{booktabs}}", r"  \toprule", line(headings), r"  \midrule"]
    lines += [*map(line, rows), r"  \bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"
