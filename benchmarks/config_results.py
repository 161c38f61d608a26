"""What every config in configs/ reaches: each is trained with several seeds, and its row in configs/README.md written.

The figure is the last evaluation's, not the best one's.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import optrun
from optrun.components.plugins import import_file

__all__ = ["measure"]

CONFIGS = Path(__file__).parent.parent / "configs"
TABLE = re.compile(r"(?<=<!-- measured -->\n).*(?=<!-- end -->)", re.DOTALL)


def measure(seeds: int) -> dict[str, Any]:
    """Train every config with seeds 0 … `seeds` - 1, print the table and put it into configs/README.md."""
    import_file(CONFIGS / "own_model" / "residual.py")
    results = {}
    lines = [f"| config | what it shows | result (mean ± sd, n = {seeds}) | CPU |", "|---|---|---|---|"]
    for path in sorted(CONFIGS.rglob("*.yaml")):
        name = str(path.relative_to(CONFIGS))
        results[name] = found = _result(path, seeds)
        value = f"{found['metric']} {found['mean']:{found['format']}} ± {found['sd']:{found['format']}}"
        lines.append(f"| [{name}]({name}) | {_first_sentence(path)} | {value} | {found['cpu_seconds']:.1f} s |")
        print(lines[-1])
    readme = CONFIGS / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(TABLE.sub(lambda _: "\n".join(lines) + "\n", text), encoding="utf-8")
    return {"seeds": seeds, "results": results}


def _result(path: Path, seeds: int) -> dict[str, Any]:
    values, cpu = [], []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as directory:
            started = time.process_time()
            run = optrun.train(path, {"seed": seed, "threads": 1}, runs_dir=directory)
            cpu.append(time.process_time() - started)
        metric = run.summary["best"]["metric"]
        values.append(run.summary["final"][metric])
    return {
        "metric": metric,
        "mean": statistics.mean(values),
        "sd": statistics.stdev(values),
        "values": values,
        "format": ".3f" if max(values) <= 1 else ".2f",
        "cpu_seconds": statistics.median(cpu),
    }


def _first_sentence(path: Path) -> str:
    """The first sentence of the comment at the head of a config."""
    comment = re.match(r"(# .*\n)+", path.read_text(encoding="utf-8"))
    assert comment, f"{path} begins with no comment"
    prose = " ".join(comment[0].replace("# ", " ").split())
    return re.split(r"(?<=[a-z0-9)])[.?](?= |$)", prose)[0].rstrip(":")
