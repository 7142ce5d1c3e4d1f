"""A table of architectures is read whole or refused by line, and answers only what it holds."""

from __future__ import annotations

import builtins
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasforge.errors import ArchitectureError, DataError, EvaluationError
from nasforge.evaluate import TabularEvaluator, read_table
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Architecture, Input, SearchSpace, choice, repeat


def space(name: str = "toy") -> SearchSpace:
    """Two widths and one to two layers, each with a kernel: the second kernel is there only at depth 2."""
    x = Conv(choice(8, 16, name="width"))(Input(3, 8, 8), name="stem")
    x = repeat(lambda x, i: Conv(16, choice(1, 3, name=f"k{i}"))(x, name=f"c{i}"), x, depth=choice(1, 2, name="depth"))
    return SearchSpace({"logits": Linear(4)(GlobalPool()(x))}, name=name)


TOY = space()
NAMES = [str(read.name) for read in TOY.choices]


def row(architecture: Architecture, *values: object) -> str:
    described = TOY.describe(architecture)
    return ",".join([*(described.get(name, "") for name in NAMES), *map(str, values)])


def write(path: Path, *columns: str, values: Any = lambda number, each: (number / 10,)) -> Path:
    rows = [row(each, *values(number, each)) for number, each in enumerate(TOY.enumerate())]
    path.write_text("\n".join([",".join([*NAMES, *columns]), *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return write(tmp_path / "table.csv", "accuracy_valid")


def test_every_row_comes_back_by_its_architecture(csv: Path) -> None:
    table = read_table(csv, TOY)
    assert len(table) == TOY.size == 12
    for number, architecture in enumerate(TOY.enumerate()):
        assert table.evaluate(architecture) == {"accuracy_valid": number / 10}


def test_parquet_holds_the_same_table(csv: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = importlib.import_module("pyarrow.parquet")
    text = [line.split(",") for line in csv.read_text().splitlines()]
    columns = {
        name: [None if not cells[place] else float(cells[place]) for cells in text[1:]]
        for place, name in enumerate(text[0])
    }
    path = tmp_path / "table.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    table = read_table(path, TOY)
    for number, architecture in enumerate(TOY.enumerate()):
        assert table.evaluate(architecture) == {"accuracy_valid": number / 10}
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="Parquet file"):
        read_table(path, TOY)


def test_parquet_without_pyarrow_is_refused_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = builtins.__import__

    def missing(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return genuine(name, *arguments, **options)

    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match="needs pyarrow; install it, or save the table as CSV"):
        read_table(tmp_path / "table.parquet", TOY)


def test_a_byte_order_mark_and_spaces_do_no_harm(csv: Path) -> None:
    csv.write_text("\ufeff" + csv.read_text().replace(",", " , "), encoding="utf-8")
    assert len(read_table(csv, TOY)) == 12


def test_seeds_are_joined_in_order_and_picked_by_the_evaluations_seed(tmp_path: Path) -> None:
    lines = [",".join([*NAMES, "seed", "accuracy_valid"])]
    for each in TOY.enumerate():
        lines += [row(each, seed, seed / 100) for seed in (777, 111, 888)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines))
    table = read_table(path, TOY)
    one = next(TOY.enumerate())
    assert [table.evaluate(one, seed=seed)["accuracy_valid"] for seed in range(4)] == [1.11, 7.77, 8.88, 1.11]
    assert table.evaluate(one) == table.evaluate(one)


def test_fidelities_are_told_apart_and_the_largest_is_the_default(tmp_path: Path) -> None:
    lines = [",".join([*NAMES, "fidelity", "accuracy_valid"])]
    for number, each in enumerate(TOY.enumerate()):
        lines += [row(each, fidelity, number + fidelity / 1000) for fidelity in (200, 12)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines))
    table = read_table(path, TOY)
    assert table.fidelities == (12.0, 200.0)
    for number, each in enumerate(TOY.enumerate()):
        assert table.evaluate(each)["accuracy_valid"] == number + 0.2
        assert table.evaluate(each, 200)["accuracy_valid"] == number + 0.2
        assert table.evaluate(each, 12.0)["accuracy_valid"] == number + 0.012
    with pytest.raises(EvaluationError, match="no results of fidelity 50; available: 12, 200"):
        table.evaluate(each, 50)


def test_a_fidelity_is_refused_where_the_table_knows_none(csv: Path) -> None:
    with pytest.raises(EvaluationError, match="fidelity 3"):
        read_table(csv, TOY).evaluate(next(TOY.enumerate()), 3)


def test_what_the_table_lacks_is_an_error_and_not_a_zero(csv: Path) -> None:
    lines = csv.read_text().splitlines()
    csv.write_text("\n".join(lines[:-1]))
    table = read_table(csv, TOY)
    *known, last = TOY.enumerate()
    assert table.evaluate(known[-1])
    with pytest.raises(EvaluationError, match="has no architecture"):
        table.evaluate(last)


@pytest.mark.parametrize("missing", ["", "nan", "NaN", "inf"])
def test_a_metric_that_is_missing_is_an_error_of_that_evaluation_alone(tmp_path: Path, missing: str) -> None:
    path = write(
        tmp_path / "t.csv", "accuracy_valid", "power_w", values=lambda number, _: (0.5, missing if number == 3 else 2)
    )
    table = read_table(path, TOY)
    every = list(TOY.enumerate())
    assert table.evaluate(every[2]) == {"accuracy_valid": 0.5, "power_w": 2.0}
    with pytest.raises(EvaluationError, match="no power_w"):
        table.evaluate(every[3])


def test_no_seed_at_all_is_an_error(csv: Path) -> None:
    one = next(TOY.enumerate())
    with pytest.raises(EvaluationError, match="no accuracy_valid"):
        TabularEvaluator(TOY, {one.decisions: {"accuracy_valid": ()}}).evaluate(one)


def test_an_architecture_of_another_space_is_refused_even_with_the_same_decisions(csv: Path) -> None:
    stranger = next(space("other").enumerate())
    assert stranger.decisions == next(TOY.enumerate()).decisions
    with pytest.raises(ArchitectureError, match="fingerprint"):
        read_table(csv, TOY).evaluate(stranger)


def damage(line: int, old: str, new: str) -> Any:
    def apply(text: str) -> str:
        lines = text.splitlines()
        assert old in lines[line - 1]
        lines[line - 1] = lines[line - 1].replace(old, new)
        return "\n".join(lines)

    return apply


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda _: "", "holds no row"),
        (lambda text: text.splitlines()[0], "holds no row"),
        (damage(1, "width", "breadth"), "no column 'width'"),
        (damage(1, "accuracy_valid", "width"), "column 'width' twice"),
        (damage(3, "0.1", "good"), "line 3 of table"),
        (damage(3, "0.1", "good"), "'good', expected a number"),
        (damage(4, "0.2", "0.2,9"), "line 4 of table"),
        (damage(4, ",0.2", ""), "line 4 of table"),
        (damage(5, "8,", "12,"), "line 5 of table"),
        (lambda text: text + text.splitlines()[-1], "line 14 of table"),
        (lambda text: text + text.splitlines()[-1], "repeats"),
        (lambda text: text.replace("\n", "\n\x00"), "table"),
    ],
)
def test_a_damaged_table_is_refused_by_line(csv: Path, spoil: Any, expected: str) -> None:
    csv.write_text(spoil(csv.read_text()))
    with pytest.raises(DataError) as caught:
        read_table(csv, TOY)
    assert expected in str(caught.value)
    assert str(csv) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_without_metrics_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="columns for choices only"):
        read_table(write(tmp_path / "t.csv", values=lambda *_: ()), TOY)


def test_files_that_are_no_text_or_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.csv").write_bytes(np.random.default_rng(0).bytes(500))
    for path in (tmp_path / "bytes.csv", tmp_path / "nowhere.csv", tmp_path, tmp_path / "nowhere.parquet"):
        with pytest.raises(DataError) as caught:
            read_table(path, TOY)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.csv", "nowhere.parquet"])
def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"nowhere\.\w+' does not exist; expected a CSV or Parquet file"):
        read_table(tmp_path / name, TOY)
