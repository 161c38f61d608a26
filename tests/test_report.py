"""The HTML report: well formed, safe whatever a stranger wrote, and in a real browser what it promises to be."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from comparing import write_run
from experiments import DIGITS_MLP, write_config

import optrun
from optrun.cli.app import run
from optrun.comparisons import report
from optrun.comparisons.figures import pictures
from optrun.comparisons.report.markup import Markup, element

EVIL = '<script>alert(1)</script> "&\\u202e$x_1$'
"""A name of a setting that would run, break out of an attribute, turn the text around, and be set as mathematics."""

CHROMIUM = next(
    (found for name in ("chromium", "chromium-headless-shell", "google-chrome") if (found := shutil.which(name))), None
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight settings, two seeds each, with schedules and clipping, so that every picture has something to show."""
    directory = tmp_path_factory.mktemp("reported")
    base = {**DIGITS_MLP, "epochs": 2, "metrics": ["accuracy"]}
    grid = [
        {
            "optimizer.lr": [0.003, 0.1],
            "scheduler": [None, {"name": "CosineAnnealingLR"}],
            "optimizer": [{"name": "SGD"}, {"name": "Adam"}],
        },
        {"optimizer.lr": [0.1], "clip_norm": [1.0], "optimizer": [{"name": "SGD"}]},
    ]
    sweep = write_config(directory / "study.yaml", {"name": "study", "base": base, "grid": grid, "seeds": 2})
    optrun.sweep(sweep, runs_dir=directory, executor="inline")
    return directory / "study"


@pytest.fixture(scope="module")
def hostile(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same runs from a stranger: markup in a config, in the names of directories, in the environment."""
    directory = tmp_path_factory.mktemp("hostile") / "study"
    shutil.copytree(runs, directory)
    (directory / "sweep.yaml").unlink()
    for path in sorted(directory.glob("*-*")):
        for name in ("config.yaml", "environment.json"):
            text = (path / name).read_text()
            text = text.replace("name: SGD", f'name: "{EVIL.replace(chr(34), chr(92) + chr(34))}"')
            (path / name).write_text(text.replace('"cpu": "', '"cpu": "<img src=x onerror=alert(2)>'))
        path.rename(directory / f"<b onclick=alert(3)>{path.name}")
    return directory


def page(path: Path, **wishes: Any) -> str:
    return report.html(optrun.compare(path, **wishes))


class Reader(HTMLParser):
    """Every element of a page, with its attributes; complains where one is not closed as it was opened."""

    EMPTY = frozenset({"meta", "br", "hr", "path", "use", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(runs: Path) -> None:
    text = page(runs)
    read = Reader(text)
    names = {name for name, _ in read.elements}
    assert {"table", "figure", "figcaption", "svg", "h1", "button", "details"} <= names
    assert names.isdisjoint({"link", "img", "iframe", "object", "embed", "form"})
    for _, attributes in read.elements:
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert not {"src", "action", "ping", "srcset"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)


def test_every_name_within_the_page_is_its_own_and_every_reference_meets_one(runs: Path) -> None:
    read = Reader(page(runs))
    identities = [attributes["id"] for _, attributes in read.elements if attributes.get("id")]
    assert len(identities) == len(set(identities))
    used = {value[1:] for _, each in read.elements if (value := each.get("href"))}
    used |= {
        name
        for _, each in read.elements
        for value in each.values()
        for name in re.findall(r"url\(#(.*?)\)", value or "")
    }
    assert used
    assert used <= set(identities)


def test_the_page_has_what_the_comparison_has(runs: Path) -> None:
    found = optrun.compare(runs)
    text = report.html(found)
    for each in found.groups:
        assert f"{each.mean:.4f}" in text
        assert each.verdict in text
        assert each.group.label in text
        for outcome in each.group.outcomes:
            assert outcome.path.name in text
    assert f"{found.conclusion}." in text
    keys = [picture.key for picture in pictures(found)]
    assert keys == [
        "ranking", "curve-0", "curve-1", "rates", "sensitivity-optimizer-lr", "best-of-k", "importance", "parallel",
    ]  # fmt: skip
    for key in keys:
        assert f'id="figure-{key}"' in text


def test_the_same_runs_give_the_same_page(runs: Path) -> None:
    assert page(runs) == page(runs)
    assert page(runs, group_by="optimizer") != page(runs)


def test_nothing_a_stranger_wrote_becomes_markup(hostile: Path) -> None:
    text = page(hostile)
    read = Reader(text)
    assert [name for name, _ in read.elements].count("script") == 1
    assert {name for name, _ in read.elements}.isdisjoint({"img", "b"})
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\u202e" not in text
    assert "x_1" in text


def test_text_becomes_markup_in_one_place_only() -> None:
    assert element("p", "a < b & c", title='"<"') == '<p title="&quot;&lt;&quot;">a &lt; b &amp; c</p>'
    assert element("p", Markup("<b>x</b>"), None, hidden=True, lang=None) == "<p hidden><b>x</b></p>"
    assert element("p", "\x1b[31m\u202e") == "<p>\\x1b[31m\\u202e</p>"


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_pictures_for_papers(runs: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"picture.{ending}"
    option = "--png" if ending != "svg" else "--svg"
    assert run(["compare", str(runs), "-q", option, str(path)]) == 0
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert path.read_bytes().startswith(starts[ending])


@pytest.mark.parametrize(
    ("option", "name", "allowed"),
    [("--png", "noext", ".png or .pdf"), ("--png", "x.svg", ".png or .pdf"), ("--svg", "x.png", ".svg")],
)
def test_a_file_is_called_what_is_written_into_it(
    runs: Path, tmp_path: Path, option: str, name: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    assert run(["compare", str(runs), option, str(path)]) == 2
    assert capsys.readouterr() == ("", f"{option} takes a file that ends in {allowed}, not {path}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--html", "--png", "--svg"])
def test_a_file_that_cannot_be_written_is_said(
    runs: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "nowhere" / f"file.{option[2:]}"
    assert run(["compare", str(runs), option, str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"cannot write {path}: ")


def test_a_study_without_results_still_has_a_page(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "study")
    for path in (tmp_path / "study").glob("*-*/summary.json"):
        path.write_text(path.read_text().replace('"completed"', '"failed"'))
    text = page(tmp_path / "study")
    Reader(text)
    assert "no run has a result to compare." in text


@contextlib.contextmanager
def browsing(text: str, tmp_path: Path, **context: Any) -> Iterator[tuple[Any, list[str]]]:
    """The page in Chromium, and everything that it complains of or asks the network for."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on the PATH")
    from playwright.sync_api import sync_playwright

    path = tmp_path / "report.html"
    path.write_text(text, encoding="utf-8")
    heard: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_context(offline=True, **context).new_page()
        opened.on("console", lambda message: heard.append(message.text))
        opened.on("pageerror", lambda error: heard.append(str(error)))
        opened.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
        opened.on("request", lambda request: heard.append(request.url) if request.url != path.as_uri() else None)
        opened.goto(path.as_uri())
        yield opened, heard
        browser.close()


def test_in_a_browser_nothing_is_complained_of_and_a_click_hides_a_curve(runs: Path, tmp_path: Path) -> None:
    with browsing(page(runs), tmp_path) as (opened, heard):
        assert opened.locator("table").first.is_visible()
        figures = opened.locator("figure")
        assert figures.count() == 8
        for i in range(figures.count()):
            assert figures.nth(i).locator("svg:visible").bounding_box()["height"] > 100
        curves = opened.locator("#figure-curve-0")
        button = curves.locator("button").first
        parts = curves.locator(".series-0")
        assert parts.count() == 2  # the mean and the band
        assert parts.first.is_visible()
        button.click()
        assert button.get_attribute("aria-pressed") == "false"
        assert not any(parts.nth(i).is_visible() for i in range(2))
        assert curves.locator(".series-1").first.is_visible()
        assert opened.locator("#figure-curve-1 .series-0").first.is_visible()
        button.focus()
        opened.keyboard.press("Enter")
        assert button.get_attribute("aria-pressed") == "true"
        assert parts.first.is_visible()
        opened.locator("summary").last.click()
        assert opened.get_by_text("Every run (18)").is_visible()
        assert heard == []


def test_in_a_browser_a_strangers_names_are_only_text(hostile: Path, tmp_path: Path) -> None:
    with browsing(page(hostile), tmp_path) as (opened, heard):
        assert opened.get_by_text("<script>alert(1)</script>").first.is_visible()
        opened.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        assert opened.get_by_text("<b onclick=alert(3)>").first.is_visible()
        opened.get_by_text("<b onclick=alert(3)>").first.click()
        assert heard == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_in_a_browser_the_page_fits_and_can_be_read(runs: Path, tmp_path: Path, scheme: str, width: int) -> None:
    context = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with browsing(page(runs), tmp_path, **context) as (opened, heard):
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        for selector in ("body", ".conclusion", "figcaption", "td", "#figure-curve-0 svg text"):
            assert _contrast(opened, selector) >= 4.5, selector
        assert heard == []


def test_on_a_phone_text_can_be_read_and_the_verdict_is_seen(runs: Path, tmp_path: Path) -> None:
    with browsing(page(runs), tmp_path, viewport={"width": 390, "height": 844}) as (opened, _):
        sizes = opened.evaluate(
            """() => [...document.querySelectorAll("svg text")].filter(each => each.checkVisibility()).map(each => {
                const svg = each.ownerSVGElement;
                return parseFloat(getComputedStyle(each).fontSize) * svg.clientWidth / svg.viewBox.baseVal.width;
            })"""
        )
        assert len(sizes) > 50
        assert min(sizes) > 9
        ranking = opened.locator(".scroll").first
        box = ranking.locator(".verdict").nth(1).bounding_box()
        assert box["x"] + box["width"] <= 390
        before = ranking.locator("tbody th").first.bounding_box()["x"]
        ranking.evaluate("each => { each.scrollLeft = 200 }")
        assert ranking.locator("tbody th").first.bounding_box()["x"] == before


def test_on_a_desk_the_whole_ranking_is_seen(runs: Path, tmp_path: Path) -> None:
    with browsing(page(runs), tmp_path, viewport={"width": 1300, "height": 900}) as (opened, _):
        ranking = opened.locator(".scroll").first
        assert ranking.evaluate("each => each.scrollWidth <= each.clientWidth")
        assert ranking.locator("thead th").count() == 9


def test_on_paper_everything_is_unfolded_and_no_heading_stands_alone(runs: Path, tmp_path: Path) -> None:
    with browsing(page(runs), tmp_path) as (opened, heard):
        every = opened.locator("details td, details dd")
        assert not every.first.is_visible()
        opened.emulate_media(media="print")
        opened.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert all(each.is_visible() for each in every.all())
        assert not opened.locator(".narrow").first.is_visible()
        for heading in ("h2", "h3", "summary"):
            assert opened.locator(heading).first.evaluate("each => getComputedStyle(each).breakAfter") == "avoid"
        opened.evaluate("dispatchEvent(new Event('afterprint'))")
        opened.emulate_media(media="screen")
        assert not every.first.is_visible()
        assert heard == []


def test_the_page_names_the_files_and_the_data_that_runs_were_made_with(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "study")
    for number, path in enumerate(sorted((tmp_path / "study").glob("*-*/environment.json"))):
        known = json.loads(path.read_text())
        known["imports"] = [{"path": "imp.py", "sha256": f"{number % 2}" * 64}]
        path.write_text(json.dumps(known))
    text = page(tmp_path / "study")
    assert f"imp.py {'0' * 12}" in text
    assert f"imp.py {'1' * 12}" in text
    assert known["data_fingerprint"][:12] in text
    assert "the runs were made with different imp.py" in text


@pytest.mark.parametrize("count", [1, 2])
def test_counts_are_written_as_they_are_said(tmp_path: Path, count: int) -> None:
    for number in range(count):
        write_run(tmp_path / f"r-{number}", [0.5], config={"optimizer.lr": 0.1 + number})
    text = page(tmp_path)
    groups, shown = ("1 group", "1 run") if count == 1 else ("2 groups", "2 runs")
    assert f"<h1>val/accuracy: {groups}</h1>" in text
    assert f"optrun compare · {shown}<" in text


def _contrast(opened: Any, selector: str) -> float:
    """Of the text there against what is behind it, as WCAG 2.2 computes it."""
    foreground, background = opened.evaluate(
        """selector => {
            let node = document.querySelector(selector);
            const style = getComputedStyle(node);
            const ink = node instanceof SVGElement ? style.fill : style.color;
            while (getComputedStyle(node).backgroundColor === "rgba(0, 0, 0, 0)") node = node.parentElement;
            return [ink, getComputedStyle(node).backgroundColor];
        }""",
        selector,
    )

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(foreground), luminance(background)))
    return (light + 0.05) / (dark + 0.05)
