"""NAS-Bench-201's table and the space of that name describe the same 15,625 cells. Needs NASFORGE_DATA."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasforge import registry
from nasforge.errors import DataError, EvaluationError
from nasforge.evaluate.published.nb201 import nb201
from nasforge.evaluate.tabular import TabularEvaluator

FILE = Path(os.environ.get("NASFORGE_DATA", "nowhere")) / "nb201" / "nb201.npz"
needs_table = pytest.mark.skipif(not FILE.is_file(), reason="NASFORGE_DATA does not name a folder with nb201/nb201.npz")
pytestmark = pytest.mark.plugins


@pytest.fixture(scope="module")
def table() -> TabularEvaluator:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASFORGE_DATA", str(FILE.parents[1]))
        return nb201("cifar10")


@pytest.fixture(scope="module")
def official() -> dict[str, Any]:
    with np.load(FILE, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


@needs_table
def test_the_known_best_cells_are_found(table: TabularEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NASFORGE_DATA", str(FILE.parents[1]))
    every = list(table.space.enumerate())
    assert len(table) == len(every) == 15_625
    best = max(every, key=lambda each: table.evaluate(each)["accuracy"])
    assert round(100 * table.evaluate(best)["accuracy"], 3) == 94.373
    assert (table.space.params(best), table.space.macs(best)) == (1_073_466, 153_272_960)
    assert table.evaluate(best)["params"] == 1_073_466
    hundred = nb201("cifar100")
    assert round(100 * max(hundred.evaluate(each)["accuracy"] for each in hundred.space.enumerate()), 3) == 73.513


@needs_table
@pytest.mark.parametrize(("dataset", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_the_spaces_counts_are_the_benchmarks_but_for_operations_that_reach_no_output(
    official: dict[str, Any], dataset: str, classes: int
) -> None:
    space = registry.load("spaces", "nb201")(classes=classes)
    labels = [space.choices[0].labels.index(str(name)) for name in official["ops_names"]]
    rows = np.asarray(labels)[official["ops"]]
    params = space.cost("params").batch(rows).astype(np.int64)
    macs = space.cost("macs").batch(rows).astype(np.int64)
    live = live_edges(official["ops"], list(official["ops_names"]).index("none"))
    dead, whole = ~live, live.any(axis=1)
    assert np.unique(params[~whole]).tolist() == [
        64 * classes + classes
    ]  # a cell without a path: the head alone is left
    widths = np.asarray([16, 32, 64])
    sides = np.asarray([32, 16, 8])
    for name, kernel in (("nor_conv_1x1", 1), ("nor_conv_3x3", 3)):
        lost = (dead & (official["ops"] == list(official["ops_names"]).index(name))).sum(axis=1)
        params += lost * 5 * int((kernel**2 * widths**2 + 2 * widths).sum())
        macs += lost * 5 * int((kernel**2 * widths**2 * sides**2).sum())
    assert int(whole.sum()) == 15_284
    assert np.array_equal(params[whole], official[f"params__{dataset}"][whole])
    assert np.allclose(macs[whole] / 1e6, official[f"macs_official_M__{dataset}"][whole], rtol=1e-6, atol=0)


def live_edges(ops: np.ndarray, none: int) -> np.ndarray:
    """Return (cells, 6): whether an edge carries something from the cell's input to its output."""
    edges = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    there = ops != none
    forward, backward = np.zeros((len(ops), 4), dtype=bool), np.zeros((len(ops), 4), dtype=bool)
    forward[:, 0], backward[:, 3] = True, True
    for number, (source, target) in enumerate(edges):
        forward[:, target] |= forward[:, source] & there[:, number]
    for number, (source, target) in reversed(list(enumerate(edges))):
        backward[:, source] |= backward[:, target] & there[:, number]
    return np.stack(
        [there[:, n] & forward[:, source] & backward[:, target] for n, (source, target) in enumerate(edges)], axis=1
    )


@needs_table
def test_cells_without_dead_operations_number_as_documented(official: dict[str, Any]) -> None:
    space = registry.load("spaces", "nb201")()
    labels = [space.choices[0].labels.index(str(name)) for name in official["ops_names"]]
    found = space.cost("params").batch(np.asarray(labels)[official["ops"]])
    assert int((found == official["params__cifar10"]).sum()) == 11_308


@needs_table
def test_rows_are_looked_up_by_the_operations_on_their_edges(table: TabularEvaluator, official: dict[str, Any]) -> None:
    edges = ("1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2")  # the benchmark's own order
    for number in np.random.default_rng(0).integers(0, 15_625, 50):
        operations = [str(official["ops_names"][op]) for op in official["ops"][number]]
        architecture = table.space.architecture(dict(zip(edges, operations, strict=True)))
        valid = official["val_acc_200ep__cifar10"][number]
        for seed in range(3):
            if np.isfinite(valid).all():
                assert table.evaluate(architecture, seed=seed)["accuracy_valid"] == pytest.approx(valid[seed] / 100)
        early = table.evaluate(architecture, 12)
        assert early["accuracy_valid"] == pytest.approx(float(official["val_acc_12ep__cifar10"][number]) / 100)
        assert early["accuracy"] == pytest.approx(float(official["test_acc_12ep__cifar10"][number]) / 100)
        assert early["train_seconds"] < table.evaluate(architecture)["train_seconds"]


@needs_table
def test_other_fidelities_and_data_sets_are_refused(table: TabularEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EvaluationError, match="available: 12, 200"):
        table.evaluate(next(table.space.enumerate()), 50)
    monkeypatch.setenv("NASFORGE_DATA", str(FILE.parents[1]))
    with pytest.raises(DataError, match="Did you mean 'cifar100'"):
        nb201("cifar1000")


def test_an_absent_or_damaged_table_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NASFORGE_DATA", raising=False)
    with pytest.raises(DataError, match="NASFORGE_DATA is not set"):
        nb201()
    monkeypatch.setenv("NASFORGE_DATA", str(tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        nb201()
    (tmp_path / "nb201").mkdir()
    for content in (b"", b"PK\x03\x04 cut", b"nonsense"):
        (tmp_path / "nb201" / "nb201.npz").write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            nb201()


def test_a_table_that_holds_a_pickle_is_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nb201").mkdir()
    np.savez(tmp_path / "nb201" / "nb201.npz", ops=np.asarray([{"a": 1}], dtype=object))
    monkeypatch.setenv("NASFORGE_DATA", str(tmp_path))
    with pytest.raises(DataError, match="cannot be read"):
        nb201()
