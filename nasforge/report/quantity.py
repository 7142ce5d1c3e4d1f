"""Numbers as people read them, with the exact value beside them in the page."""

from __future__ import annotations

import math
from typing import Final

from nasforge.report.markup import Markup, element

_SHARES: Final = ("accuracy", "within_", "rmspe", "latency_error", "top1", "top5")
_SIGNED: Final = ("latency_error",)
NOTHING: Final = "\N{EN DASH}"


def text_of(metric: str, value: float | None) -> str:
    """Return a metric's value with its unit, which its name says.

    >>> text_of("accuracy", 0.97771), text_of("latency_ms", 0.080340), text_of("params", 14850.0)
    ('97.77 %', '0.0803 ms', '14,850')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    if is_share(metric):
        return f"{100 * value:{'+' if metric in _SIGNED else ''}.{1 if metric in _SIGNED else 2}f} %"
    if "_ms" in metric:
        return f"{_significant(value)} ms"
    if metric.endswith("_bytes"):
        return f"{value / 1024:,.1f} KiB"
    if metric.endswith("_db"):
        return f"{value:.2f} dB"
    return _significant(value)


def quantity(metric: str, value: float | None) -> Markup:
    """Return the value as an element that carries the exact number."""
    if value is None or not math.isfinite(value):
        return element("span", NOTHING, class_="none")
    exact = f"{value:.0f}" if value == int(value) else repr(value)
    return element("data", text_of(metric, value), value=exact, title=f"{metric} = {exact}")


def number(value: object) -> float | None:
    """Return a value of a JSON file as a number; None where it is none, or not finite.

    >>> number(3), number("3"), number(True), number(10**400)
    (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def words(metric: str) -> str:
    """Return a metric's name for people.

    >>> words("accuracy_valid"), words("psnr_db")
    ('valid accuracy', 'psnr db')
    """
    name = metric.removesuffix("_valid").replace("_", " ")
    return f"valid {name}" if metric.endswith("_valid") else name


def tested(metric: str) -> str:
    """Return what an objective is on test; the accuracy, where it is a score of untrained networks.

    >>> tested("accuracy_int8_valid"), tested("naswot")
    ('accuracy_int8', 'accuracy')
    """
    return metric.removesuffix("_valid") if metric.endswith("_valid") else "accuracy"


def is_share(metric: str) -> bool:
    """Say whether a metric is a share, shown in percent."""
    return metric.startswith(_SHARES)


def short_count(value: float) -> str:
    """Return a count; above a million with a suffix and three digits.

    >>> short_count(14850), short_count(3_400_000), short_count(465_200_000)
    ('14,850', '3.40 M', '465 M')
    """
    for factor, suffix in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= factor:
            return f"{_three(value / factor)} {suffix}"
    return f"{value:,.0f}"


def seconds_text(value: float) -> str:
    """Return a duration.

    >>> seconds_text(0.018), seconds_text(38.619), seconds_text(754.2), seconds_text(7322)
    ('0.02 s', '38.6 s', '12 min 34 s', '2 h 2 min')
    """
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _three(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _significant(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.1f}"
    if abs(value) < 1e-4:
        return f"{value:.3g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"
