"""Where the data of published tables lie, and how columns become a table.

A table of one's own reads its columns, says which option each row took, and names its metrics: `accuracy_valid` is
the noisy feedback that a search may see (one value for each seed), `accuracy` the truth it is judged by.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nasforge.errors import DataError, unknown_name_sentence
from nasforge.evaluate.tabular import Decisions, Value
from nasforge.space import SearchSpace

DATA: Final = "NASFORGE_DATA"
Columns = Mapping[str, npt.NDArray[Any]]


def data_file(name: str) -> Path:
    """Return a file of $NASFORGE_DATA.

    Raises:
        DataError: the variable is not set, or the file is not there.
    """
    root = os.environ.get(DATA)
    if not root:
        raise DataError(
            f"the table {name} was asked for, but {DATA} is not set; set it to the folder that holds {name}."
        )
    path = Path(root).expanduser() / name
    if not path.is_file():
        raise DataError(f"'{path}' does not exist; set {DATA} to the folder that holds {name}.")
    return path


def read_columns(name: str, wanted: Iterable[str] = ()) -> Columns:
    """Return the arrays of an npz file of $NASFORGE_DATA by name; nothing in it is executed.

    Args:
        name: of the file, below the folder.
        wanted: arrays that must be in it.

    Raises:
        DataError: the file is not on this machine, is damaged, or lacks an array.
    """
    path = data_file(name)
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as content:
            columns = {key: content[key] for key in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path}' cannot be read ({type(error).__name__}); get it again.") from error
    for each in wanted:
        if each not in columns:
            raise DataError(f"'{path}' holds no array '{each}', only {', '.join(sorted(columns))}; get it again.")
    return columns


def known_dataset(benchmark: str, dataset: str, known: Sequence[str]) -> str:
    """Return the data set.

    Raises:
        DataError: the benchmark has no results on it.
    """
    if dataset not in known:
        raise DataError(unknown_name_sentence(f"data set of {benchmark}", dataset, known))
    return dataset


def shares(percent: npt.NDArray[Any]) -> list[Value]:
    """Return percentages as fractions, one for each row, or one for each row and seed; seeds that are NaN drop out."""
    rows = (percent.astype(float) / 100.0).tolist()
    return rows if percent.ndim == 1 else [tuple(value for value in row if math.isfinite(value)) for row in rows]


def counts(space: SearchSpace, rows: npt.NDArray[Any]) -> dict[str, list[Value]]:
    """Return `params` and `macs` of rows of decisions, by the space's formulas."""
    return {metric: space.cost(metric).batch(rows).astype(float).tolist() for metric in ("params", "macs")}


def tabulated(rows: npt.NDArray[Any], metrics: Mapping[str, Sequence[Value]]) -> dict[Decisions, dict[str, Value]]:
    """Return the table of rows of decisions, shape (n, choices), and n values of each metric."""
    return {
        tuple(row): {name: values[place] for name, values in metrics.items()} for place, row in enumerate(rows.tolist())
    }
