"""Run the tutorial grid at full size and write its ranking into docs/sweeps.md: `python docs/tutorial_grid.py`."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from optrun.config.labels import Labels

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "sweeps.md"
SWEEP = ROOT / "configs" / "sweeps" / "tutorial.yaml"
TABLE = re.compile(r"(?<=<!-- tutorial grid -->\n).*?(?=<!-- end -->)", re.DOTALL)


def ranked(runs_dir: str) -> dict[str, Any]:
    """The sweep's JSON document."""
    program = [sys.executable, "-m", "optrun", "sweep", str(SWEEP), "--runs-dir", runs_dir, "--json", "--quiet"]
    return json.loads(subprocess.run(program, check=True, stdout=subprocess.PIPE).stdout)


def table(points: Sequence[Mapping[str, Any]]) -> str:
    """The points as a Markdown table, best first."""
    labels = Labels(point["settings"] for point in points)
    lines = [
        "| | " + " | ".join([*labels.names.values(), "val/accuracy"]) + " |",
        "|---" * (len(labels.names) + 2) + "|",
    ]
    for number, point in enumerate(points, 1):
        cells = [labels.value(key, point["settings"][key]) for key in labels.names]
        spread = f"{point['mean']:.4f} ± {point['std']:.4f}"
        lines.append("| " + " | ".join([str(number), *cells, spread]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        result = ranked(directory)
    made = f"torch {version('torch')}, Python {platform.python_version()}, {platform.machine()}"
    note = f"Mean ± standard deviation of the best evaluation over three seeds, 359 validation examples; {made}.\n"
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(f"{table(result['points'])}\n{note}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
