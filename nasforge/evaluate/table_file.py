"""Tables as files: CSV with the standard library, Parquet where pyarrow is installed; nothing is unpickled."""

from __future__ import annotations

import csv
import importlib
import math
from pathlib import Path
from typing import Any

from nasforge.errors import DataError

Record = tuple[int, dict[str, str]]
"""The number of a line, and its cells as text by column; missing ones are empty."""


def read_records(file: Path) -> list[Record]:
    """Read a table: `.parquet`, or else CSV with a header line.

    Raises:
        DataError: the file does not exist or cannot be read, has no row, or a row longer or shorter than the header;
            or pyarrow is not installed.
    """
    records = _read_parquet(file) if file.suffix.lower() == ".parquet" else _read_csv(file)
    if not records:
        raise DataError(f"table '{file}' holds no row; expected a header and one row for each architecture.")
    return records


def _read_csv(file: Path) -> list[Record]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.reader(handle, strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except FileNotFoundError as error:
        raise _missing(file) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"table '{file}' cannot be read ({type(error).__name__}); expected a CSV file.") from error
    header = rows[0][1] if rows else []
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"table '{file}' has the column '{twice[0]}' twice; name columns differently.")
    for line, cells in rows:
        if len(cells) != len(header):
            raise DataError(f"line {line} of table '{file}' has {len(cells)} cells; expected {len(header)}.")
    return [(line, dict(zip(header, cells, strict=True))) for line, cells in rows[1:]]


def _read_parquet(file: Path) -> list[Record]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(
            f"table '{file}' is a Parquet file, which needs pyarrow; install it, or save the table as CSV."
        ) from error
    try:
        rows = parquet.read_table(file, memory_map=False).to_pylist()
    except FileNotFoundError as error:
        raise _missing(file) from error
    except (OSError, ValueError, NotImplementedError, KeyError) as error:
        raise DataError(f"table '{file}' cannot be read ({type(error).__name__}); expected a Parquet file.") from error
    return [(line, {str(key): _text(value) for key, value in row.items()}) for line, row in enumerate(rows, start=1)]


def _missing(file: Path) -> DataError:
    return DataError(f"table '{file}' does not exist; expected a CSV or Parquet file, by its path from '{Path.cwd()}'.")


def _text(value: Any) -> str:
    """Return a cell as CSV would hold it; whole numbers without a point, as in option labels."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
