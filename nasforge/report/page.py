"""`report.html`: everything about a run on one page that needs nothing else, neither network nor scripts to be read."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from nasforge.report.contents import Contents, read_contents
from nasforge.report.drawing import draw
from nasforge.report.headline import headline, title
from nasforge.report.markup import Content, Markup, element, escaped, joined
from nasforge.report.origin import how_it_was_made
from nasforge.report.plots import figures
from nasforge.report.results import decisions, evaluations, figures_of_best, finalists
from nasforge.run.atomic import finite, write_text
from nasforge.space import SearchSpace

FILE: Final = "report.html"
_PLACE: Final = re.compile(r"<!--(\w+)-->")
_PLOTS: Final = {
    "pareto": "Every evaluation of the search, the ones that no other beats, and the one that was chosen.",
    "curve": "The best found so far, with what each evaluation found.",
}


def write_report(folder: str | Path, space: SearchSpace | None = None) -> Path:
    """Write `report.html` of a finished run from what its folder holds; nothing else in it is touched.

    Args:
        folder: of the run.
        space: the space, where the run was started from Python with one that is no plug-in.

    Returns:
        The page.

    Raises:
        DamagedError: `result.json` is missing or damaged; other missing files only leave their part out.
        RunFolderError: the page cannot be written.
    """
    path = Path(folder) / FILE
    write_text(path, page(read_contents(Path(folder), space)))
    return path


def page(contents: Contents) -> str:
    """Return the page of a run."""
    plots = figures(contents)
    parts: dict[str, str] = {
        "title": escaped(f"{title(contents)} - nasforge"),
        "style": _shipped("style.css"),
        "body": joined([headline(contents), *_sections(contents, plots)]),
        "figures": embedded_json(plots),
        "plotly": _plotly() if plots else "",
    }
    # in one pass, so that nothing that was filled in is looked through again
    return _PLACE.sub(lambda match: parts[match[1]], _shipped("page.html"))


def embedded_json(value: Any) -> str:
    """Return JSON that is safe inside a script element: nothing in it can end the element or open another."""
    text = json.dumps(finite(value), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _sections(contents: Contents, plots: Mapping[str, Any]) -> list[Markup]:
    return [
        _section("Finalists", finalists(contents)),
        _section("Search", *_plots(plots), evaluations(contents)),
        _section("Architecture", *_architecture(contents)),
        _section("Figures of the chosen network", figures_of_best(contents)),
        _section("How it was made", how_it_was_made(contents)),
    ]


def _section(name: str, *content: Content) -> Markup:
    return element("section", element("h2", name), *content)


def _plots(plots: Mapping[str, Any]) -> list[Markup]:
    if not plots:
        return [element("p", "There is no evaluation to plot.", class_="missing")]
    boxes = [
        element("figure", element("div", "", id=name, class_="plot"), element("figcaption", _PLOTS[name]))
        for name in plots
    ]
    text = "The plots need JavaScript; their figures are in the tables."
    return [element("div", *boxes, class_="plots"), element("noscript", element("p", text, class_="missing"))]


def _architecture(contents: Contents) -> list[Content]:
    parts: list[Content] = []
    if contents.lowered is not None:
        parts.append(element("div", Markup(draw(contents.lowered)), class_="drawing"))
    else:
        parts.append(
            element("p", contents.notes.get("architecture.json", "There is no architecture."), class_="missing")
        )
    if contents.best is not None:
        parts += [element("h3", "Decisions"), decisions(contents.best)]
    return parts


@cache
def _plotly() -> str:
    """Return plotly.js, compressed: the page has 2 MB instead of 5."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def _shipped(name: str) -> str:
    return (resources.files("nasforge.report") / name).read_text(encoding="utf-8")
