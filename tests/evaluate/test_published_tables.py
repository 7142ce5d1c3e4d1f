"""NAS-Bench-Macro and the size space of NATS-Bench as tables of the spaces of their names. Needs NASFORGE_DATA."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasforge import registry
from nasforge.errors import DataError
from nasforge.evaluate.published import data_file, read_columns, tabulated
from nasforge.evaluate.published.source import shares

DATA = Path(os.environ.get("NASFORGE_DATA", "nowhere"))
MACRO, SIZES = DATA / "nasbench_macro" / "nasbench_macro.npz", DATA / "nats_sss" / "nats_sss_cifar10.npz"
needs_tables = pytest.mark.skipif(
    not (MACRO.is_file() and SIZES.is_file()), reason="NASFORGE_DATA does not name a folder with the two tables"
)


def official(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


@pytest.mark.plugins
@needs_tables
def test_parameters_and_macs_of_all_macro_networks_are_the_benchmarks():
    space, found = registry.load("spaces", "nasbench_macro")(), official(MACRO)
    assert space.size == 6_561
    for metric in ("params", "macs"):
        assert (space.cost(metric).batch(found["arch"]) == found[metric]).all()


@pytest.mark.plugins
@needs_tables
def test_the_known_best_macro_network_is_found_and_feedback_is_one_of_three_seeds():
    table = registry.load("tables", "nasbench_macro")()
    every = {each.decisions: table.evaluate(each) for each in table.space.enumerate()}
    best = max(every, key=lambda each: every[each]["accuracy"])
    assert "".join(map(str, best)) == "22212202"
    assert round(100 * every[best]["accuracy"], 3) == 93.127
    found = official(MACRO)
    row = next(at for at, decisions in enumerate(found["arch"].tolist()) if tuple(decisions) == best)
    told = [table.evaluate(table.space.from_decisions(best), seed=seed)["accuracy_valid"] for seed in range(3)]
    assert told == pytest.approx((found["test_acc"][row] / 100).tolist())
    assert sum(told) / 3 == pytest.approx(every[best]["accuracy"])


@pytest.mark.plugins
@needs_tables
def test_the_table_of_sizes_holds_all_widths_with_the_benchmarks_accuracies():
    table, found = registry.load("tables", "nats_sss")(), official(SIZES)
    space = table.space
    assert space.size == len(table) == 32_768
    for row in np.random.default_rng(0).integers(0, len(found["channels"]), 200).tolist():
        labels = dict(zip([each.name for each in space.choices], map(str, found["channels"][row]), strict=True))
        metrics = table.evaluate(space.architecture(labels))
        assert metrics["accuracy"] == metrics["accuracy_valid"] == pytest.approx(float(found["acc_cifar10"][row]) / 100)
        assert metrics["params"] == space.params(space.architecture(labels))


@pytest.mark.plugins
@pytest.mark.parametrize("name", ["nasbench_macro", "nats_sss"])
def test_data_that_are_not_here_and_data_sets_that_are_not_in_a_table_are_named(name, tmp_path, monkeypatch):
    make = registry.load("tables", name)
    monkeypatch.setenv("NASFORGE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"{name}.*does not exist; set NASFORGE_DATA"):
        make()
    with pytest.raises(DataError, match="cifar10"):
        make("cifar11")


def test_a_file_without_a_column_or_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("NASFORGE_DATA", str(tmp_path))
    np.savez(tmp_path / "some.npz", a=np.zeros(2))
    with pytest.raises(DataError, match="no array 'b', only a"):
        read_columns("some.npz", ("a", "b"))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="cannot be read"):
        read_columns("broken.npz")
    monkeypatch.delenv("NASFORGE_DATA")
    with pytest.raises(DataError, match="NASFORGE_DATA is not set"):
        data_file("some.npz")


def test_percentages_become_fractions_and_seeds_that_were_not_run_drop_out():
    assert shares(np.asarray([50.0, 25.0])) == [0.5, 0.25]
    assert shares(np.asarray([[50.0, np.nan], [75.0, 25.0]])) == [(0.5,), (0.75, 0.25)]
    rows = np.asarray([[0, 1], [1, 0]])
    assert tabulated(rows, {"a": [1.0, 2.0]}) == {(0, 1): {"a": 1.0}, (1, 0): {"a": 2.0}}
