"""The size space of NATS-Bench (Dong et al. 2021) as a table of the space `nats_sss`."""

from __future__ import annotations

from typing import Final

import numpy as np

from nasforge import registry
from nasforge.evaluate.published.source import counts, known_dataset, read_columns, shares, tabulated
from nasforge.evaluate.tabular import TabularEvaluator
from nasforge.space import SearchSpace

FILE: Final = "nats_sss/nats_sss_cifar10.npz"


def nats_sss(dataset: str = "cifar10") -> TabularEvaluator:
    """Return the table of all 32,768 widths.

    Metrics are `accuracy` on test after 90 epochs, 0..1, and `params` and `macs` by the space's formulas. The file
    holds one accuracy for each architecture, so `accuracy_valid` is the same number: feedback without noise. It knows
    no training time.

    Raises:
        DataError: the table is not on this machine, is damaged, or has no such data set.
    """
    known_dataset("nats_sss", dataset, ("cifar10",))
    columns = read_columns(FILE, ("channels", "acc_cifar10"))
    space: SearchSpace = registry.load("spaces", "nats_sss")()
    labels = np.asarray([int(label) for label in space.choices[0].labels])
    rows = np.searchsorted(labels, columns["channels"])
    accuracy = shares(columns["acc_cifar10"])
    return TabularEvaluator(
        space, tabulated(rows, {"accuracy_valid": accuracy, "accuracy": accuracy, **counts(space, rows)})
    )
