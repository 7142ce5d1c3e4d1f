"""The interactive plots, as plain data for plotly.js; colours are names of custom properties of the style sheet.

A colour such as `--accent` is looked up in the page when it is drawn, so plots follow light, dark and paper.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nasforge.report.contents import Contents, Entry
from nasforge.report.journal import Told, comparable
from nasforge.report.markup import escaped
from nasforge.report.quantity import is_share, text_of, words

PREDICTED: Final = "latency_ms_predicted"
MANY: Final = 3000
"""More points than this are thinned evenly: the page stays light, and best and front are never thinned."""
_FONT: Final = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
COST_TITLES: Final = {PREDICTED: "predicted latency (ms)", "macs": "MACs", "params": "parameters"}

Figure = dict[str, Any]


def figures(contents: Contents) -> dict[str, Figure]:
    """Return all plots that the folder has data for, by the id of their place in the page."""
    found = {"pareto": pareto_figure(contents), "curve": curve_figure(contents)}
    return {name: figure for name, figure in found.items() if figure is not None}


def cost_metric(contents: Contents) -> str:
    """Return the metric on the plot's horizontal axis: the predicted latency, or MACs where nothing predicts it."""
    entries = [*contents.pareto, *contents.finalists]
    known: list[Mapping[str, float]] = [each.metrics for each in entries] + [each.metrics for each in contents.told]
    return PREDICTED if any(PREDICTED in metrics for metrics in known) else "macs"


def pareto_figure(contents: Contents) -> Figure | None:
    """Return the first objective against the predicted latency: all evaluations, the front, the winner, the limit."""
    metric, cost = contents.objective.metric, cost_metric(contents)
    front = [each for each in contents.pareto if metric in each.metrics and cost in each.metrics]
    cloud = [each for each in comparable(contents.told) if metric in each.metrics and cost in each.metrics]
    if not front and not cloud:
        return None
    front.sort(key=lambda each: each.metrics[cost])
    traces = []
    if cloud:
        traces.append(_evaluations(cloud, metric, cost))
    if front:
        traces.append(_front(front, metric, cost))
    winner = _winner(contents, metric, cost)
    if winner is not None:
        traces.append(winner)
    layout = layout_of(COST_TITLES.get(cost, cost), metric)
    if contents.limit_ms is not None and cost == PREDICTED:
        costs = [each.metrics[cost] for each in front] + [each.metrics[cost] for each in cloud]
        _mark_limit(layout, contents.limit_ms, costs)
    return {"data": traces, "layout": layout}


def curve_figure(contents: Contents) -> Figure | None:
    """Return the best so far by evaluation (of the highest fidelity), and each evaluation on its own."""
    metric = contents.objective.metric
    scored = [each for each in contents.told if metric in each.metrics]
    if not scored:
        return None
    better = max if contents.objective.direction == "maximize" else min
    alike = [each for each in comparable(contents.told) if metric in each.metrics]
    numbers = [each.number + 1 for each in alike]
    values = [each.metrics[metric] for each in alike]
    failed = [each for each in contents.told if each.error is not None]
    best = _best_so_far(numbers, list(itertools.accumulate(values, better)), metric)
    layout = layout_of("evaluations done", metric)
    layout["xaxis"] |= {"rangemode": "tozero", "tickformat": ",d"} | ({"dtick": 1} if len(scored) <= 12 else {})
    shown = _thinned(scored)
    places = [each.number + 1 for each in shown]
    traces = [_points(shown, places, [each.metrics[metric] for each in shown], _name("evaluated", shown, scored)), best]
    if failed:
        shown = _thinned(failed)
        floor = (min if better is max else max)(each.metrics[metric] for each in scored)
        marks = _points(
            shown, [each.number + 1 for each in shown], [floor] * len(shown), _name("failed", shown, failed)
        )
        marks["marker"] |= {"color": "--bad", "symbol": "x", "size": 9}
        traces.append(marks)
    return {"data": traces, "layout": layout}


def _best_so_far(numbers: Sequence[int], best: Sequence[float], metric: str) -> Figure:
    """Return the curve at the evaluations that changed it, and the last."""
    kept = [at for at, value in enumerate(best) if at in (0, len(best) - 1) or value != best[at - 1]]
    return {
        "type": "scatter",
        "mode": "lines" if len(best) > 1 else "markers",
        "name": "best so far",
        "x": [numbers[at] for at in kept],
        "y": [best[at] for at in kept],
        "text": [f"best of {numbers[at]}: {text_of(metric, best[at])}" for at in kept],
        "line": {"color": "--accent", "width": 2.5, "shape": "hv"},
        "marker": {"color": "--accent", "size": 9},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _thinned(told: Sequence[Told]) -> Sequence[Told]:
    return told if len(told) <= MANY else [told[at * len(told) // MANY] for at in range(MANY)]


def _name(name: str, shown: Sequence[Told], of: Sequence[Told]) -> str:
    return name if len(shown) == len(of) else f"{name} ({len(shown):,} of {len(of):,} shown)"


def _evaluations(cloud: Sequence[Told], metric: str, cost: str) -> Figure:
    shown = _thinned(cloud)
    costs, values = ([each.metrics[key] for each in shown] for key in (cost, metric))
    return _points(shown, costs, values, _name("evaluated", shown, cloud))


def _points(told: Sequence[Told], x: Sequence[float], y: Sequence[float], name: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": list(x),
        "y": list(y),
        "text": [_hover(each) for each in told],
        "marker": {"color": "--muted", "size": 7, "opacity": 0.75},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _front(front: Sequence[Entry], metric: str, cost: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "Pareto front",
        "x": [each.metrics[cost] for each in front],
        "y": [each.metrics[metric] for each in front],
        "text": [_texts(each.number, each.metrics) for each in front],
        "line": {"color": "--accent", "width": 1.5, "shape": "hv"},
        "marker": {"color": "--accent", "size": 8},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _winner(contents: Contents, metric: str, cost: str) -> Figure | None:
    """Return the mark of the chosen network, at the accuracy it had in the search."""
    best = contents.best
    if best is None or cost not in best.metrics:
        return None
    found = {each.number: each.metrics for each in contents.pareto} | {e.number: e.metrics for e in contents.told}
    in_search = found.get(best.number, {}) if best.number is not None else {}
    value = in_search.get(metric, best.metrics.get(f"{metric}_in_search", best.metrics.get(metric)))
    if value is None:
        return None
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "chosen",
        "x": [best.metrics[cost]],
        "y": [value],
        "text": ["chosen<br>" + _texts(best.number, {**best.metrics, metric: value})],
        "marker": {"color": "--good", "size": 15, "symbol": "star", "line": {"color": "--card", "width": 1}},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _mark_limit(layout: Figure, limit_ms: float, costs: Sequence[float]) -> None:
    """Draw the limit, and make the axis long enough to show it."""
    low, high = min([*costs, limit_ms]), max([*costs, limit_ms])
    margin = 0.06 * (high - low) or 0.1 * high
    layout["xaxis"]["range"] = [low - margin, high + margin]
    line = {"color": "--bad", "width": 1.5, "dash": "dash"}
    layout["shapes"] = [
        {"type": "line", "x0": limit_ms, "x1": limit_ms, "y0": 0, "y1": 1, "yref": "paper", "line": line}
    ]
    middle = limit_ms > (low + high) / 2
    layout["annotations"] = [
        {
            "x": limit_ms, "y": 1, "yref": "paper", "text": f"limit {limit_ms:g} ms", "showarrow": False,
            "xanchor": "right" if middle else "left", "xshift": -4 if middle else 4, "yanchor": "top",
            "font": {"color": "--bad", "size": 12},
        }
    ]  # fmt: skip


def _hover(told: Told) -> str:
    text = _texts(told.number, told.metrics)
    text += "" if told.fidelity is None else f"<br>fidelity: {told.fidelity:g}"
    return text if told.error is None else f"{text}<br>failed: {escaped(told.error[:200])}"


def _texts(number: int | None, metrics: Mapping[str, float]) -> str:
    """Return hover text; plotly reads it as HTML, so foreign names are escaped."""
    shown = [f"{escaped(key)}: {text_of(key, value)}" for key, value in metrics.items() if key != "activation_bytes"]
    return "<br>".join([*([] if number is None else [f"evaluation {number}"]), *shown])


def layout_of(x: str, metric: str) -> Figure:
    """Return the layout of a plot of a metric in the search against `x`, in the style of the page."""
    y = f"{escaped(words(metric))} in the search"
    percent = {"tickformat": ".3~%"} if is_share(metric) else {}
    return {
        "xaxis": _axis(x),
        "yaxis": _axis(y) | percent,
        "font": {"family": _FONT, "size": 12, "color": "--ink"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 56, "r": 16, "t": 28, "b": 48},
        "legend": {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "--muted", "activecolor": "--accent"},
        "hoverlabel": {"bgcolor": "--card", "bordercolor": "--rule", "font": {"color": "--ink"}},
        "hovermode": "closest",
        "height": 380,
    }


def _axis(title: str) -> Figure:
    return {
        "title": {"text": title, "font": {"size": 13}, "standoff": 10},
        "gridcolor": "--grid",
        "linecolor": "--rule",
        "tickcolor": "--rule",
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "automargin": True,
    }
