"""`evaluation=table:...`: the search goes by the table, the winner is trained on the data as always, or not at all."""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasforge import SearchResult
from nasforge.cli.app import main
from nasforge.errors import (
    ArchitectureError,
    DataError,
    EvaluationError,
    IncompatibleError,
    NotInstalledError,
    UsageError,
)
from nasforge.evaluate.published import DATA
from nasforge.evaluate.tabular import TabularEvaluator
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.registry import Plugin
from nasforge.run import table as tables
from nasforge.space import Input, SearchSpace, choice

pytestmark = pytest.mark.plugins

Search = Callable[..., SearchResult]


def write_table(path: Path, space: SearchSpace, value: Callable[[int], float], **more: float) -> dict[str, float]:
    """Write a table of all architectures; return the metric by architecture."""
    rows, values = [], {}
    for number, architecture in enumerate(sorted(every(space), key=lambda each: each.decisions)):
        values[str(architecture.decisions)] = value(number)
        rows.append({**space.describe(architecture), "accuracy_valid": value(number), **more})
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return values


def every(space: SearchSpace) -> list[Any]:
    return [space.from_decisions(row) for row in itertools.product(*(range(len(c.labels)) for c in space.choices))]


def test_the_search_finds_the_best_of_the_table_and_trains_it(
    search_small: Search, small_space: SearchSpace, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    values = write_table(path, small_space, lambda number: 1.0 - abs(number - 7) / 20, accuracy=0.5, params=1.0)
    result = search_small(evaluation=f"table:{path}", budget="30-evaluations")
    best = result.best
    assert best is not None
    found = small_space.from_json(best["architecture"])
    assert values[str(found.decisions)] == max(values.values())
    assert best["metrics"]["accuracy_valid_in_search"] == 1.0
    assert best["metrics"]["accuracy"] != 0.5  # of the network trained here, not the table's
    assert best["metrics"]["params"] == small_space.params(found)
    assert best["provenance"]["weights"] == "retrained from scratch"
    assert (result.folder / "model.onnx").exists()


def test_what_a_table_says_of_test_data_stays_shut(
    search_small: Search, small_space: SearchSpace, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    write_table(path, small_space, lambda number: number / 20, accuracy=0.5)
    result = search_small(evaluation=f"table:{path}", retrain=False)
    lines = [json.loads(line) for line in (result.folder / "study.log").read_text().splitlines()]
    metrics = [line["user_attrs"]["metrics"] for line in lines if "user_attrs" in line]
    assert len(metrics) == 4
    assert all("accuracy" not in found and "accuracy_valid" in found for found in metrics)
    assert "accuracy" not in result.metrics


def test_without_retraining_the_architecture_is_delivered_measured_and_can_be_trained(
    search_small: Search, small_space: SearchSpace, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    write_table(path, small_space, lambda number: number / 20)
    result = search_small(evaluation=f"table:{path}", retrain=False)
    assert result.best is not None
    assert result.best["verified"]
    assert result.best["provenance"]["weights"] == f"those of table:{path}"
    names = {each.name for each in result.folder.iterdir()}
    assert {"architecture.json", "result.json"} <= names
    assert not {"model.onnx", "model.safetensors"} & names
    stored = json.loads((result.folder / "architecture.json").read_text())["architecture"]
    assert stored == result.best["architecture"]


def test_an_architecture_that_the_table_lacks_fails_its_evaluation_only(
    search_small: Search, small_space: SearchSpace, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    write_table(path, small_space, lambda number: number / 20)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:4]) + "\n")
    result = search_small(evaluation=f"table:{path}", budget="12-evaluations", retrain=False)
    assert result.document["evaluations"] == 12
    assert len(result.finalists) == 3
    path.write_text(lines[0] + "\n" + lines[1] + "\n")
    with pytest.raises(EvaluationError, match="all 1 evaluations failed; the first: the table of space"):
        search_small(evaluation=f"table:{path}", budget="1-evaluations", seed=1, out=tmp_path / "other")


@pytest.mark.parametrize(
    ("evaluation", "strategy", "error", "sentence"),
    [
        ("nb201", "random", UsageError, "expected table:NAME"),
        ("table:", "random", UsageError, "expected table:NAME"),
        ("table:nb20", "random", NotInstalledError, "Did you mean 'nb201'"),
        ("table:/nowhere.csv", "random", DataError, "does not exist"),
        ("table:/nowhere.csv", "bignas", UsageError, "trains shared weights"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_before_anything_is_written(
    search_small: Search, tmp_path: Path, evaluation: str, strategy: str, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        search_small(evaluation=evaluation, strategy=strategy)
    assert not (tmp_path / "run").exists()


def test_a_table_of_another_space_is_refused(search_small: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    x = Conv(choice(1, 2, name="other"))(Input(3, 8, 8))
    other = SearchSpace({"logits": Linear(2)(GlobalPool()(x))}, name="other")
    installed = {"other": Plugin("tables", "other", "", "test")}
    registry = SimpleNamespace(
        installed=lambda kind: installed, load=lambda kind, name: lambda: TabularEvaluator(other, {})
    )
    monkeypatch.setattr(tables, "registry", registry)
    with pytest.raises(ArchitectureError, match="of space 'other'"):
        search_small(evaluation="table:other")


def test_the_command_says_what_is_missing_without_the_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(DATA, raising=False)
    given = ["--space", "nb201", "--strategy", "evolution", "--target", "gpu", "evaluation=table:nb201"]
    assert main(["search", *given]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert DATA in captured.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get(DATA), reason=f"{DATA} is not set, so there is no table of NAS-Bench-201")
def test_evolution_on_the_table_of_nasbench201_finds_a_good_cell(tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = ["--space", "nb201", "--strategy", "evolution", "--target", "gpu", "--out", str(out)]
    assert main(["search", *given, "evaluation=table:nb201", "retrain=false", "--budget", "500-evaluations"]) == 0
    found = json.loads((out / "result.json").read_text())
    assert found["evaluations"] == 500
    assert found["best"]["metrics"]["accuracy_valid"] > 0.91  # the best of the table is 0.9173, the median 0.85


def write_fidelities(path: Path, space: SearchSpace) -> None:
    """Write a table whose short trainings rank backwards and promise more than the long ones hold."""
    architectures = sorted(every(space), key=lambda each: each.decisions)
    lines = [
        {**space.describe(each), "fidelity": fidelity, "accuracy_valid": value}
        for number, each in enumerate(architectures)
        for fidelity, value in ((2, 0.9 - number / 100), (6, number / 100))
    ]
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, lines[0])
        writer.writeheader()
        writer.writerows(lines)


def test_short_trainings_never_win_over_long_ones(
    search_small: Search, small_space: SearchSpace, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    write_fidelities(path, small_space)
    result = search_small(
        evaluation=f"table:{path}", strategy="successive_halving", budget="12-evaluations", retrain=False
    )
    lines = [json.loads(line).get("user_attrs", {}) for line in (result.folder / "study.log").read_text().splitlines()]
    told = [line for line in lines if "number" in line]
    full = [each for each in told if each["fidelity"] == 6.0]
    assert {each["fidelity"] for each in told} == {2.0, 6.0}
    best = max(each["metrics"]["accuracy_valid"] for each in full)
    assert best < min(each["metrics"]["accuracy_valid"] for each in told if each["fidelity"] == 2.0)
    assert result.metrics["accuracy_valid"] == best
    numbers = {each["number"] for each in full}
    shown = [*result.finalists, *result.document["pareto"]]
    assert {each["provenance"]["evaluation"] for each in shown} <= numbers


def test_a_table_of_one_fidelity_and_successive_halving_are_refused_before_the_target_is_looked_at(
    search_small: Search, small_space: SearchSpace, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    write_table(path, small_space, lambda number: number / 20)
    with pytest.raises(IncompatibleError, match=r"'successive_halving' .*table\.csv in space 'tiny' has one only"):
        search_small(evaluation=f"table:{path}", strategy="successive_halving")
    assert not (tmp_path / "run").exists()
