"""NAS-Bench-Macro (Su et al. 2021) as a table of the space `nasbench_macro`."""

from __future__ import annotations

from typing import Final

from nasforge import registry
from nasforge.evaluate.published.source import counts, known_dataset, read_columns, shares, tabulated
from nasforge.evaluate.tabular import TabularEvaluator
from nasforge.space import SearchSpace

FILE: Final = "nasbench_macro/nasbench_macro.npz"


def nasbench_macro(dataset: str = "cifar10") -> TabularEvaluator:
    """Return the table of all 6,561 networks, each trained three times.

    Metrics are `accuracy` (the mean of three test accuracies, 0..1), `accuracy_valid` (one of the three, by the
    evaluation's seed: the benchmark has no other noisy feedback), and `params` and `macs`, of which the space's
    formulas give the benchmark's own numbers. It knows no training time.

    Raises:
        DataError: the table is not on this machine, is damaged, or has no such data set.
    """
    known_dataset("nasbench_macro", dataset, ("cifar10",))
    columns = read_columns(FILE, ("arch", "test_acc"))
    space: SearchSpace = registry.load("spaces", "nasbench_macro")()
    rows, measured = columns["arch"], columns["test_acc"]
    metrics = {"accuracy_valid": shares(measured), "accuracy": shares(measured.astype(float).mean(axis=1))}
    return TabularEvaluator(space, tabulated(rows, {**metrics, **counts(space, rows)}))
