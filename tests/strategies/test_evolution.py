"""Regularised evolution: age kills, the best of S drawn has the child."""

import numpy as np
import pytest

from nasforge.errors import UsageError
from nasforge.goals import Constraint
from nasforge.rng import generator
from nasforge.strategy import Evaluation, Problem
from nasforge.testing.small_spaces import path_space

pytestmark = pytest.mark.plugins
evolution = pytest.importorskip("nasforge_strategies.evolution")

SPACE = path_space(6)


def problem(bound=None):
    costs = {metric: SPACE.cost(metric) for metric in ("params", "macs")}
    return Problem(SPACE, constraints=() if bound is None else (Constraint("macs", bound),), costs=costs)


def searched(strategy, rounds, accuracy, bound=None, seed=0):
    """Ask and tell one by one; return all evaluations in order."""
    strategy.setup(problem(bound))
    told = []
    for number in range(rounds):
        (proposal,) = strategy.ask(1, generator(seed, "ask", number))
        result = Evaluation(number, proposal.architecture, {"accuracy_valid": accuracy(proposal.architecture)})
        strategy.tell([result])
        told.append(result)
    return told


def distance(first, second):
    return sum(a != b for a, b in zip(first.decisions, second.decisions, strict=True))


def test_the_oldest_dies_even_if_it_is_the_best():
    strategy = evolution.RegularisedEvolution(population=5, sample=2)
    scores = iter([1.0] + [0.1] * 30)
    told = searched(strategy, 20, lambda a: next(scores))
    assert [a for a, _ in strategy._alive] == [each.architecture for each in told[-5:]]
    assert told[0].architecture not in [a for a, _ in strategy._alive][:0]
    assert min(loss for _, loss in strategy._alive) == -0.1


def test_with_many_contestants_every_child_is_one_mutation_of_the_best_alive():
    strategy = evolution.RegularisedEvolution(population=200, sample=200)
    told = searched(strategy, 200, SPACE.macs)
    strategy.sample = 20_000  # all but surely everybody takes part
    best = max(told, key=lambda e: e.metrics["accuracy_valid"]).architecture
    children = [p.architecture for p in strategy.ask(50, np.random.default_rng(0))]
    assert all(distance(child, best) == 1 for child in children)


def test_with_one_contestant_every_one_alive_has_children():
    strategy = evolution.RegularisedEvolution(population=4, sample=1)
    told = searched(strategy, 4, SPACE.macs)
    children = [p.architecture for p in strategy.ask(300, np.random.default_rng(0))]
    near = [sum(distance(child, each.architecture) == 1 for child in children) for each in told]
    assert min(near) > 300 / 4 * 0.6


def test_the_first_population_is_random_and_not_descended():
    strategy = evolution.RegularisedEvolution(population=30, sample=3)
    told = searched(strategy, 30, lambda a: 0.5)
    assert [each.architecture for each in told] == [problem().sample(generator(0, "ask", i)) for i in range(30)]


def test_children_get_better_than_chance():
    strategy = evolution.RegularisedEvolution(population=10, sample=4)
    told = searched(strategy, 150, SPACE.params)
    early, late = ([e.metrics["accuracy_valid"] for e in part] for part in (told[:10], told[-20:]))
    assert np.mean(late) > np.max(early)


def test_children_are_within_the_limits():
    bound = float(np.quantile(SPACE.cost("macs").batch(SPACE.sample_batch(500, np.random.default_rng(0))), 0.1))
    told = searched(evolution.RegularisedEvolution(population=8, sample=3), 80, SPACE.macs, bound)
    assert all(SPACE.macs(each.architecture) <= bound for each in told)


def test_failures_do_not_have_children():
    strategy = evolution.RegularisedEvolution(population=10, sample=10)
    strategy.setup(problem())
    proposals = strategy.ask(10, np.random.default_rng(1))
    survivor = proposals[4].architecture
    for number, proposal in enumerate(proposals):
        error = None if proposal.architecture == survivor else "it failed"
        metrics = {"accuracy_valid": 0.01} if error is None else {}
        strategy.tell([Evaluation(number, proposal.architecture, metrics, error=error)])
    strategy.sample = 2000
    assert all(distance(p.architecture, survivor) == 1 for p in strategy.ask(20, np.random.default_rng(2)))


@pytest.mark.parametrize(("population", "sample"), [(5, 6), (0, 0), (3, 0)])
def test_impossible_sizes_are_refused(population, sample):
    with pytest.raises(UsageError, match="population"):
        evolution.RegularisedEvolution(population=population, sample=sample)
