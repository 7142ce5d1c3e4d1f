"""The plots of a comparison, as plain data for plotly.js, from the comparison's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nasforge.report.markup import escaped
from nasforge.report.plots import COST_TITLES, Figure, layout_of
from nasforge.report.quantity import is_share, text_of, words

SERIES: Final = 8
DASHES: Final = ("solid", "dash", "dot", "dashdot")
MANY: Final = 1500
"""A curve of more points is thinned evenly."""

Document = Mapping[str, Any]


def comparison_figures(document: Document) -> dict[str, Figure]:
    """Return all plots that there are data for, by the id of their place in the page."""
    found = {
        "curves": curves_figure(document),
        "fronts": fronts_figure(document),
        "differences": differences_figure(document),
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def curves_figure(document: Document) -> Figure | None:
    """Return the best so far over evaluations: mean over seeds, and a band from the lowest to the highest."""
    metric = document["objective"][0]
    traces: list[Figure] = []
    for place, each in enumerate(document["configurations"]):
        if each["curve"] is not None:
            traces += _curve(each["label"], place, each["curve"], metric)
    if not traces:
        return None
    layout = layout_of("evaluations done", metric)
    layout["xaxis"] |= {"rangemode": "tozero", "tickformat": ",d"}
    return {"data": traces, "layout": layout}


def _curve(label: str, place: int, curve: Document, metric: str) -> list[Figure]:
    kept = _kept([curve[key] for key in ("mean", "low", "high")])
    x, mean, low, high = ([curve[key][at] for at in kept] for key in ("evaluations", "mean", "low", "high"))
    name, group = str(escaped(label)), f"series{place}"
    edge = {"type": "scatter", "mode": "lines", "x": x, "hoverinfo": "skip", "showlegend": False, "legendgroup": group}
    shape = {"width": 0, "shape": "hv"}
    band = {"line": shape, "fillcolor": f"--band-{place % SERIES + 1}"}
    return [
        {**edge, "y": low, "line": shape},
        {**edge, "y": high, **band, "fill": "tonexty"},
        {
            "type": "scatter",
            "mode": "lines" if len(x) > 1 else "markers",
            "name": name,
            "legendgroup": group,
            "x": x,
            "y": mean,
            "text": [
                f"{name}<br>best of {number:,}: {text_of(metric, value)}<br>"
                f"seeds from {text_of(metric, least)} to {text_of(metric, most)}"
                for number, value, least, most in zip(x, mean, low, high, strict=True)
            ],
            "line": {**line(place), "shape": "hv"},
            "marker": {"color": colour(place), "size": 9},
            "hovertemplate": "%{text}<extra></extra>",
        },
    ]


def _kept(rows: Sequence[Sequence[float]]) -> list[int]:
    """Return the places at which any of the rows changes, the first and the last, thinned."""
    length = len(rows[0])
    kept = [at for at in range(length) if at in (0, length - 1) or any(row[at] != row[at - 1] for row in rows)]
    if len(kept) <= MANY:
        return kept
    return [*(kept[at * len(kept) // MANY] for at in range(MANY)), kept[-1]]


def fronts_figure(document: Document) -> Figure | None:
    """Return the Pareto front of every run, in the colour of its configuration."""
    metric, cost = document["objective"][0], document["cost"]
    traces = []
    for place, each in enumerate(document["configurations"]):
        name, first = str(escaped(each["label"])), True
        for seed, front in each["fronts"].items():
            if front:
                traces.append(_front(name, place, seed, front, first, metric, cost))
                first = False
    if not traces:
        return None
    return {"data": traces, "layout": layout_of(str(COST_TITLES.get(cost, cost)), metric)}


def _front(
    name: str, place: int, seed: object, front: Sequence[Sequence[float]], first: bool, metric: str, cost: str
) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "legendgroup": f"series{place}",
        "showlegend": first,
        "x": [x for x, _ in front],
        "y": [y for _, y in front],
        "text": [f"{name}, seed {seed}<br>{text_of(metric, y)}, {text_of(cost, x)}" for x, y in front],
        "line": {**line(place), "width": 1.2, "shape": "hv"},
        "marker": {"color": colour(place), "size": 6},
        "opacity": 0.8,
        "hovertemplate": "%{text}<extra></extra>",
    }


def differences_figure(document: Document) -> Figure | None:
    """Return the paired differences: each seed, the mean, and its interval, against no difference."""
    metric = document["metric"]
    pairs = [each for each in document["pairs"] if each["metric"] == metric and each["difference"] is not None]
    if not pairs:
        return None
    layout = layout_of(f"{words(metric)}, minus that of {document['baseline']}", metric)
    layout["height"] = 150 + 46 * len(pairs)
    layout["legend"] = {"orientation": "v", "x": 1.02, "y": 1}
    layout["xaxis"] |= {"zeroline": True, "zerolinecolor": "--muted", **_percent(metric)}
    names = [str(escaped(each["label"])) for each in pairs]
    layout["yaxis"] = {"automargin": True, "tickcolor": "--rule", "gridcolor": "--grid", "autorange": "reversed"}
    layout["xaxis"]["title"]["text"] = str(escaped(layout["xaxis"]["title"]["text"]))
    seeds: Figure = {
        "type": "scatter", "mode": "markers", "name": "a seed", "x": [], "y": [], "text": [],
        "marker": {"color": "--muted", "size": 7, "symbol": "line-ns-open"}, "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    for name, each in zip(names, pairs, strict=True):
        for seed, value in each["difference"]["values"].items():
            seeds["x"].append(value)
            seeds["y"].append(name)
            seeds["text"].append(f"{name}, seed {seed}: {value:+.6g}")
    return {"data": [seeds, _means(names, [each["difference"] for each in pairs])], "layout": layout}


def _means(names: Sequence[str], differences: Sequence[Document]) -> Figure:
    means = [each["mean"] for each in differences]
    spans = [each["interval"] or {"low": each["mean"], "high": each["mean"]} for each in differences]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "mean",
        "x": means,
        "y": list(names),
        "text": [
            f"{name}: {value:+.6g} [{span['low']:+.6g}, {span['high']:+.6g}]"
            for name, value, span in zip(names, means, spans, strict=True)
        ],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [span["high"] - value for span, value in zip(spans, means, strict=True)],
            "arrayminus": [value - span["low"] for span, value in zip(spans, means, strict=True)],
            "color": "--accent",
        },
        "marker": {"color": "--accent", "size": 10},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _percent(metric: str) -> Figure:
    return {"tickformat": "+.3~%"} if is_share(metric) else {}


def colour(place: int) -> str:
    """Return the colour of a series."""
    return f"--series-{place % SERIES + 1}"


def line(place: int) -> Figure:
    """Return the line of a series: colours first, then dashes."""
    return {"color": colour(place), "width": 2.5, "dash": DASHES[place // SERIES % len(DASHES)]}
