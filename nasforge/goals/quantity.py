"""Reading limits as people write them: `5ms`, `2M`, `300M`. Units are part of the text, never guessed."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from numbers import Real
from typing import Final

from nasforge.errors import UsageError

MILLISECONDS: Final = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
COUNTS: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
NUMBER: Final = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Zµ]*)\s*")


def milliseconds(given: str | float, name: str = "max-latency") -> float:
    """Return a latency in milliseconds from a text with a unit, or from a number of milliseconds.

    >>> milliseconds("5ms"), milliseconds("0.2s"), milliseconds(3)
    (5.0, 200.0, 3.0)

    Raises:
        UsageError: no number, no known unit, or not above zero.
    """
    if isinstance(given, str):
        number, unit = _split(given, name, "a latency such as 5ms, 800us or 0.2s")
        if unit not in MILLISECONDS:
            raise UsageError(
                f"{name} was given '{given}'; expected a latency with its unit, one of us, ms, s, such as 5ms."
            )
        given = float(number) * MILLISECONDS[unit]
    return _positive(given, name)


def count(given: str | float, name: str) -> int:
    """Return a whole number from a text such as `300M`, `1.5k` or `2000000`, or from a number.

    >>> count("2M", "max-params"), count("1.5k", "max-macs"), count(300, "max-macs")
    (2000000, 1500, 300)

    Raises:
        UsageError: no number, an unknown suffix, or not above zero.
    """
    if isinstance(given, str):
        number, suffix = _split(given, name, "a number such as 300M, 1.5k or 2000000")
        if suffix not in COUNTS:
            raise UsageError(f"{name} was given '{given}'; expected a number with one of k, M, G, T, such as 2M.")
        _positive(float(number), name)  # before an exponent that no computer could write out is computed with
        given = round(Fraction(number) * COUNTS[suffix]) or 1
    _positive(given, name)
    return max(1, round(given))


def _split(text: str, name: str, expected: str) -> tuple[str, str]:
    match = NUMBER.fullmatch(text)
    if match is None:
        raise UsageError(f"{name} was given '{text}'; expected {expected}.")
    return match[1], match[2]


def _positive(value: object, name: str) -> float:
    """Return the number; whole ones as large as a float can be are kept exactly by who calls."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"{name} was given {value!r}; expected a number above zero, or a text with its unit.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number <= 0:
        raise UsageError(f"{name} was given {number:g}; expected a number above zero.")
    return number
