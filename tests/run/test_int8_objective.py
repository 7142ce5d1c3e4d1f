"""Searching for the accuracy of the quantised network: measured on valid in every evaluation, by the file itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, final

import numpy as np
import pytest
import torch

from nasforge import SearchResult, UsageError
from nasforge.build import Supernet, build_network
from nasforge.errors import NasforgeError
from nasforge.evaluate import QuantisedJudge, SharedEvaluator, TrainedEvaluator
from nasforge.report.journal import read_journal
from nasforge.run.load import load
from nasforge.run.settings import Settings
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Context, Phase, WeightSharing
from nasforge.tasks.classification import Classification
from nasforge.tasks.dataset import DataSource
from nasforge.testing.target import MemoryTarget
from nasforge.training import TrainConfig, evaluate

pytestmark = pytest.mark.plugins

Search = Callable[..., SearchResult]
TASK = Classification()
METRIC = "accuracy_int8_valid"


@pytest.fixture
def int8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryTarget, "precision", "int8")


def test_every_evaluation_has_it_and_the_best_is_the_best_in_it(
    search_small: Search, small_space: SearchSpace, small_source: DataSource, int8: None
) -> None:
    result = search_small(objective="int8_accuracy", budget="4-evaluations", max_params="1k")
    assert result.document["objectives"] == [{"metric": METRIC, "direction": "maximize"}]
    told = [each for each in read_journal(result.folder).told if each.error is None]
    assert len(told) == 4
    assert all(0.0 <= each.metrics[METRIC] <= 1.0 for each in told)
    best = max(each["metrics"][METRIC] for each in result.finalists if f"{METRIC}_in_search" in each["metrics"])
    assert result.metrics[METRIC] == best
    inside = result.metrics[f"{METRIC}_in_search"]
    assert inside in {each.metrics[METRIC] for each in told}
    again = QuantisedJudge(TASK, small_source.sealed())(load(result.folder, small_space).module)
    assert again == {METRIC: result.metrics[METRIC]}
    assert result.best is not None
    assert "valid" in result.best["provenance"]["splits"][METRIC]


def test_other_searches_do_not_pay_for_it(search_small: Search, int8: None) -> None:
    result = search_small(budget="1-evaluations")
    assert METRIC not in result.metrics
    assert "accuracy_int8" in result.metrics


def test_it_is_that_of_the_file_and_near_the_float_networks(small_source: DataSource, small_space: SearchSpace) -> None:
    """On a sealed source, which refuses test; the network and its mode stay as they are."""
    source = small_source.sealed()
    network = build_network(small_space.lower(small_space.largest()), seed=0)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    (value,) = QuantisedJudge(TASK, source)(network).values()
    images = len(source.split("valid").labels)
    assert value * images == pytest.approx(round(value * images), abs=1e-4)
    assert abs(value - evaluate(network, source, TASK, "valid")["accuracy"]) <= 0.25
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_both_evaluators_add_what_a_judge_says_of_the_network_they_judged(
    small_source: DataSource, small_space: SearchSpace
) -> None:
    heard: list[int] = []

    def judge(network: torch.nn.Module) -> dict[str, float]:
        heard.append(sum(parameter.numel() for parameter in network.parameters()))
        return {"weight": 3.0}

    source, architecture = small_source.sealed(), small_space.smallest()
    trained = TrainedEvaluator(small_space, TASK, source, TrainConfig(epochs=1), judge)
    shared = SharedEvaluator(Supernet(small_space), TASK, source, judge=judge)
    for evaluator in (trained, shared):
        found = evaluator.evaluate(architecture)
        assert found["weight"] == 3.0
        assert heard[-1] == found["params"]
        assert {"accuracy_valid", "nll_valid"} <= set(found)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_a_judge_says_must_be_finite(small_source: DataSource, small_space: SearchSpace, value: float) -> None:
    evaluator = SharedEvaluator(
        Supernet(small_space), TASK, small_source.sealed(), judge=lambda network: {"weight": value}
    )
    with pytest.raises(NasforgeError, match="weight"):
        evaluator.evaluate(small_space.smallest())


@final
class OwnRating(WeightSharing):
    retrain: ClassVar[bool] = True

    def modules(self, problem: Any, seed: int) -> dict[str, torch.nn.Module]:
        return {"supernet": Supernet(problem.space, seed)}

    def optimisers(self, modules: Mapping[str, torch.nn.Module]) -> dict[str, torch.optim.Optimizer]:
        return {"weights": torch.optim.SGD(modules["supernet"].parameters(), 0.1)}

    def phases(self) -> list[Phase]:
        return [Phase("train")]

    def step(self, context: Context) -> dict[str, float]:
        return {}

    def derive(self) -> list[Architecture]:
        return []

    def rate(
        self, architectures: Sequence[Architecture], modules: Mapping[str, torch.nn.Module]
    ) -> list[dict[str, float]]:
        return [{"accuracy_valid": 0.5} for _ in architectures]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"target": MemoryTarget(), "precision": "float32"}, "target 'memory', which delivers no INT8 file"),
        ({"strategy": OwnRating()}, "which rates networks in its own way"),
        ({"objective": "int8_acuracy"}, "Did you mean 'int8_accuracy'"),
        ({"objective": 3}, "objective was given 3; expected a text"),
    ],
)
def test_where_it_cannot_be_measured_it_is_refused_before_anything_is_written(
    search_small: Search, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, given: dict[str, Any], sentence: str
) -> None:
    monkeypatch.setattr(MemoryTarget, "precision", given.pop("precision", "int8"))
    with pytest.raises(UsageError, match=sentence):
        search_small(**{"objective": "int8_accuracy", **given})
    assert not (tmp_path / "run").exists()


def test_a_table_knows_no_int8_accuracy(
    search_small: Search, small_space: SearchSpace, tmp_path: Any, int8: None
) -> None:
    rng = np.random.default_rng(0)
    rows = [small_space.describe(small_space.sample(rng)) for _ in range(2)]
    lines = ["width,kernel,accuracy_valid", *(f"{row['width']},{row['kernel']},0.5" for row in rows)]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    with pytest.raises(UsageError, match="where no network is trained"):
        search_small(objective="int8_accuracy", evaluation=f"table:{tmp_path / 'table.csv'}")


@pytest.mark.parametrize("name", ["accuracy", "int8_accuracy", "nll", "accuracy_valid", "nll_valid"])
def test_the_objective_survives_config_yaml_by_the_name_it_was_given(name: str) -> None:
    assert Settings.read(Settings.read({"objective": name}).to_json()).objective == name


def test_less_nll_is_better(search_small: Search) -> None:
    result = search_small(objective="nll")
    assert result.document["objectives"] == [{"metric": "nll_valid", "direction": "minimize"}]
    trained = [each for each in result.finalists if "nll_valid_in_search" in each["metrics"]]
    assert result.metrics["nll_valid"] == min(each["metrics"]["nll_valid"] for each in trained)
