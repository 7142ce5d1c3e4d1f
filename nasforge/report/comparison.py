"""The page of a comparison: table, paired differences, curves and fronts, made from the comparison's JSON alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nasforge.report.comparison_plots import comparison_figures
from nasforge.report.markup import Content, Markup, element, joined, table
from nasforge.report.quantity import NOTHING, is_share, quantity, seconds_text, text_of, words
from nasforge.report.template import filled, plot_boxes, section, shipped
from nasforge.run.atomic import write_text

_CAPTIONS: Final = {
    "differences": "Each configuration minus the baseline over the seeds that both have: mean, interval, every seed.",
    "curves": "Mean over seeds of the best so far; the band reaches from the lowest to the highest seed.",
    "fronts": "The Pareto fronts of all runs, one line for each seed.",
}
_VOLUME: Final = "hypervolume"

Document = Mapping[str, Any]


def write_comparison(path: Path, document: Document) -> Path:
    """Write the page.

    Args:
        path: of the file.
        document: what `nasforge.bench.Comparison.to_json` gives.

    Raises:
        RunFolderError: it cannot be written.
    """
    write_text(path, comparison_page(document))
    return path


def comparison_page(document: Document) -> str:
    """Return the page of a comparison."""
    plots = comparison_figures(document)
    name = f"{len(document['configurations'])} configurations compared by {words(document['metric'])}"
    body = joined(
        [
            _header(document, name),
            section("Configurations", summary_table(document)),
            section("Paired with the baseline", *_pairs(document), *_boxes(plots, "differences")),
            section("Curves and fronts", *_boxes(plots, "curves", "fronts")),
            section("Runs", _runs(document)),
        ]
    )
    return filled(name, body, plots, shipped("comparison.css"))


def _boxes(plots: Mapping[str, Any], *names: str) -> list[Markup]:
    shown = {name: plots[name] for name in names if name in plots}
    return plot_boxes(shown, _CAPTIONS, "There is nothing to plot.")


def _header(document: Document, name: str) -> Markup:
    runs = sum(len(each["folders"]) for each in document["configurations"])
    better = "more is better" if document["direction"] == "maximize" else "less is better"
    lead = f"{runs} run{'' if runs == 1 else 's'}; baseline {document['baseline']}; {better}. {_how(document)}"
    warned = [
        element("p", element("strong", "NOT ALIKE"), " ", text, class_="banner bad") for text in document["differing"]
    ]
    notes = [element("p", text, class_="banner note") for text in document["notes"]]
    return element(
        "header",
        element("p", "nasforge comparison", class_="kicker"),
        element("h1", name),
        element("p", lead, class_="lead"),
        *warned,
        *notes,
    )


def _how(document: Document) -> str:
    kind = "Student's t" if document["interval"] == "t" else "bootstrap percentiles"
    return f"Intervals of {100 * document['confidence']:g} % by {kind}, over seeds."


def summary_table(document: Document) -> Markup:
    """Return the table of all configurations, the baseline marked."""
    metric = document["metric"]
    header = [
        "configuration",
        "seeds",
        words(metric),
        "best",
        "latency",
        "time",
        "evaluations",
        "image-MACs",
        "hypervolume",
    ]
    rows = [element("tr", *_cells(document, each)) for each in document["configurations"]]
    return joined([table(header, rows, class_="compared"), _reference(document)])


def _cells(document: Document, each: Document) -> list[Markup]:
    metric, best, seconds = document["metric"], each["best"], each["seconds"]
    tag = element("span", "baseline", class_="tag") if each["label"] == document["baseline"] else None
    shown = NOTHING if best is None else joined([quantity(metric, best[1]), f" (seed {best[0]})"])
    latency = with_interval(each["latency_metric"], each["latency"])
    if each["latency_metric"] != "latency_ms" and each["latency"] is not None:
        latency = joined([latency, element("small", " predicted")])
    cells: list[Content] = [
        str(len(each["folders"])),
        with_interval(metric, each["score"]),
        shown,
        latency,
        NOTHING if seconds is None else seconds_text(seconds["mean"]),
        with_interval("evaluations", each["evaluations"], interval=False),
        NOTHING if each.get("image_macs") is None else f"{each['image_macs']['mean']:.3g}",
        with_interval(_VOLUME, each["hypervolume"]),
    ]
    return [element("th", each["label"], tag, scope="row", class_="text"), *(element("td", part) for part in cells)]


def with_interval(metric: str, value: Document | None, interval: bool = True, signed: bool = False) -> Markup:
    """Return a mean with its interval, where there is one."""
    if value is None:
        return element("span", NOTHING, class_="none")
    text = difference_text if signed else text_of
    exact = f"{metric} = {value['mean']!r}"
    parts: list[Content] = [element("data", text(metric, value["mean"]), value=repr(value["mean"]), title=exact)]
    if interval and value["interval"] is not None:
        low, high = (text(metric, value["interval"][side]) for side in ("low", "high"))
        parts.append(element("small", f" [{low}, {high}]"))
    return joined(parts)


def difference_text(metric: str, value: float) -> str:
    """Return a difference with its sign; of shares in points of percent.

    >>> difference_text("accuracy", -0.0125), difference_text("latency_ms", 0.5)
    ('-1.25 points', '+0.500 ms')
    """
    if is_share(metric):
        return f"{100 * value:+.2f} points"
    return f"{'+' if value > 0 else ''}{text_of(metric, value)}"


def _reference(document: Document) -> Markup:
    if document["reference"] is None:
        return element("p", "There is no Pareto front, so no hypervolume.", class_="missing")
    cost, value = document["reference"]
    metric = document["objective"][0]
    return element(
        "p",
        f"Hypervolume of the Pareto fronts of ({words(metric)}, {document['cost']}) in the search, up to the common "
        f"reference point {words(metric)} {value:.6g}, {document['cost']} {cost:.6g}: the worst of all runs compared "
        "here, and a tenth of the range beyond. It means nothing beside another comparison.",
        class_="missing",
    )


def _pairs(document: Document) -> list[Content]:
    if not document["pairs"]:
        return [element("p", "There is no other configuration to pair with the baseline.", class_="missing")]
    left_out = element("th", "seeds left out", scope="col", class_="text")
    header = ["configuration", "figure", "pairs", "mean difference", "better", "worse", "equal", left_out]
    return [table(header, [_pair(each) for each in document["pairs"]], class_="compared")]


def _pair(pair: Document) -> list[Content]:
    difference, signs = pair["difference"], pair["signs"]
    missing = [
        f"{', '.join(map(str, seeds))} (missing in {'the baseline' if side == 'baseline' else 'the configuration'})"
        for side, seeds in pair["missing"].items()
        if seeds
    ]
    counts: Sequence[Content] = [str(signs[key]) for key in ("better", "worse", "equal")]
    return [
        element("th", pair["label"], scope="row", class_="text"),
        words(pair["metric"]),
        str(0 if difference is None else len(difference["values"])),
        with_interval(pair["metric"], difference, signed=True),
        *counts,
        element("td", "; ".join(missing) or "none", class_="text"),
    ]


def _runs(document: Document) -> Markup:
    rows: list[list[Content]] = []
    for each in document["configurations"]:
        values = {} if each["score"] is None else each["score"]["values"]
        for seed, folder in each["folders"].items():
            label = element("th", each["label"], scope="row", class_="text")
            value = quantity(document["metric"], values.get(seed))
            rows.append([label, str(seed), value, element("td", element("code", folder), class_="text")])
    folder = element("th", "folder", scope="col", class_="text")
    return table(["configuration", "seed", words(document["metric"]), folder], rows)
