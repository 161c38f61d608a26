"""The benchmarks' sides do the same work, and figures are quoted as they are. How fast optrun is, test_speed asks."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
import torch

import optrun
from benchmarks.quoting import PAGES, quoted
from benchmarks.sweep_overhead import table

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pages_quote_what_was_measured(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == quoted(text), "python -m benchmarks quote writes it anew"


def test_the_readme_and_the_page_on_sweeps_quote_what_a_sweep_costs() -> None:
    figures = json.loads((ROOT / "benchmarks" / "sweep_overhead.json").read_text(encoding="utf-8"))
    assert table(figures) in (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    tools = figures["tools"]
    pool = tools["optrun, pool of 2"]
    ours, overhead = pool["wall_seconds"]["median"], pool["overhead_ms_per_trial"]
    assert f"takes a pool of two {ours:.1f} s: {overhead['median']:.1f} ms a trial" in readme
    said = {
        "Hydra, joblib launcher": "of the time of Hydra",
        "Ray Tune": "of Ray Tune",
        "Optuna, in memory": "of Optuna",
    }
    for tool, words in said.items():
        assert f"{ours / tools[tool]['wall_seconds']['median']:.2f} {words}" in readme


def test_the_cost_of_comparing_is_quoted_as_it_was_measured() -> None:
    from benchmarks.compare_runs import markdown

    figures = json.loads((ROOT / "benchmarks" / "compare_runs.json").read_text(encoding="utf-8"))
    assert markdown(figures) in (ROOT / "docs" / "comparing.md").read_text(encoding="utf-8")
    medians = {size: statistics.median(of["optrun compare"]) for size, of in figures["cpu_seconds"].items()}
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"1,000 runs takes {medians['1000']:.2f} s of CPU, that of 10,000 runs {medians['10000']:.1f} s" in readme


def test_runs_of_the_comparison_are_like_real_ones(tmp_path: Path) -> None:
    from benchmarks.compare_runs import ROWS, write_runs

    write_runs(tmp_path, 10)
    found = optrun.compare(tmp_path)
    assert [each.n for each in found.groups] == [5, 5]
    assert found.skipped == ()
    assert len(optrun.read(found.points[0].outcomes[0].path).rows()) == ROWS


def test_the_calibration_is_quoted_in_the_readme() -> None:
    figures = json.loads((ROOT / "benchmarks" / "calibration.json").read_text(encoding="utf-8"))
    claims = figures["real"]["metrics"]["val/accuracy"]["false_claims"]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{claims['2']:.1%} of studies of two groups and {claims['20']:.1%} of".replace("%", " %") in readme


def test_a_gpu_s_figures_are_of_a_gpu(tmp_path: Path) -> None:
    """Without one the command says so. The one-step error is of the stack: 0 where bits are promised."""
    from benchmarks.__main__ import run
    from benchmarks.fused_cuda import one_step_error, sweep
    from optrun.config.sweep import load_sweep

    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="needs a CUDA GPU, and torch finds none here; nothing was measured"):
            run(["fused-cuda"])
    file = tmp_path / "sweep.yaml"
    file.write_text(json.dumps(sweep("digits", 5, 1, "cpu")), encoding="utf-8")
    assert one_step_error([spec for point in load_sweep(file).points for spec in point.trials]) == 0
