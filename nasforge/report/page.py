"""`report.html`: everything about a run on one page that needs nothing else, neither network nor scripts to be read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nasforge.report.contents import Contents, read_contents
from nasforge.report.drawing import draw
from nasforge.report.headline import headline, title
from nasforge.report.latency_plot import held_out_figure
from nasforge.report.markup import Content, Markup, element, joined
from nasforge.report.origin import how_it_was_made
from nasforge.report.plots import figures
from nasforge.report.precisions import precisions
from nasforge.report.results import decisions, evaluations, figures_of_best, finalists
from nasforge.report.template import filled, plot_boxes, section
from nasforge.run.atomic import write_text
from nasforge.space import SearchSpace

FILE: Final = "report.html"
_PLOTS: Final = {
    "pareto": "Every evaluation of the search, the ones that no other beats, and the one that was chosen.",
    "curve": "The best found so far, with what each evaluation found.",
}
_LATENCY_PLOTS: Final = {
    "held_out": "Predicted against measured latency of networks that took no part in making the predictor.",
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
    plots, held_out = figures(contents), held_out_figure(contents)
    if held_out is not None:
        plots["held_out"] = held_out
    return filled(title(contents), joined([headline(contents), *_sections(contents, plots)]), plots)


def _latency(plots: Mapping[str, Any]) -> list[Markup]:
    shown = {name: plots[name] for name in _LATENCY_PLOTS if name in plots}
    return [section("How well latency is predicted", *plot_boxes(shown, _LATENCY_PLOTS, ""))] if shown else []


def _sections(contents: Contents, plots: Mapping[str, Any]) -> list[Markup]:
    found = {name: plots[name] for name in _PLOTS if name in plots}
    return [
        section("Finalists", finalists(contents)),
        *([section("Float32 and INT8", beside)] if (beside := precisions(contents)) is not None else []),
        section("Search", *plot_boxes(found, _PLOTS, "There is no evaluation to plot."), evaluations(contents)),
        *_latency(plots),
        section("Architecture", *_architecture(contents)),
        section("Figures of the chosen network", figures_of_best(contents)),
        section("How it was made", how_it_was_made(contents)),
    ]


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
