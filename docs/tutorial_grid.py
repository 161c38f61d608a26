"""Run the tutorial grid at full size: `python docs/tutorial_grid.py`.

Its ranking goes into docs/sweeps.md, what `optrun compare` says of it into the README, its report and its figures
beside this file.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from optrun.config.labels import Labels

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "sweeps.md"
README = ROOT / "README.md"
SWEEP = ROOT / "configs" / "sweeps" / "tutorial.yaml"
SENTENCES = re.compile(r"(?<=<!-- what the tutorial grid says -->\n).*?(?=<!-- end -->)", re.DOTALL)
TABLE = re.compile(r"(?<=<!-- tutorial grid -->\n).*?(?=<!-- end -->)", re.DOTALL)


def document(*command: str) -> dict[str, Any]:
    """What a command of optrun prints as JSON."""
    program = [sys.executable, "-m", "optrun", *command, "--json", "--quiet"]
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


def sentences(compared: Mapping[str, Any]) -> str:
    """What the comparison says, in three sentences."""
    leader, *others = compared["groups"]
    alike = sum(each["verdict"] == "not distinguishable" for each in others)
    shares = {
        each["key"]: f"{each['share']:.0%} (by chance {each['by_chance']:.0%})" for each in compared["importance"]
    }
    text = (
        f"Of {len(others) + 1} settings the best is {leader['label']}, with {leader['mean']:.4f} ± "
        f"{leader['std']:.4f}; with {leader['n']} seeds each and every pair tested, {alike} of the "
        f"{len(others)} others are not distinguishable from it. Of the differences between the settings, in ranks, the "
        f"optimizer with its learning rate explains {shares['optimizer.name']}, the schedule "
        f"{shares['scheduler.name']}, clipping {shares['clip_norm']}. What explains no more than chance has not been "
        "shown to matter here, and which of the best settings is the best takes more seeds."
    )
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        result = document("sweep", str(SWEEP), "--runs-dir", directory)
        pictures = (
            "--html",
            str(ROOT / "docs" / "tutorial_grid.html"),
            "--png",
            str(ROOT / "docs" / "tutorial_grid.png"),
        )
        compared = document("compare", "--runs-dir", directory, *pictures)
    README.write_text(SENTENCES.sub(sentences(compared), README.read_text(encoding="utf-8")), encoding="utf-8")
    made = f"torch {version('torch')}, Python {platform.python_version()}, {platform.machine()}"
    note = f"Mean ± standard deviation of the best evaluation over three seeds, 359 validation examples; {made}.\n"
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(f"{table(result['points'])}\n{note}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
