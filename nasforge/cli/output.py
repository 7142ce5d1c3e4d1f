"""What commands print: plain text for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def print_text(text: str = "") -> None:
    """Print a line on standard output."""
    sys.stdout.write(text + "\n")


def figure(value: object) -> object:
    """Return a figure as it is printed: whole numbers whole, others with six digits.

    >>> figure(1234567.0), figure(0.97777777), figure(None), figure("int8")
    (1234567, '0.977778', None, 'int8')
    """
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() and abs(value) < 2**53 else f"{value:g}"


def print_pairs(pairs: Mapping[str, object]) -> None:
    """Print names and values in two columns."""
    width = max((len(key) for key in pairs), default=0)
    for key, value in pairs.items():
        print_text(f"{key:<{width}}  {value}")


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows below a header, columns as wide as their widest cell."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print_text("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
