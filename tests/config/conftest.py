"""A table of the NAS-Bench-201 cells with made-up accuracies, so that a search takes a fraction of a second."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nasforge import registry

    space = registry.load("spaces", "nb201")(input_shape=(3, 8, 8), classes=10)
    path = tmp_path_factory.mktemp("table") / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow([*(choice.name for choice in space.choices), "accuracy_valid"])
        for number, labels in enumerate(itertools.product(*(choice.labels for choice in space.choices))):
            writer.writerow([*labels, 0.5 + number * 7919 % 15625 / 40000])
    return path
