"""`tabular`: metrics looked up in a table of architectures that were all trained once."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from nasforge import registry
from nasforge.errors import DataError, EvaluationError
from nasforge.space import Architecture, SearchSpace

DATA: Final = "NASFORGE_DATA"


@final
class TabularEvaluator:
    """Looks metrics up by decisions; what is missing or NaN is an error of the evaluation, not a zero."""

    def __init__(self, space: SearchSpace, table: Mapping[tuple[int, ...], Mapping[str, float]]) -> None:
        """Take the table: decisions -> metrics."""
        self.space, self._table = space, table

    def __len__(self) -> int:
        """Return the number of architectures in the table."""
        return len(self._table)

    def evaluate(self, architecture: Architecture, fidelity: float | None = None, seed: int = 0) -> dict[str, float]:
        """Return the metrics of the table; where a metric was measured with several seeds, `seed` picks one.

        Raises:
            EvaluationError: the architecture is not in the table.
        """
        row = self._table.get(architecture.decisions)
        if row is None:
            raise EvaluationError(
                f"the table of space '{self.space.name}' has no architecture {self.space.describe(architecture)}."
            )
        return {
            name: float(value[seed % len(value)] if isinstance(value, tuple) else value) for name, value in row.items()
        }


def read_table(path: str | Path, space: SearchSpace) -> TabularEvaluator:
    """Read a CSV table: one column for each choice, with option labels; every other column is a metric.

    Raises:
        DataError: a missing column, an unknown option or a value that is no number.
    """
    file = Path(path)
    names = [str(read.name) for read in space.choices]
    table: dict[tuple[int, ...], dict[str, float]] = {}
    try:
        with file.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"table '{file}' cannot be read ({type(error).__name__}); expected a CSV file.") from error
    missing = [name for name in names if not rows or name not in rows[0]]
    if missing:
        raise DataError(
            f"table '{file}' has no column '{missing[0]}'; expected one for each choice: {', '.join(names)}."
        )
    for line, row in enumerate(rows, start=2):
        try:
            architecture = space.architecture({name: row[name] for name in names if row[name]})
            table[architecture.decisions] = {key: float(value) for key, value in row.items() if key not in names}
        except (ValueError, TypeError) as error:
            raise DataError(f"line {line} of table '{file}' cannot be used: {error}") from error
    return TabularEvaluator(space, table)


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
    path = Path(root) / name
    if not path.is_file():
        raise DataError(f"'{path}' does not exist; set {DATA} to the folder that holds {name}.")
    return path


def nb201(dataset: str = "cifar10") -> TabularEvaluator:
    """Return NAS-Bench-201's table: `accuracy_valid` (one of the seeds), `accuracy`, `params`, `train_seconds`.

    Accuracies are shares, 0..1.

    Raises:
        DataError: the table is not on this machine, or has no such data set.
    """
    path = data_file("nb201/nb201.npz")
    space: SearchSpace = registry.load("spaces", "nb201")()
    with np.load(path, allow_pickle=False) as content:
        keys = {name: f"{name}__{dataset}" for name in ("val_acc_200ep", "test_acc", "train_time_s")}
        if keys["test_acc"] not in content.files:
            raise DataError(f"'{path}' has no data set '{dataset}'; expected cifar10 or cifar100.")
        valid, test = content[keys["val_acc_200ep"]], content[keys["test_acc"]]
        seconds, params = content[keys["train_time_s"]], content[f"params__{dataset}"]
        ops, names = content["ops"], [str(name) for name in content["ops_names"]]
    labels = space.choices[0].labels
    index = np.asarray([labels.index(name) for name in names])
    decisions: list[list[int]] = index[ops].tolist()
    table: dict[tuple[int, ...], Any] = {
        tuple(row): {
            "accuracy_valid": tuple(v for v in (valid[i] / 100.0).tolist() if np.isfinite(v)),
            "accuracy": float(test[i]) / 100.0,
            "params": float(params[i]),
            "train_seconds": float(seconds[i]),
        }
        for i, row in enumerate(decisions)
    }
    return TabularEvaluator(space, table)
