"""Hard limits: only what is within them is delivered, the file that is delivered is measured, and a miss is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nasforge import SearchResult
from nasforge.errors import EvaluationError, InfeasibleError
from nasforge.testing.target import MemoryTarget

pytestmark = pytest.mark.plugins

Search = Callable[..., SearchResult]


def test_a_limit_that_is_met_is_verified_by_measuring_the_delivered_file(search_small: Search, tmp_path: Path) -> None:
    result = search_small(max_latency=30.0)
    best = result.best
    assert best is not None
    assert (result.status, best["verified"]) == ("finished", True)
    size = (tmp_path / "run" / "model.onnx").stat().st_size
    assert best["metrics"]["latency_ms"] == pytest.approx(size * 1e-3)
    assert best["metrics"]["latency_error"] == pytest.approx(
        best["metrics"]["latency_ms_predicted"] / best["metrics"]["latency_ms"] - 1
    )
    assert best["provenance"]["latency"] == "measured by size"


@pytest.mark.parametrize("strategy", ["random", "evolution"])
def test_every_proposal_is_within_the_limits(search_small: Search, strategy: str, tmp_path: Path) -> None:
    limit = 700
    result = search_small(strategy=strategy, budget="30-evaluations", max_params=limit, retrain=False)
    assert all(entry["metrics"]["params"] <= limit for entry in [*result.finalists, *result.document["pareto"]])
    lines = [json.loads(line) for line in (tmp_path / "run" / "study.log").read_text().splitlines()]
    metrics = [line["user_attrs"]["metrics"] for line in lines if "metrics" in line.get("user_attrs", {})]
    assert len(metrics) == result.document["evaluations"] >= 8  # random search stops when it has seen them all
    assert all(found["params"] <= limit for found in metrics)


def test_after_a_miss_the_best_that_are_likely_within_are_measured_next(search_small: Search) -> None:
    # files are larger than their weights by about 3 kB, so every prediction is far too low
    free = search_small(budget="12-evaluations", finalists=12, retrain=False)
    sizes = sorted(entry["metrics"]["latency_ms"] for entry in free.finalists)
    assert len(sizes) == 12
    limit = sizes[2]
    result = search_small(
        budget="12-evaluations", finalists=2, max_latency=limit, out=free.folder.parent / "limited", retrain=False
    )
    best = result.best
    assert best is not None
    assert result.status == "finished"
    assert best["metrics"]["latency_ms"] <= limit
    order = [entry["id"] for entry in free.finalists]
    measured = [entry["id"] for entry in result.finalists]
    assert measured == sorted(measured, key=order.index)  # best first
    within = [entry["id"] for entry in result.finalists if entry["metrics"]["latency_ms"] <= limit]
    assert best["id"] == within[0]


def test_where_no_finalist_is_within_the_fastest_is_delivered_and_the_limit_is_missed(search_small: Search) -> None:
    result = search_small(target=MemoryTarget(factor=100.0), max_latency=30.0)
    best = result.best
    assert best is not None
    assert (result.status, best["verified"]) == ("limit_missed", False)
    assert best["metrics"]["latency_ms"] == min(entry["metrics"]["latency_ms"] for entry in result.finalists)
    assert (result.folder / "model.onnx").exists()


def test_a_target_that_cannot_be_measured_leaves_the_result_unverified_and_says_why(search_small: Search) -> None:
    result = search_small(target=MemoryTarget(unavailable="it is far away"), max_latency=30.0)
    best = result.best
    assert best is not None
    assert (result.status, best["verified"]) == ("finished", False)
    assert "it is far away" in best["provenance"]["unverified"]
    assert "latency_ms" not in best["metrics"]
    assert best["metrics"]["latency_ms_predicted"] <= 30.0


def test_a_limit_below_everything_names_the_least_and_leaves_no_folder(search_small: Search, tmp_path: Path) -> None:
    with pytest.raises(
        InfeasibleError, match=r"--max-latency 0\.001 ms was asked for, but the fastest.* ms;"
    ) as caught:
        search_small(max_latency=0.001)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "run").exists()


def test_where_every_evaluation_diverges_the_run_fails_with_the_first_reason(search_small: Search) -> None:
    with pytest.raises(EvaluationError, match=r"all 4 evaluations failed; the first: the loss is .*lower the learning"):
        search_small(training={"lr": 1e30, "evaluation_epochs": 3, "clip": 0.0})


def test_result_json_has_the_schema(search_small: Search) -> None:
    result = search_small()
    assert json.loads((result.folder / "result.json").read_text()) == result.document
    assert result.document["schema"] == 1
    assert {"id", "architecture", "network_id", "metrics", "provenance", "verified"} <= set(result.document["best"])
    assert {"accuracy", "accuracy_valid", "latency_ms", "latency_ms_predicted", "params", "macs"} <= set(result.metrics)
    assert result.document["evaluations"] == 4
    assert {"evaluating", "measuring", "retraining", "testing", "total"} <= set(result.document["seconds"])
