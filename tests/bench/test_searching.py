"""One search on a table: what a strategy hears, what it would choose, what repetitions and failures count."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from nasforge.bench.searching import Allowance, Contest, search_suite
from nasforge.bench.suites import Suite
from nasforge.errors import DataError, UsageError
from nasforge.evaluate import TabularEvaluator
from nasforge.goals import hypervolume
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Input, SearchSpace, choice
from nasforge.strategy import Evaluation, Proposal, Strategy

VALID = {(0,): 0.50, (1,): 0.70, (2,): 0.60, (3,): 0.65}
TRUE = {(0,): 0.55, (1,): 0.60, (2,): 0.75, (3,): 0.70}
SECONDS = {(0,): 10.0, (1,): 20.0, (2,): 30.0, (3,): 40.0}


def space() -> SearchSpace:
    x = Conv(choice(1, 2, 3, 4, name="width"))(Input(3, 8, 8))
    return SearchSpace({"logits": Linear(2)(GlobalPool()(x))}, name="four")


def suite(**changes: object) -> Suite:
    rows = {key: {"accuracy_valid": VALID[key], "accuracy": TRUE[key], "train_seconds": SECONDS[key]} for key in VALID}
    return Suite("four", TabularEvaluator(space(), rows), **changes)  # type: ignore[arg-type]


class Listed(Strategy):
    """Proposes what it was given, and keeps what it is told."""

    def __init__(self, options: Sequence[int], fidelities: Sequence[float | None] = ()) -> None:
        self.options, self.fidelities = list(options), list(fidelities) or [None] * len(options)
        self.heard: list[Evaluation] = []
        self.asked = 0

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        found = []
        for place in range(self.asked, min(self.asked + n, len(self.options))):
            architecture = self.problem.space.from_decisions((self.options[place],))
            found.append(Proposal(architecture, self.fidelities[place]))
        self.asked += len(found)
        return found

    def tell(self, results: Sequence[Evaluation]) -> None:
        self.heard.extend(results)


def searched(strategy: Strategy, given: Suite, evaluations: int | None = 10, seconds: float | None = None, **more):
    return search_suite(
        Contest.of(given, more.get("objectives", ("accuracy",))), strategy, 0, Allowance(evaluations, seconds)
    )


def test_the_truth_is_that_of_the_best_feedback_so_far_and_is_never_told() -> None:
    strategy = Listed([0, 2, 3, 1, 0])
    trace = searched(strategy, suite())
    assert [trace.at_evaluations(each).truth for each in range(6)] == [None, 0.55, 0.75, 0.70, 0.60, 0.60]
    assert [trace.at_seconds(each).truth for each in (9, 10, 39, 40, 80, 100)] == [None, 0.55, 0.55, 0.75, 0.70, 0.60]
    assert all("accuracy" not in each.metrics and each.error is None for each in strategy.heard)
    assert [each.metrics["accuracy_valid"] for each in strategy.heard] == [0.50, 0.60, 0.65, 0.70, 0.50]
    assert trace.chosen == (1,)
    assert trace.exhausted


def test_repetitions_count_as_evaluations_cost_nothing_and_say_the_same() -> None:
    rows = {key: {"accuracy_valid": (0.1, 0.2, 0.3), "accuracy": TRUE[key], "train_seconds": 5.0} for key in VALID}
    strategy = Listed([0] * 12)
    trace = searched(strategy, Suite("four", TabularEvaluator(space(), rows)), evaluations=12)
    assert (trace.evaluations, trace.distinct, trace.seconds, trace.exhausted) == (12, 1, 5.0, False)
    assert len({each.metrics["accuracy_valid"] for each in strategy.heard}) == 1
    assert [each.seconds for each in strategy.heard] == [5.0] + [0.0] * 11


def test_missing_architectures_and_nan_are_failures_that_are_told_and_counted() -> None:
    rows = {
        (0,): {"accuracy_valid": 0.5, "accuracy": 0.5},
        (1,): {"accuracy_valid": math.nan, "accuracy": 0.9},
        (2,): {"accuracy_valid": 0.6, "accuracy": math.nan},
    }
    strategy = Listed([1, 3, 2, 0])
    trace = searched(strategy, Suite("four", TabularEvaluator(space(), rows)))
    assert [each.error is not None for each in strategy.heard] == [True, True, True, False]
    assert trace.failures == 3
    assert trace.first_failure is not None
    assert "no accuracy_valid of" in trace.first_failure
    assert trace.steps[-1].truth == 0.5
    assert trace.steps[-1].evaluations == 4


def test_seconds_end_a_search_and_evaluations_do_where_both_are_given() -> None:
    assert searched(Listed([0, 1, 2, 3]), suite(), None, 30.0).evaluations == 2
    assert searched(Listed([0, 1, 2, 3]), suite(), None, 31.0).evaluations == 3
    assert searched(Listed([0, 1, 2, 3]), suite(), 1, 1000.0).evaluations == 1
    assert not searched(Listed([0, 1, 2, 3]), suite(), 4).exhausted


def test_a_search_that_only_repeats_itself_ends_though_it_spends_no_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasforge.bench.searching.MOST_EVALUATIONS", 50)
    trace = searched(Listed([0] * 60), suite(), None, 11.0)
    assert (trace.evaluations, trace.seconds, trace.exhausted) == (50, 10.0, True)


def test_an_evaluation_without_seconds_is_no_gift_where_seconds_are_spent() -> None:
    rows = {(0,): {"accuracy_valid": 0.9, "accuracy": 0.9}}
    rows |= {key: {"accuracy_valid": 0.5, "accuracy": 0.5, "train_seconds": 9.0} for key in ((1,), (2,), (3,))}
    given = Suite("four", TabularEvaluator(space(), rows))
    assert searched(Listed([0, 1]), given, None, 100.0).failures == 1
    assert searched(Listed([0, 1]), given).failures == 0


def test_an_architecture_trained_longer_is_chosen_before_one_with_better_feedback() -> None:
    short = {key: {"accuracy_valid": 0.9, "accuracy": 0.1, "train_seconds": 1.0} for key in VALID}
    whole = {key: {"accuracy_valid": VALID[key], "accuracy": TRUE[key], "train_seconds": 9.0} for key in VALID}
    table = TabularEvaluator(space(), whole, {3.0: short, 9.0: whole})
    strategy = Listed([0, 1, 0, 1, 2, 0], [3.0, 3.0, 9.0, None, 3.0, None])
    trace = searched(strategy, Suite("four", table))
    assert [trace.at_evaluations(each).truth for each in range(1, 6)] == [0.55, 0.55, 0.55, 0.60, 0.60]
    assert trace.seconds == 1 + 1 + 9 + 9 + 1
    assert trace.distinct == 5  # the last is the third again: without a fidelity it is the full one
    assert trace.partial == 3
    assert (strategy.problem.fidelities, strategy.problem.full_fidelity) == ((3.0, 9.0), 9.0)
    trace = searched(Listed([0, 1], [4.0, 9.0]), Suite("four", table))
    assert trace.failures == 1
    assert "fidelity 4" in str(trace.first_failure)


def test_the_hypervolume_is_that_of_the_truth_of_the_front_of_the_feedback() -> None:
    latency = {(0,): 1.0, (1,): 2.0, (2,): 3.0, (3,): math.nan}
    given = suite(measured={"latency_ms": latency}, device="clock")
    contest = Contest.of(given, ("accuracy", "latency"))
    assert contest.optimum == 0.75  # of what the device can run
    reference, whole = contest.reference, hypervolume([(-0.55, 1), (-0.6, 2), (-0.75, 3)], contest.reference or ())
    assert reference == pytest.approx((-0.55 + 0.1 * 0.2, 3 + 0.1 * 2))
    strategy = Listed([3, 2, 1, 0])
    trace = search_suite(contest, strategy, 0, Allowance(4))
    assert trace.failures == 1
    assert "latency_ms of device 'clock'" in str(trace.first_failure)
    assert strategy.heard[1].metrics["latency_ms"] == 3.0
    volumes = [trace.at_evaluations(each).volume for each in (2, 3, 4)]
    # architecture 1 beats 2 in feedback and in latency, though not in truth, so 2 leaves the front
    fronts = [[(-0.75, 3)], [(-0.6, 2)], [(-0.55, 1), (-0.6, 2)]]
    assert volumes == pytest.approx([hypervolume(each, reference or ()) / whole for each in fronts])


def test_formulas_give_an_objective_that_the_table_lacks() -> None:
    strategy = Listed([0, 3])
    searched(strategy, suite(), objectives=("accuracy", "params"))
    assert [each.metrics["params"] for each in strategy.heard] == [
        space().params(space().from_decisions((option,))) for option in (0, 3)
    ]
    assert strategy.problem.objectives[1].direction == "minimize"


def test_an_objective_that_the_table_does_not_know_is_refused_with_those_it_knows() -> None:
    with pytest.raises(UsageError, match=r"available: accuracy, macs, params\. Name a device"):
        Contest.of(suite(), ("accuracy", "latency"))
    with pytest.raises(UsageError, match="Did you mean 'params'"):
        Contest.of(suite(), ("accuracy", "parms"))


def test_a_suite_without_a_truth_is_refused() -> None:
    with pytest.raises(DataError, match="available: accuracy, accuracy_valid"):
        suite(truth="top5")
    with pytest.raises(DataError, match="no architecture of suite 'four' has both"):
        Contest.of(suite(measured={"latency_ms": {}}), ("accuracy", "latency"))


def test_the_checksum_follows_every_value() -> None:
    first, same = suite().checksum, suite().checksum
    assert first == same
    assert len({first, suite(feedback="accuracy").checksum, suite(measured={"latency_ms": {(0,): 1.0}}).checksum}) == 3
    changed = {(0,): {"accuracy_valid": 0.5, "accuracy": 0.5000001}}
    assert (
        Suite("a", TabularEvaluator(space(), changed)).checksum
        != Suite("a", TabularEvaluator(space(), {(0,): {"accuracy_valid": 0.5, "accuracy": 0.5}})).checksum
    )
