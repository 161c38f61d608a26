"""The pictures for papers: nothing is cut off, nothing lies on anything else, and labels tell what differs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from comparing import write_run
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

import optrun
from optrun.comparisons import Comparison
from optrun.comparisons.figures import pictures, save
from optrun.comparisons.figures.labels import short_labels
from optrun.comparisons.figures.paper import page
from optrun.errors import UsageError
from optrun.pictures.figures import STYLE

SCHEDULERS = [None, {"name": "CosineAnnealingLR"}, {"name": "CyclicLR", "base_lr": 0.0001, "max_lr": 0.001}]


def write_study(directory: Path, extra: Mapping[str, Any] = {}) -> None:
    """Twelve settings with three seeds each, as a tutorial has them; two without any effect, and one that diverges."""
    generator = random.Random(0)
    optimizers = [{"name": "SGD", "lr": 0.1}, {"name": "AdamW", "lr": 0.003}]
    grid = list(itertools.product(optimizers, SCHEDULERS, [None, 1.0]))
    for number, (optimizer, scheduler, clip) in enumerate(grid):
        for seed in range(3):
            config = {"optimizer": optimizer, "scheduler": scheduler, "clip_norm": clip, **extra}
            level = 0.9 + 0.01 * (number // 2) + 0.001 * seed
            values = [level - 0.5 / (1 + step) for step in range(6)]
            write_run(directory / f"r-{number}-{seed}", values, seed=seed, config=config)
            rows = (directory / f"r-{number}-{seed}" / "metrics.jsonl").read_text()
            lr = optimizer["lr"] * (1 if scheduler is None else 1 + generator.random())
            changed = rows.replace('"val/accuracy"', f'"train/loss": {generator.random()}, "lr": {lr}, "val/accuracy"')
            (directory / f"r-{number}-{seed}" / "metrics.jsonl").write_text(changed)
    for seed in range(3):
        config = {"optimizer": {"name": "SGD", "lr": 1e30}, **extra}
        write_run(directory / f"lost-{seed}", [0.1], seed=seed, status="diverged", config=config)


LONG = {"model": {"name": "a_model_of_my_own_with_quite_a_long_name", "hidden": [512, 256, 128, 64, 32]}}


@pytest.fixture(params=[{}, LONG, {"notes": "x"}], ids=["short", "long", "merged"])
def figure(request: pytest.FixtureRequest, tmp_path: Path) -> Figure:
    write_study(tmp_path, {} if "notes" in request.param else request.param)
    if request.param is LONG:
        write_run(tmp_path / "other-0", [0.5, 0.6], config={"model": {"name": "mlp", "hidden": [8] * 30}})
    found = optrun.compare(tmp_path, group_by="optimizer,clip_norm" if "notes" in request.param else ())
    with matplotlib.rc_context(STYLE):
        drawn = page(pictures(found))
        drawn.canvas.draw()
    return drawn


def boxes(figure: Figure) -> Iterator[tuple[str, Bbox]]:
    """All axes with what is written around them, and all legends; in pixels."""
    for ax in figure.axes:
        yield str(ax.get_label()), ax.get_tightbbox()
    for number, legend in enumerate(figure.legends):
        yield f"legend {number}", legend.get_window_extent()


def test_nothing_is_cut_off_and_nothing_lies_on_anything_else(figure: Figure) -> None:
    listed = list(boxes(figure))
    assert len(listed) > 7
    for name, box in listed:
        assert box.x0 >= 0, name
        assert box.y0 >= 0, name
        assert box.x1 <= figure.bbox.x1, name
        assert box.y1 <= figure.bbox.y1, name
    for (name, box), (other, its) in itertools.combinations(listed, 2):
        overlap = Bbox.intersection(box, its)
        assert overlap is None or min(overlap.width, overlap.height) < 1, (name, other)


def test_pictures_use_the_page(figure: Figure) -> None:
    """Every row reaches from the left to the right, but for a picture that stands alone."""
    width, taken = figure.bbox.width, 0.0
    for ax in figure.axes:
        box, inner = ax.get_tightbbox(), ax.get_window_extent()
        assert inner.width > 0.15 * width, ax.get_label()
        taken += box.width * box.height
    assert taken > 0.7 * width * figure.bbox.height


def test_one_legend_for_pictures_with_the_same_series(figure: Figure) -> None:
    every = [tuple(text.get_text() for text in legend.get_texts()) for legend in figure.legends]
    assert len(every) == len(set(every))
    assert all(len(labels) == len(set(labels)) for labels in every)
    assert not any("…" in label for labels in every for label in labels)


def test_a_label_says_what_tells_a_group_from_the_others_that_are_drawn(tmp_path: Path) -> None:
    write_study(tmp_path)
    found = optrun.compare(tmp_path)
    groups = [each for each in found.groups if each.n]
    assert short_labels(groups)[:3] == [
        "AdamW, CyclicLR, clip_norm none", "AdamW, CyclicLR, clip_norm 1", "AdamW, CosineAnnealingLR, clip_norm none",
    ]  # fmt: skip
    assert short_labels(groups[:2]) == ["clip_norm none", "clip_norm 1"]
    assert short_labels(groups[::6]) == ["AdamW", "SGD"]
    assert short_labels(groups[:1]) == [groups[0].group.label]
    assert len(set(short_labels(found.groups))) == len(found.groups)


def test_curves_that_lie_on_each_other_are_all_seen(tmp_path: Path) -> None:
    """Each by its own dashes: together they fill the line, and no two draw at one place."""
    for number, rate in enumerate((0.1, 0.2, 0.3)):
        for seed in range(2):
            config = {"optimizer.lr": rate}
            write_run(tmp_path / f"r-{number}-{seed}", [0.1, 0.5, 0.9], seed=seed, config=config)
    [curve] = [picture for picture in pictures(optrun.compare(tmp_path)) if picture.key == "curve-0"]
    ax = Figure().subplots()
    curve.draw(ax)
    lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
    patterns = [line._unscaled_dash_pattern for line in lines]  # type: ignore[attr-defined]
    assert len(lines) == 3
    seen = [[(at + offset) % sum(dashes) < dashes[0] for at in range(12)] for offset, dashes in patterns]
    assert [sum(at) for at in zip(*seen)] == [1] * 12


def test_a_learning_rate_that_is_far_away_does_not_stretch_the_axis(tmp_path: Path) -> None:
    write_study(tmp_path)
    for picture in pictures(optrun.compare(tmp_path)):
        if picture.key in ("sensitivity-optimizer-lr", "rates"):
            ax = Figure().subplots()
            picture.draw(ax)
            assert max(*ax.get_xlim(), *(ax.get_ylim() if picture.key == "rates" else [])) < 100
            assert picture.key == "rates" or "1e30 →" in {text.get_text() for text in ax.texts}


def drawn(found: Comparison) -> dict[str, tuple[str, Axes]]:
    """Titles and axes of the pictures, by their keys."""
    axes = {}
    for picture in pictures(found):
        ax = Figure().subplots()
        picture.draw(ax)
        axes[picture.key] = picture.title, ax
    return axes


def words(ax: Axes) -> set[str]:
    return {text.get_text() for text in (*ax.texts, *ax.get_yticklabels())}


def test_rates_that_are_far_away_share_a_mark(tmp_path: Path) -> None:
    for number, rate in enumerate((0.1, 1.0, 1e-20, 1e20, 1e25, 1e30)):
        status = "completed" if rate in (0.1, 1.0) else "diverged"
        write_run(tmp_path / f"r-{number}", [0.5], status=status, config={"optimizer.lr": rate})
    _, ax = drawn(optrun.compare(tmp_path))["sensitivity-optimizer-lr"]
    assert words(ax) >= {"← 1e-20", "1e20 … 1e30 →"}
    assert len(ax.texts) == 2


@pytest.mark.parametrize(("mode", "edge"), [("max", 0), ("min", 1)])
def test_the_ranking_shows_runs_without_a_value_at_its_worse_edge(tmp_path: Path, mode: str, edge: int) -> None:
    for seed in range(3):
        write_run(tmp_path / f"good-{seed}", [0.5 + 0.01 * seed], seed=seed)
        few, never = ("diverged" if seed == 0 else "completed"), ("diverged" if seed else "failed")
        write_run(tmp_path / f"few-{seed}", [0.4], seed=seed, status=few, config={"optimizer.lr": 1})
        write_run(tmp_path / f"never-{seed}", [0.4], seed=seed, status=never, config={"optimizer.lr": 10})
    _, ax = drawn(optrun.compare(tmp_path, mode=mode))["ranking"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        "lr 0.1", "lr 1 (1 diverged)", "lr 10 (2 diverged, 1 failed)",
    ]  # fmt: skip
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in crosses] == [(edge, 1), (edge, 2)]


def test_a_title_says_how_many_are_drawn_and_these_are_the_best(tmp_path: Path) -> None:
    names = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam"]
    for number, (name, rate) in enumerate(itertools.product(names, (0.01, 0.1, 1.0))):
        config = {"optimizer": {"name": name, "lr": rate}}
        write_run(tmp_path / f"r-{number}", [0.01 * number, 0.02 * number], config=config)
    found = optrun.compare(tmp_path)
    titles = {key: title for key, (title, _) in drawn(found).items()}
    assert titles["ranking"] == "val/accuracy, the best 20 of 27 groups"
    assert titles["curve-0"] == "val/accuracy, the best 7 of 27 groups"
    assert titles["sensitivity-optimizer-lr"] == "val/accuracy against optimizer.lr, the best 7 of 9 optimizers"
    assert titles["best-of-k"] == "expected best val/accuracy of k settings, the best 7 of 9 optimizers"
    for picture in pictures(found):
        if picture.key in ("sensitivity-optimizer-lr", "best-of-k"):
            assert list(picture.series) == names[:1:-1]
    title, ax = drawn(optrun.compare(tmp_path, baseline="SGD, lr 0.01"))["ranking"]
    assert title == "val/accuracy, the best 20 of 27 groups and the baseline"
    assert "SGD, lr 0.01" in words(ax)


def test_a_setting_that_only_one_optimizer_has_is_an_axis_where_it_tells_settings_apart(tmp_path: Path) -> None:
    optimizers = [{"name": "SGD", "lr": rate, "momentum": m} for rate in (0.1, 1.0) for m in (0.0, 0.9)]
    optimizers += [{"name": "Adam", "lr": rate, "betas": [0.9, 0.999]} for rate in (0.1, 1.0)]
    for number, optimizer in enumerate(optimizers):
        write_run(tmp_path / f"r-{number}", [0.1 * number], config={"optimizer": optimizer})
    _, ax = drawn(optrun.compare(tmp_path))["parallel"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["optimizer", "lr", "momentum", "val/accuracy"]
    heights = {text.get_text(): text.get_position()[1] for text in ax.texts if 2 < text.get_position()[0] < 3}
    assert heights == {"–": 0.0, "0": 0.5, "0.9": 1.0}


def test_learning_rates_are_of_a_run_that_has_them(tmp_path: Path) -> None:
    for seed in range(2):
        path = write_run(tmp_path / f"r-{seed}", [0.1, 0.2], seed=seed, status="completed" if seed else "failed")
        row = '{"step": %d, "epoch": 0, "time": 0.1, "lr": %s, "val/accuracy": 0.5}\n'
        (path / "metrics.jsonl").write_text(row % (10, 0.2) + row % (20, 0.1) if seed else "")
    _, ax = drawn(optrun.compare(tmp_path))["rates"]
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.2, 0.1]]


def test_without_results_there_is_nothing_to_draw(tmp_path: Path) -> None:
    write_run(tmp_path / "r-0", [], status="failed")
    with pytest.raises(UsageError, match="there is no result to draw into"):
        save(optrun.compare(tmp_path), tmp_path / "picture.png")
