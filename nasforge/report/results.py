"""The tables of what was found: the finalists, every figure of the chosen network, its decisions, all evaluations."""

from __future__ import annotations

from typing import Any, Final

from nasforge.report.contents import Contents, Entry
from nasforge.report.journal import comparable
from nasforge.report.markup import Markup, element, table
from nasforge.report.quantity import NOTHING, quantity, seconds_text, tested, words
from nasforge.run.result import latency_warning

MOST_ROWS: Final = 200
_COSTS: Final = ("params", "macs")


def finalists(contents: Contents) -> Markup:
    """Return the finalists with predicted and measured latency."""
    if not contents.finalists:
        return element("p", "No architecture reached the final.", class_="missing")
    name = words(contents.objective.metric)
    header = [
        element("th", "", scope="col"), f"{name} in the search", f"{name} at the end",
        words(tested(contents.objective.metric)) + " on test", "predicted latency", "measured latency",
        "prediction error", "params", "MACs", element("th", "weights", class_="text"),
        element("th", "id", class_="text"),
    ]  # fmt: skip
    rows = [_finalist(contents, place, each) for place, each in enumerate(contents.finalists, 1)]
    warning = latency_warning(contents.result)
    said = element("p", f"Predicted latency: {warning}.", class_="quote") if warning else None
    return element("div", table(header, rows, "figures"), said)


def _finalist(contents: Contents, place: int, entry: Entry) -> Markup:
    metric, found = contents.objective.metric, entry.metrics
    inside = f"{metric}_in_search"
    searched, ended = (found.get(inside), found.get(metric)) if inside in found else (found.get(metric), None)
    chosen = contents.best is not None and entry.identity == contents.best.identity
    late = contents.limit_ms is not None and found.get("latency_ms", 0.0) > contents.limit_ms
    keys = [tested(metric), "latency_ms_predicted", "latency_ms", "latency_error", *_COSTS]
    figures = [quantity(metric, searched), quantity(metric, ended), *(quantity(key, found.get(key)) for key in keys)]
    marked = 2 + keys.index("latency_ms")
    cells = [element("td", each, class_="late" if late and at == marked else None) for at, each in enumerate(figures)]
    return element(
        "tr",
        element("th", f"{place} ", element("span", "chosen", class_="tag") if chosen else None, scope="row"),
        *cells,
        element("td", str(entry.provenance.get("weights", NOTHING)), class_="text"),
        element("td", element("code", entry.identity), class_="id"),
        class_="chosen" if chosen else None,
    )


def figures_of_best(contents: Contents) -> Markup:
    """Return every metric of the chosen network, and where it comes from."""
    best = contents.best
    if best is None:
        return element("p", "No network was chosen.", class_="missing")
    rows = [
        [
            element("th", element("code", key), scope="row"),
            quantity(key, value),
            element("td", _origin(best, contents, key), class_="text"),
        ]
        for key, value in sorted(best.metrics.items(), key=lambda each: _rank(each[0]))
    ]
    return table(["metric", "value", element("th", "comes from", class_="text")], rows, "figures")


def _origin(best: Entry, contents: Contents, metric: str) -> str:
    """Return what a figure rests on, in the words of `result.json`."""
    plain = {
        "latency_ms": str(best.provenance.get("latency", NOTHING)),
        "latency_ms_predicted": str(contents.result["latency"].get("source", NOTHING)),
        "latency_ms_float32": _float_source(best),
        "latency_error": "predicted / measured - 1",
        **dict.fromkeys((*_COSTS, "activation_bytes", "bitops"), "counted by formula, for one image"),
    }
    if metric in plain:
        return plain[metric]
    weights = str(best.provenance.get("weights", NOTHING))
    measured = metric.removesuffix("_in_search")
    if metric != measured:
        found = {each.number: each.provenance.get("weights") for each in contents.pareto}
        weights = str(found.get(best.number) or "as in the search")
    split = _split(best, measured)
    return f"split: {split}; weights: {weights}" if split else "as the evaluation gave it"


def _float_source(best: Entry) -> str:
    found: Any = best.provenance.get("measurement_float32")
    return str(found.get("source", NOTHING)) if isinstance(found, dict) else NOTHING


def _split(best: Entry, metric: str) -> str | None:
    """Return the split that a metric was measured on, if any: as written, or as that of the accuracy beside it."""
    splits: Any = best.provenance.get("splits")
    known = splits if isinstance(splits, dict) else {}
    ending = "_valid" if metric.endswith("_valid") else ""
    both = ending or f"{metric}_valid" in best.metrics or metric.startswith("accuracy")
    found = known.get(metric, known.get(f"accuracy{ending}") if both else None)
    return None if found is None else str(found)


def _rank(metric: str) -> tuple[int, str]:
    """Return the place of a metric among figures: quality on test, on valid, latency, costs, the rest."""
    starts = ("accuracy", "nll", "latency", "params", "macs")
    first = next((place for place, start in enumerate(starts) if metric.startswith(start)), len(starts))
    return first, metric


def decisions(entry: Entry) -> Markup:
    """Return the option of every active choice."""
    rows = [element("div", element("dt", key), element("dd", value)) for key, value in entry.decisions.items()]
    return element("dl", *rows, class_="decisions")


def evaluations(contents: Contents) -> Markup | None:
    """Return the evaluations, best first, folded away."""
    told = contents.told
    if not told:
        return None
    metric, sign = contents.objective.metric, -1 if contents.objective.direction == "maximize" else 1
    losses = {each.number: sign * each.metrics.get(metric, sign * float("inf")) for each in told}
    alike = {each.number for each in comparable(told)}
    ranked = sorted(told, key=lambda each: (each.number not in alike, losses[each.number]))
    varied = any(each.fidelity is not None for each in told)
    keys = [metric, "latency_ms_predicted", *_COSTS]
    rows = [
        [
            element("th", str(each.number), scope="row"),
            *(quantity(key, each.metrics.get(key)) for key in keys),
            *([NOTHING if each.fidelity is None else f"{each.fidelity:.3g}"] if varied else []),
            seconds_text(each.seconds),
            element("td", each.error or "", class_="text"),
        ]
        for each in ranked[:MOST_ROWS]
    ]
    part = f"All {len(told):,}" if len(told) <= MOST_ROWS else f"The best {MOST_ROWS} of {len(told):,}"
    header = [
        "evaluation",
        words(metric),
        "predicted latency",
        "params",
        "MACs",
        *(["fidelity"] if varied else []),
        "time",
        element("th", "error", class_="text"),
    ]
    return element("details", element("summary", f"{part} evaluations, best first"), table(header, rows, "figures"))
