"""The plots of a bench, as plain data for plotly.js, from the bench's JSON.

Regret is drawn on a logarithmic axis: what strategies differ in is how near they come to the best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from nasforge.report.comparison_plots import SERIES, colour, line
from nasforge.report.markup import escaped
from nasforge.report.plots import Figure, layout_of
from nasforge.report.quantity import is_share, text_of, words

VOLUME: Final = "hypervolume"
UNITS: Final = {"evaluations": "evaluations", "seconds": "training, in the table's account"}
_HOURS: Final = 3600.0

Document = Mapping[str, Any]


def suite_figures(suite: Document, place: int) -> dict[str, Figure]:
    """Return the plots of a suite by the id of their box: regret and hypervolume along every budget."""
    found = {}
    for metric in (suite["truth"], VOLUME):
        for unit in UNITS:
            figure = _figure(suite, metric, unit)
            if figure is not None:
                found[f"suite{place}-{'volume' if metric == VOLUME else 'regret'}-{unit}"] = figure
    return found


def _figure(suite: Document, metric: str, unit: str) -> Figure | None:
    traces: list[Figure] = []
    for place, each in enumerate(suite["strategies"]):
        for curve in each["curves"]:
            if (curve["metric"], curve["unit"]) == (metric, unit):
                traces += _curve(each["label"], place, curve, suite)
    if not traces:
        return None
    hours = unit == "seconds"
    layout = layout_of("hours of training" if hours else "evaluations", metric)
    layout["xaxis"] |= {"rangemode": "tozero", "tickformat": ",~r" if hours else ",d"}
    title = "share of the hypervolume" if metric == VOLUME else f"regret in {words(metric)}"
    layout["yaxis"]["title"]["text"] = str(escaped(title))
    layout["yaxis"] |= _scale(metric, traces)
    return {"data": traces, "layout": layout}


def _scale(metric: str, traces: list[Figure]) -> Figure:
    """Return the settings of the vertical axis; a regret of nothing, which has no logarithm, is moved to its end."""
    if metric == VOLUME:
        return {"tickformat": ".1~%"}
    percent = {"tickformat": ".3~%"} if is_share(metric) else {}
    values = [value for trace in traces for value in trace["y"] if value > 0]
    if not values:
        return percent
    floor = min(values) / 2
    for trace in traces:
        trace["y"] = [max(value, floor) for value in trace["y"]]
    return percent | {"type": "log", "dtick": "D2", "range": [math.log10(floor), math.log10(max(values) * 1.2)]}


def _curve(label: str, place: int, curve: Document, suite: Document) -> list[Figure]:
    metric, name, group = curve["metric"], str(escaped(label)), f"series{place}"
    x = [each / _HOURS if curve["unit"] == "seconds" else each for each in curve["budgets"]]
    mean, low, high = (_turned(curve[key], suite, metric) for key in ("mean", "low", "high"))
    edge = {"type": "scatter", "mode": "lines", "x": x, "hoverinfo": "skip", "showlegend": False, "legendgroup": group}
    bare = {"width": 0, "shape": "hv"}
    unit = "h of training" if curve["unit"] == "seconds" else "evaluations"
    texts = [
        f"{name}<br>{at:,.4g} {unit}: {text_of(_shown(metric), value)} "
        f"[{text_of(_shown(metric), min(ends))}, {text_of(_shown(metric), max(ends))}]"
        for at, value, ends in zip(x, mean, zip(low, high, strict=True), strict=True)
    ]
    return [
        {**edge, "y": low, "line": bare},
        {**edge, "y": high, "line": bare, "fillcolor": f"--band-{place % SERIES + 1}", "fill": "tonexty"},
        {
            "type": "scatter",
            "mode": "lines" if len(x) > 1 else "markers",
            "name": name,
            "legendgroup": group,
            "x": x,
            "y": mean,
            "text": texts,
            "line": {**line(place), "shape": "hv"},
            "marker": {"color": colour(place), "size": 9},
            "hovertemplate": "%{text}<extra></extra>",
        },
    ]


def _shown(metric: str) -> str:
    """Return the metric by whose manner values are written; the hypervolume is a share too."""
    return "accuracy" if metric == VOLUME else metric


def _turned(values: list[float], suite: Document, metric: str) -> list[float]:
    """Return regrets of truths; hypervolumes as they are."""
    if metric == VOLUME:
        return list(values)
    sign = 1.0 if suite["direction"] == "maximize" else -1.0
    return [sign * (suite["optimum"] - value) for value in values]
