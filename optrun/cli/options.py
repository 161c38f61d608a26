"""The arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from optrun.errors import UsageError


def _ending(*allowed: str) -> Callable[[Path | None], Path | None]:
    """A check that a file is called what will be written into it, before anything is computed."""

    def check(path: Path | None) -> Path | None:
        if path is not None and path.suffix.lower() not in allowed:
            raise UsageError(f"--{allowed[0][1:]} takes a file that ends in {' or '.join(allowed)}, not {path}")
        return path

    return check


Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML config file.", show_default=False)]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 (typer reads this at run time)
    typer.Argument(metavar="[KEY=VALUE]...", help="Values instead of the file's: optimizer.lr=0.1", show_default=False),
]
Run = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run's path, its name or the beginning of it, or last.", show_default=False),
]
RunsDir = Annotated[
    Path, typer.Option("--runs-dir", metavar="DIR", envvar="OPTRUN_RUNS_DIR", help="Where runs are kept.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else there.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]
Imports = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Option(
        "--import",
        metavar="FILE",
        help="Run a Python file that registers your own components. Repeatable.",
        show_default=False,
    ),
]
Png = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--png",
        metavar="FILE",
        help="Write the picture to a .png file too, or to a .pdf.",
        callback=_ending(".png", ".pdf"),
        show_default=False,
    ),
]
Svg = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--svg",
        metavar="FILE",
        help="Write the picture to an .svg file too.",
        callback=_ending(".svg"),
        show_default=False,
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Resume with other data or other imported files than before; it is recorded.")
]
Nproc = Annotated[
    int, typer.Option("--nproc", metavar="N", help="Train on so many processes of this machine together.")
]
MaxRestarts = Annotated[
    int,
    typer.Option("--max-restarts", metavar="N", help="Go on from the last checkpoint when a process dies, so often."),
]
RUNS_DIR = Path("runs")


def settings(given: Sequence[str], option: str, example: str = "optimizer.lr=0.1") -> Mapping[str, Any]:
    """`["optimizer.lr=0.1"]` as a mapping, values being YAML as everywhere. Raises UsageError, ConfigError."""
    from optrun.config.document import parse_value

    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{option} takes KEY=VALUE, such as {example}, not {text}")
        if key.strip() in found:
            raise UsageError(f"{option} has {key.strip()} twice, and there is one value of it; give it once")
        found[key.strip()] = parse_value(value, f"{option} {text}").data
    return found
