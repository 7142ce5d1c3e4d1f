"""A truth table as a suite: what a search hears of it, which way is better, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from nasforge import registry
from nasforge.bench.searching import Allowance, Contest, search_suite
from nasforge.bench.suites import truth_file as of_file
from nasforge.bench.suites.suite import Suite
from nasforge.bench.truth.asked import Asked
from nasforge.cli.bench import count_or_list
from nasforge.errors import UsageError
from nasforge.evaluate.truth_table import MEASURED, TruthTable
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.run.evaluating import LookedUp
from nasforge.run.local import Job
from nasforge.space import Input, SearchSpace, choice
from nasforge.strategy import Evaluation, Proposal, Strategy

TEST = {"accuracy", "nll"}


def space() -> SearchSpace:
    x = Conv(choice(1, 2, 3, 4, name="width"))(Input(3, 8, 8))
    return SearchSpace({"logits": Linear(2)(GlobalPool()(x))}, name="four")


def table() -> TruthTable:
    """Return a table of four networks in which nll falls as accuracy rises, but for the best of each."""
    given, figures = space(), np.arange(4.0)
    values = {"accuracy": figures / 10, "nll": 3 - figures, "accuracy_valid": figures / 9, "nll_valid": 4 - figures}
    about = {
        "space": {"name": "four", "options": None, "fingerprint": given.fingerprint, "size": 4,
                  "input_shape": [3, 8, 8], "classes": 2},
        "data": {}, "training": {}, "seeds": [0, 1],
    }  # fmt: skip
    architectures = [given.from_decisions((place,)) for place in range(4)]
    return TruthTable(
        about,
        tuple(each.decisions for each in architectures),
        tuple(given.network_id(each) for each in architectures),
        np.asarray([given.params(each) for each in architectures]),
        np.asarray([given.macs(each) for each in architectures]),
        {name: np.stack([values.get(name, figures + 1)] * 2, axis=1) for name in MEASURED},
    )


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(of_file, "space_of", lambda _: space())
    path = tmp_path / "truth.json"
    path.write_text(table().to_text(), encoding="utf-8")
    return str(path)


class All(Strategy):
    """Proposes every architecture in turn, and keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[Evaluation] = []

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        return [Proposal(self.problem.space.from_decisions((len(self.heard) % 4,)))]

    def tell(self, results: Sequence[Evaluation]) -> None:
        self.heard.extend(results)


def searched(suite: Suite, *objectives: str) -> tuple[list[Evaluation], float | None]:
    """Return what a search of all four architectures hears, and the truth of what it would choose."""
    strategy = All()
    trace = search_suite(Contest.of(suite, objectives or ("accuracy",)), strategy, 0, Allowance(4))
    return strategy.heard, trace.steps[-1].truth


@pytest.mark.parametrize(("feedback", "truth", "best"), [("accuracy_valid", "accuracy", 0.3), ("nll_valid", "nll", 0)])
def test_no_metric_of_test_is_heard_and_the_direction_is_that_of_the_metric(
    feedback: str, truth: str, best: float, file: str
) -> None:
    for suite in (of_file.truth_file(file, feedback), of_file.truth_file(file, feedback, truth)):
        heard, chosen = searched(suite)
        assert heard
        assert all(feedback in each.metrics and not TEST & set(each.metrics) for each in heard)
        assert chosen == pytest.approx(best)
        assert not TEST & set(suite.objectives) - {"accuracy"}


@pytest.mark.parametrize("objective", ["macs", "nll_valid"])
def test_no_metric_of_test_is_heard_beside_a_second_objective(objective: str, file: str) -> None:
    heard, _ = searched(of_file.truth_file(file), "accuracy", objective)
    assert all(objective in each.metrics and not TEST & set(each.metrics) for each in heard)


def test_accuracy_is_maximised_beside_nll_too(file: str) -> None:
    suite = of_file.truth_file(file, "nll_valid")
    assert suite.goal("accuracy_valid").objective.direction == "maximize"
    assert suite.goal("macs").objective.direction == "minimize"


def test_nll_of_test_is_no_objective(file: str) -> None:
    with pytest.raises(UsageError, match="nll_valid"):
        Contest.of(of_file.truth_file(file), ("accuracy", "nll"))


def test_a_run_that_looks_up_in_a_truth_table_hears_nothing_of_test() -> None:
    evaluator = table().evaluator(space())
    found = LookedUp(evaluator)(Job(0, space().smallest(), None, 0))
    assert set(evaluator.evaluate(space().smallest())) >= TEST
    assert set(found) == {"accuracy_valid", "nll_valid", "train_seconds", "params", "macs"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"feedback": "nll_valid", "truth": "accuracy"}, "feedback=accuracy_valid"),
        ({"feedback": "accuracy_valid", "truth": "nll"}, "feedback=nll_valid"),
        ({"feedback": "accuracy"}, "feedback=accuracy; expected accuracy_valid or nll_valid"),
        ({"feedback": "nll", "truth": "nll"}, "feedback=nll; expected"),
        ({"feedback": "train_seconds"}, "feedback=train_seconds; expected"),
        ({"truth": "accuracy_valid"}, "truth=accuracy_valid; expected accuracy or nll"),
    ],
)
def test_feedback_of_test_and_metrics_of_opposite_sign_are_refused(
    options: dict[str, str], said: str, file: str
) -> None:
    with pytest.raises(UsageError) as caught:
        of_file.truth_file(file, **options)
    assert said in str(caught.value)
    assert str(caught.value).count(".\n") == 0


@pytest.mark.parametrize("seeds", [3, [5], [5, 7], (0,)])
def test_the_seeds_of_a_command_are_read_as_they_were_given(seeds: int | list[int]) -> None:
    asked = Asked("nb201", "digits", {}, {}, {}, None, seeds)
    words = asked.text().split()
    typed = count_or_list(words[words.index("--seeds") + 1])
    assert typed == (seeds if isinstance(seeds, int) else list(seeds))
    assert dataclasses.replace(asked, seeds=typed).text() == asked.text()


def a_sample(file: str) -> str:
    """Leave two of the four rows of a table, and return its path."""
    content = json.loads(Path(file).read_text(encoding="utf-8"))
    content["rows"] = content["rows"][1:3]
    Path(file).write_text(json.dumps(content), encoding="utf-8")
    return file


def test_the_table_of_a_sample_confines_searches_to_what_it_holds(file: str) -> None:
    assert of_file.truth_file(file).problem([], None).filter is None
    suite = of_file.truth_file(a_sample(file))
    problem = suite.problem([suite.goal("accuracy")], None)
    assert {problem.sample(np.random.default_rng(seed)).decisions for seed in range(40)} == {(1,), (2,)}
    assert problem.feasible_rows(np.arange(4)[:, None]).tolist() == [False, True, True, False]


@pytest.mark.plugins
@pytest.mark.parametrize("strategy", ["random", "evolution", "local_search", "nsga2", "optuna", "surrogate"])
def test_strategies_propose_nothing_that_the_sample_lacks(strategy: str, file: str) -> None:
    suite = of_file.truth_file(a_sample(file))
    trace = search_suite(Contest.of(suite, ("accuracy",)), registry.load("strategies", strategy)(), 0, Allowance(6))
    assert trace.steps[-1].truth == pytest.approx(0.2)
    assert trace.failures == 0


def test_a_sample_of_nearly_nothing_is_no_suite(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_file, "LEAST_COVERED", 0.51)
    with pytest.raises(UsageError, match="2 of the 4 architectures of space 'four'"):
        of_file.truth_file(a_sample(file))
