"""What the pages share: the document that is filled, its sections, and the boxes that plots are drawn in."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

from nasforge.report.markup import Content, Markup, element, escaped
from nasforge.run.atomic import finite

_PLACE: Final = re.compile(r"<!--(\w+)-->")


def filled(title: str, body: Markup, plots: Mapping[str, Any], style: str = "") -> str:
    """Return a whole page.

    Args:
        title: of the window.
        body: what is inside `main`.
        plots: figures by the id of their box.
        style: rules beside those of every page.
    """
    parts: dict[str, str] = {
        "title": escaped(f"{title} - nasforge"),
        "style": shipped("style.css") + style,
        "body": body,
        "figures": embedded_json(plots),
        "plotly": _plotly() if plots else "",
    }
    # in one pass, so that nothing that was filled in is looked through again
    return _PLACE.sub(lambda match: parts[match[1]], shipped("page.html"))


def embedded_json(value: Any) -> str:
    """Return JSON that is safe inside a script element: nothing in it can end the element or open another."""
    text = json.dumps(finite(value), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def section(name: str, *content: Content) -> Markup:
    """Return a part of a page below its heading."""
    return element("section", element("h2", name), *content)


def plot_boxes(plots: Mapping[str, Any], captions: Mapping[str, str], without: str) -> list[Markup]:
    """Return the boxes of plots with their captions; the sentence `without` where there is none."""
    if not plots:
        return [element("p", without, class_="missing")]
    boxes = [
        element("figure", element("div", "", id=name, class_="plot"), element("figcaption", captions[name]))
        for name in plots
    ]
    text = "The plots need JavaScript; their figures are in the tables."
    return [element("div", *boxes, class_="plots"), element("noscript", element("p", text, class_="missing"))]


def shipped(name: str) -> str:
    """Return a text that ships with the report."""
    return (resources.files("nasforge.report") / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    """Return plotly.js, compressed: the page has 2 MB instead of 5."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
