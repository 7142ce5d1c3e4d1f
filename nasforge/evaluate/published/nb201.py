"""NAS-Bench-201 (Dong & Yang 2020) as a table of the space `nb201`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from nasforge import registry
from nasforge.evaluate.published.source import Columns, counts, known_dataset, read_columns, shares, tabulated
from nasforge.evaluate.tabular import TabularEvaluator, Value
from nasforge.space import SearchSpace

FILE: Final = "nb201/nb201.npz"
CLASSES: Final = {"cifar10": 10, "cifar100": 100}
SECONDS: Final = "train_seconds"
COLUMNS: Final = {
    12.0: {"accuracy_valid": "val_acc_12ep", "accuracy": "test_acc_12ep", SECONDS: "cost_12ep"},
    200.0: {"accuracy_valid": "val_acc_200ep", "accuracy": "test_acc", SECONDS: "train_time_s"},
}


def nb201(dataset: str = "cifar10") -> TabularEvaluator:
    """Return NAS-Bench-201's table at fidelities of 12 and 200 epochs.

    Metrics are `accuracy_valid` (one of three seeds at 200 epochs), `accuracy` on test, both 0..1, `train_seconds`
    (where the file has those of 200 epochs only, 12 epochs take their share, as on CIFAR-10), and `params` and `macs`
    by the space's formulas. The benchmark's own counts also hold operations that reach the output by no path; in the
    11,308 cells where none of these has weights they are the same.

    Raises:
        DataError: the table is not on this machine, is damaged, or has no such data set.
    """
    columns = read_columns(FILE, ("ops", "ops_names"))
    known = sorted(name.partition("__")[2] for name in columns if name.startswith("test_acc__"))
    known_dataset("nb201", dataset, known)
    space: SearchSpace = registry.load("spaces", "nb201")(classes=CLASSES.get(dataset, 10))
    rows = decisions_of(columns, space.choices[0].labels)
    formulas = counts(space, rows)
    measured = {
        epochs: _measured(columns, {key: f"{at[key]}__{dataset}" for key in at}) for epochs, at in COLUMNS.items()
    }
    whole = columns.get(f"train_time_s__{dataset}")
    if SECONDS not in measured[12.0] and whole is not None:
        measured[12.0][SECONDS] = (whole.astype(float) * 12 / 200).tolist()
    tables = {epochs: tabulated(rows, {**formulas, **found}) for epochs, found in measured.items()}
    return TabularEvaluator(space, tables[200.0], tables)


def decisions_of(columns: Columns, labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the decisions of the file's rows, shape (15625, 6), which all files of the benchmark share.

    Args:
        columns: of the file, `ops` and `ops_names` among them.
        labels: of the space's operations.
    """
    options: npt.NDArray[np.int64] = np.asarray([labels.index(str(name)) for name in columns["ops_names"]])
    return options[columns["ops"]]


def _measured(columns: Columns, names: Mapping[str, str]) -> dict[str, list[Value]]:
    """Return the metrics that the file has: accuracies as fractions, seconds as they are."""
    there = {metric: columns[name] for metric, name in names.items() if name in columns}
    return {
        metric: shares(column) if metric.startswith("accuracy") else column.astype(float).tolist()
        for metric, column in there.items()
    }
