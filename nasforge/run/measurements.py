"""A table of latencies that a person filled in: read, and checked so that mistakes are found by their line.

Networks of very different size take very different times, so a wrong unit is not told by the number alone but by the
number beside what its network costs: a microsecond among milliseconds stands out a thousandfold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from nasforge.errors import DataError, unknown_name_sentence
from nasforge.evaluate.table_file import Record, read_records

FILE_COLUMN: Final = "file"
LATENCY_COLUMN: Final = "latency_ms"
OTHER_UNITS: Final = ("latency", "latency_s", "latency_us", "latency_ns", "ms", "us", "s")
FACTOR: Final = 30.0
"""A latency this many times off what the others make of its network is in another unit: a thousand, halfway."""
SHOWN: Final = 5


def read_measurements(file: Path, costs: Mapping[str, float], least: int) -> dict[str, float]:
    """Read latencies in milliseconds by network file.

    Args:
        file: CSV with the columns `file` and `latency_ms`.
        costs: what each network of the manifest costs, in any unit that latency is roughly proportional to.
        least: how many networks are needed.

    Raises:
        DataError: another column, an unknown or repeated network, a latency that is none, too few of them, or units
            that differ.
    """
    records = read_records(file)
    _check_columns(file, records[0][1])
    lines: dict[str, int] = {}
    for line, cells in records:
        name = cells[FILE_COLUMN]
        if name not in costs:
            raise DataError(f"line {line} of '{file}': " + unknown_name_sentence("network", name, costs))
        if name in lines:
            raise DataError(
                f"lines {lines[name]} and {line} of '{file}' both hold {name}; keep one of them, the lower if both "
                "are of the same device."
            )
        lines[name] = line
    _check_filled(file, records)
    found = {cells[FILE_COLUMN]: _milliseconds(file, line, cells[LATENCY_COLUMN]) for line, cells in records}
    if len(found) < least:
        raise DataError(f"'{file}' holds {len(found)} networks; expected {least} or more, better 50.")
    _check_units(file, found, costs, lines)
    return found


def _check_columns(file: Path, header: Mapping[str, str]) -> None:
    for column in (FILE_COLUMN, LATENCY_COLUMN):
        if column in header:
            continue
        other = [name for name in header if name.lower() in OTHER_UNITS] if column == LATENCY_COLUMN else []
        given = f"it has '{other[0]}'" if other else f"it has {', '.join(header)}"
        unit = "; convert it to milliseconds and name it so" if other else ""
        raise DataError(f"'{file}' has no column '{column}', {given}{unit or '; keep the header as it was written'}.")


def _check_filled(file: Path, records: Sequence[Record]) -> None:
    empty = [line for line, cells in records if not cells[LATENCY_COLUMN]]
    if empty:
        raise DataError(
            f"{_lines(empty)} of '{file}' {'have' if len(empty) > 1 else 'has'} no latency; fill in milliseconds, or "
            "delete the row of a network that was not measured."
        )


def _milliseconds(file: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"line {line} of '{file}' has the latency '{text}'; expected milliseconds, such as 12.5.")
    if value <= 0.0:
        raise DataError(f"line {line} of '{file}' has the latency {text}; expected more than zero milliseconds.")
    return value


def _check_units(file: Path, found: Mapping[str, float], costs: Mapping[str, float], lines: Mapping[str, int]) -> None:
    rates = {name: latency_ms / costs[name] for name, latency_ms in found.items()}
    typical = float(np.median(list(rates.values())))
    odd = {name: rate / typical for name, rate in rates.items() if not 1.0 / FACTOR < rate / typical < FACTOR}
    if odd:
        first = min(odd, key=lambda name: lines[name])
        times = odd[first] if odd[first] > 1.0 else 1.0 / odd[first]
        way = "more" if odd[first] > 1.0 else "less"
        where = _lines(sorted(lines[name] for name in odd))
        raise DataError(
            f"{where} of '{file}': {found[first]:g} ms for {first} is {times:,.0f} times {way} than the other rows let "
            "expect; write every latency in milliseconds."
        )


def _lines(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:SHOWN])) + (f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else "")
    return f"line{'s' if len(numbers) > 1 else ''} {shown}"
