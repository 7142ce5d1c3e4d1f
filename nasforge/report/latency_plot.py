"""The plot of predicted against measured latency on the networks that the predictor has never seen."""

from __future__ import annotations

from typing import Any, Final

from nasforge.report.contents import Contents
from nasforge.report.plots import Figure, layout_of

BAND: Final = 0.10


def held_out_figure(contents: Contents) -> Figure | None:
    """Return the held-out networks of the latency profile, with the line of no error and one of 10 % on each side.

    None where the run's predictor held nothing out.
    """
    pairs = _pairs(contents.result.get("latency", {}))
    if not pairs:
        return None
    measured, predicted = ([pair[place] for pair in pairs] for place in (0, 1))
    ends = [min(*measured, *predicted), max(*measured, *predicted)]
    names = {1.0: ("no error", "solid"), 1.0 - BAND: (f"-{BAND:.0%}", "dot"), 1.0 + BAND: (f"+{BAND:.0%}", "dot")}
    lines = [_line(ends, factor, name, dash) for factor, (name, dash) in names.items()]
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": f"held-out networks ({len(pairs)})",
        "x": measured,
        "y": predicted,
        "text": [f"measured {a:.4g} ms<br>predicted {b:.4g} ms ({b / a - 1.0:+.1%})" for a, b in pairs],
        "marker": {"color": "--accent", "size": 8},
        "hovertemplate": "%{text}<extra></extra>",
    }
    layout = layout_of("measured latency (ms)", "latency_ms_predicted")
    layout["yaxis"]["title"]["text"] = "predicted latency (ms)"
    return {"data": [*lines, points], "layout": layout}


def _pairs(latency: Any) -> list[tuple[float, float]]:
    """Return (measured, predicted) of sound rows; the file may come from anywhere."""
    details = latency.get("details") if isinstance(latency, dict) else None
    rows = details.get("held_out", ()) if isinstance(details, dict) else ()
    found = []
    for row in rows if isinstance(rows, list) else ():
        measured, predicted = (
            (row.get("measured_ms"), row.get("predicted_ms")) if isinstance(row, dict) else (None, None)
        )
        if isinstance(measured, int | float) and isinstance(predicted, int | float) and min(measured, predicted) > 0.0:
            found.append((float(measured), float(predicted)))
    return found


def _line(ends: list[float], factor: float, name: str, dash: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": ends,
        "y": [end * factor for end in ends],
        "line": {"color": "--muted", "width": 1, "dash": dash},
        "hoverinfo": "skip",
    }
