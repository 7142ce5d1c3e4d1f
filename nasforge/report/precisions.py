"""The chosen network in float32 and in INT8 side by side: accuracy, latency, and what stayed float."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from nasforge.report.contents import Contents, Entry
from nasforge.report.markup import Markup, element, joined, table
from nasforge.report.quantity import NOTHING, quantity

_ROWS: Final = (
    ("accuracy on test", "accuracy", "accuracy_int8"),
    ("accuracy on valid", "accuracy_valid", "accuracy_int8_valid"),
    ("latency, measured", "latency_ms_float32", "latency_ms"),
)
INT8: Final = "accuracy_int8"


def precisions(contents: Contents) -> Markup | None:
    """Return the table of both files, and the convolutions that stayed float; None where there is no INT8 file."""
    best = contents.best
    if best is None or INT8 not in best.metrics:
        return None
    rows = [_row(best, *names) for names in _ROWS if names[2] in best.metrics]
    header = [element("th", "", scope="col"), "float32", "INT8", "INT8 against float32"]
    return joined([table(header, rows, "figures"), _convolutions(best)])


def _row(best: Entry, name: str, float_metric: str, int8_metric: str) -> Sequence[Markup | str]:
    exact, rounded = best.metrics.get(float_metric), best.metrics.get(int8_metric)
    return [
        element("th", name, scope="row"),
        quantity(float_metric, exact),
        quantity(int8_metric, rounded),
        _difference(float_metric, exact, rounded),
    ]


def _difference(metric: str, exact: float | None, rounded: float | None) -> str:
    """Return points of accuracy lost or won, or how many times as fast.

    >>> _difference("accuracy", 0.91, 0.9), _difference("latency_ms_float32", 0.9, 0.3)
    ('-1.00 points', '3.00 times as fast')
    """
    if exact is None or rounded is None or rounded <= 0:
        return NOTHING
    if metric.startswith("accuracy"):
        return f"{100 * (rounded - exact):+.2f} points"
    return f"{exact / rounded:.2f} times as fast"


def _convolutions(best: Entry) -> Markup:
    left: Any = best.provenance.get("float_convolutions")
    if not isinstance(left, list):
        return element("p", "Nothing is known of convolutions that stayed float.", class_="missing")
    if not left:
        return element("p", "No convolution of the INT8 file runs in float.")
    items = [element("li", str(each)) for each in left]
    return joined([element("p", f"{len(left)} convolutions of the INT8 file run in float:"), element("ul", *items)])
