"""Pictures as SVG within the page: colours follow the page's theme, series can be hidden."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

from optrun.comparisons.figures.picture import INK, Picture
from optrun.comparisons.report.markup import Markup
from optrun.pictures.figures import PALETTE, STYLE

__all__ = ["drawn"]

SVG = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"

THEMED = {
    **{colour.lower(): f"var(--series-{number})" for number, colour in enumerate(PALETTE)},
    "#000000": "var(--ink)",
    INK.lower(): "var(--ink)",
    "#ffffff": "var(--paper)",
    "#e4e4e4": "var(--grid)",
}
"""Colours that the style sheet sets. The last of the palette is black, as are the axes."""

_FONT_SIZE = re.compile(r"(?:^|\s)([\d.]+)px")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")


def drawn(picture: Picture) -> Markup:
    """The picture as an `svg` element without any style attribute, which the page's security policy forbids."""
    import matplotlib
    from matplotlib.figure import Figure

    file = io.BytesIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": picture.key}):
        figure = Figure(figsize=picture.size, layout="constrained")
        picture.draw(figure.subplots())
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(file.getvalue())
    for node in list(root):
        if node.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}defs") and not len(node.findall(f"{{{SVG}}}clipPath")):
            root.remove(node)
    for node in root.iter():
        _adapt(node, picture.key)
    width, height = (float(size) * 96 for size in picture.size)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "width": f"{width:.0f}",
        "height": f"{height:.0f}",
        "role": "img",
        "aria-label": picture.title,
    }
    ElementTree.register_namespace("", SVG)
    text = ElementTree.tostring(root, encoding="unicode")
    return Markup(text.replace(f' xmlns="{SVG}"', "").replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', ""))


def _adapt(node: ElementTree.Element, key: str) -> None:
    """One element: its style as attributes, its colours as the theme's, its names unlike those of other pictures."""
    style = node.attrib.pop("style", "")
    for declaration in filter(None, (part.strip() for part in style.split(";"))):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font":
            size = _FONT_SIZE.search(value)
            if size:
                node.set("font-size", size[1])
            if "bold" in value or "700" in value.split():
                node.set("font-weight", "bold")
        elif not name.startswith("font-family"):
            node.set(name, value)
    for name, value in list(node.attrib.items()):
        if name == "id":
            del node.attrib["id"]
            if value.startswith("series-"):
                node.set("class", value)
            else:
                node.set("id", f"{key}-{value}")
        elif name in (LINK, "href"):
            del node.attrib[name]
            node.set("href", f"#{key}-{value.removeprefix('#')}")
        elif value.lower() in THEMED:
            node.set(name, THEMED[value.lower()])
        elif "url(#" in value:
            node.set(name, _REFERENCE.sub(rf"url(#{key}-\1)", value))
    if node.tag == f"{{{SVG}}}text" and "fill" not in node.attrib:
        node.set("fill", "var(--ink)")
