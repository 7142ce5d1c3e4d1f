"""Suite `table:FILE.csv`: a table of one's own, of a space by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nasforge.bench.suites.suite import ACCURACY, Direction, Suite
from nasforge.errors import UsageError
from nasforge.evaluate.tabular import read_table
from nasforge.run.options import make_space

HEAD: Final = "table:"
FEEDBACK: Final = "accuracy_valid"


def own_table(
    file: str,
    space: str | None = None,
    feedback: str | None = None,
    truth: str | None = None,
    direction: Direction = "maximize",
    seconds: str = "train_seconds",
) -> Suite:
    """Return the suite of a CSV or Parquet file, as `nasforge.evaluate.read_table` reads it.

    Args:
        file: its path.
        space: the name of the space that it is of.
        feedback: the column that a search is told; `accuracy_valid`, or the truth where there is none.
        truth: the column that searches are judged by; `accuracy`, or the only metric there is.
        direction: `maximize` or `minimize`, of both.
        seconds: the column that says how long training took, where there is one.

    Raises:
        UsageError: no space, or no column that could be the truth.
        DataError: the file cannot be used, or a column is not there.
    """
    if space is None:
        raise UsageError(f"suite '{HEAD}{file}' was given without a space; name it, as in --space nb201.")
    table = read_table(file, make_space(space, {}))
    found = truth if truth is not None else _truth(file, table.metrics)
    heard = feedback if feedback is not None else (FEEDBACK if FEEDBACK in table.metrics else found)
    path = Path(file).expanduser()
    return Suite(f"{HEAD}{file}", table, heard, found, direction, seconds=seconds, files=(path,))


def _truth(file: str, metrics: Sequence[str]) -> str:
    if ACCURACY in metrics:
        return ACCURACY
    if len(metrics) == 1:
        return metrics[0]
    raise UsageError(
        f"suite '{HEAD}{file}' has the metrics {', '.join(metrics)} and no {ACCURACY}; say which is the truth, as in "
        f"truth={metrics[0]}."
    )
