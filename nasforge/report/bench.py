"""The page of a bench: for each suite the standings at every budget, pairs with random search, and curves.

It is made from `bench.json` alone, so an old bench can be shown again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nasforge.report.bench_plots import VOLUME, suite_figures
from nasforge.report.comparison import difference_text, with_interval
from nasforge.report.markup import Content, Markup, element, joined, table
from nasforge.report.quantity import NOTHING, seconds_text, text_of, words
from nasforge.report.template import filled, plot_boxes, section, shipped
from nasforge.run.atomic import write_text

BASELINE: Final = "random"
_CAPTIONS: Final = {
    "regret-evaluations": "Mean regret of the architecture with the best feedback so far, and its interval; what is "
    "below the axis is nothing.",
    "regret-seconds": "The same against the training that the evaluations took; repetitions take none.",
    "volume-evaluations": "Mean share of the hypervolume of the table's own front, and its interval.",
    "volume-seconds": "The same against the training that the evaluations took.",
}

Document = Mapping[str, Any]


def write_bench_page(path: Path, document: Document) -> Path:
    """Write the page.

    Args:
        path: of the file.
        document: what `nasforge.bench.BenchResult.to_json` gives.

    Raises:
        RunFolderError: it cannot be written.
    """
    write_text(path, bench_page(document))
    return path


def bench_page(document: Document) -> str:
    """Return the page of a bench."""
    plots: dict[str, Any] = {}
    parts: list[Markup] = []
    for place, suite in enumerate(document["suites"]):
        figures = suite_figures(suite, place)
        plots |= figures
        parts.append(section(suite["name"], *_suite(document, suite, figures)))
    strategies = len(document["suites"][0]["strategies"])
    name = f"{strategies} strategies on {_counted(len(document['suites']), 'suite')}"
    body = joined([_header(document, name), *parts, section("How it was made", _origin(document))])
    return filled(name, body, plots, shipped("comparison.css") + shipped("bench.css"))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _header(document: Document, name: str) -> Markup:
    limits = []
    if document["evaluations"] is not None:
        limits.append(_counted(document["evaluations"], "evaluation"))
    if document["seconds"] is not None:
        limits.append(f"{seconds_text(document['seconds'])} of training")
    lead = (
        f"{_counted(len(document['seeds']), 'seed')}, each search of {' or '.join(limits)}. Intervals of "
        f"{100 * document['confidence']:g} % by bootstrap over seeds."
    )
    notes = [element("p", text, class_="banner note") for text in document["notes"]]
    return element(
        "header",
        element("p", "nasforge bench", class_="kicker"),
        element("h1", name),
        element("p", lead, class_="lead"),
        *notes,
    )


def _suite(document: Document, suite: Document, figures: Mapping[str, Any]) -> list[Content]:
    captions = {name: _CAPTIONS[name.partition("-")[2]] for name in figures}
    parts: list[Content] = [element("p", _about(suite)), _standings(suite)]
    parts += plot_boxes(figures, captions, "There is nothing to plot.")
    parts += [element("h3", f"Paired with {BASELINE}"), _pairs(suite)]
    parts += [element("h3", "What the searches did"), _searches(suite)]
    return parts


def _about(suite: Document) -> str:
    told = " and ".join(words(each.removesuffix("_ms")) for each in suite["objectives"])
    where = f" on {suite['device']}" if suite["device"] else ""
    best = f"{words(suite['truth'])} {text_of(suite['truth'], suite['optimum'])}"
    text = (
        f"Space {suite['space']}, {suite['architectures']:,} architectures in the table, of which the best has "
        f"{best}. Searches hear {told}{where}; of the architecture with the best of the first, the "
        f"{words(suite['truth'])} is shown."
    )
    if suite["reference"] is not None:
        text += (
            " Hypervolume: that of the truth of what is not dominated in the feedback, as a share of that of the "
            "table's own front; the reference point is the worst of that front and a tenth of its range beyond."
        )
    return text


def _standings(suite: Document) -> Markup:
    """Return strategies x budgets: mean truth with its interval, mean regret below."""
    budgets = suite["strategies"][0]["at"]
    header: list[Content] = ["strategy", *(_budget(each) for each in budgets)]
    rows = [
        element("tr", _label(each["label"]), *(element("td", _figures(suite, at)) for at in each["at"]))
        for each in suite["strategies"]
    ]
    return table(header, rows, class_="compared")


def _label(label: str) -> Markup:
    tag = element("span", "baseline", class_="tag") if label == BASELINE else None
    return element("th", label, tag, scope="row", class_="text")


def _budget(at: Document) -> str:
    return seconds_text(at["budget"]) if at["unit"] == "seconds" else f"{at['budget']:,.0f} evaluations"


def _figures(suite: Document, at: Document) -> Markup:
    metric = suite["truth"]
    if at["truth"] is None:
        return element("span", NOTHING, class_="none")
    parts: list[Content] = [with_interval(metric, at["truth"])]
    parts.append(element("small", "regret ", difference_text(metric, at["regret"]["mean"]).lstrip("+")))
    if at["hypervolume"] is not None:
        parts.append(element("small", "hypervolume ", with_interval("accuracy", at["hypervolume"])))
    return joined(parts)


def _pairs(suite: Document) -> Markup:
    if not suite["pairs"]:
        text = f"There is no other strategy to pair with {BASELINE}, or no budget that all searches reached."
        return element("p", text, class_="missing")
    header = ["strategy", "figure", "at", "mean difference", "better", "worse", "equal"]
    return table(header, [_pair(each) for each in suite["pairs"]], class_="compared")


def _pair(pair: Document) -> Sequence[Content]:
    share = pair["metric"] == VOLUME
    signs = pair["signs"]
    return [
        element("th", pair["label"], scope="row", class_="text"),
        words(pair["metric"]),
        _budget(pair),
        with_interval("accuracy" if share else pair["metric"], pair["difference"], signed=True),
        *(str(signs[key]) for key in ("better", "worse", "equal")),
    ]


def _searches(suite: Document) -> Markup:
    first = element("th", "first failure", scope="col", class_="text")
    header: list[Content] = [
        "strategy",
        "evaluations",
        "distinct",
        "partly trained",
        "training",
        "failed",
        "ended early",
        first,
    ]
    rows = [
        [
            element("th", each["label"], scope="row", class_="text"),
            f"{each['evaluations']:,.1f}",
            f"{each['distinct']:,.1f}",
            f"{each['partial']:,.1f}",
            seconds_text(each["seconds"]) if suite["knows_seconds"] else NOTHING,
            f"{each['failures']:,}",
            f"{each['exhausted']:,}",
            element("td", each["first_failure"] or "none", class_="text"),
        ]
        for each in suite["strategies"]
    ]
    return table(header, rows, class_="compared")


def _origin(document: Document) -> Markup:
    made = document["environment"]
    rows: list[list[Content]] = [
        ["command", element("td", element("code", document["command"]), class_="text")],
        ["nasforge", element("td", str(made.get("nasforge")), class_="text")],
        [
            "machine",
            element("td", f"{made.get('cpu')}, {made.get('cores')} cores, {made.get('system')}", class_="text"),
        ],
    ]
    for suite in document["suites"]:
        data = ", ".join(suite["files"]) or "made by the suite"
        rows.append([f"data of {suite['name']}", element("td", f"{data} ({suite['checksum']})", class_="text")])
    return table(["what", element("th", "value", scope="col", class_="text")], rows)
