"""NSGA-II: parents and children compete, fronts before crowding, limits on what is evaluated by violation."""

import numpy as np
import pytest

from nasforge.errors import UsageError
from nasforge.goals import Constraint, Objective, dominates
from nasforge.rng import generator
from nasforge.strategy import Evaluation, Problem
from nasforge.testing.small_spaces import path_space

pytestmark = pytest.mark.plugins
nsga2 = pytest.importorskip("nasforge_strategies.nsga2")

SPACE = path_space(6)
OBJECTIVES = (Objective("params"), Objective("macs", "minimize"))


def searched(strategy, rounds, *, constraints=()):
    costs = {metric: SPACE.cost(metric) for metric in ("params", "macs")}
    strategy.setup(Problem(SPACE, OBJECTIVES, constraints, {"macs": costs["macs"]}))
    told = []
    for number in range(rounds):
        (proposal,) = strategy.ask(1, generator(0, "ask", number))
        found = {name: cost(proposal.architecture) for name, cost in costs.items()}
        told.append(Evaluation(number, proposal.architecture, found))
        strategy.tell(told[-1:])
    return told


def losses(result):
    return tuple(objective.loss(result.metrics) for objective in OBJECTIVES)


def test_in_every_generation_no_survivor_is_dominated_by_one_that_died():
    strategy = nsga2.NSGA2(population=8)
    generations = []
    survive = strategy._survive
    strategy._survive = lambda union: (survive(union), generations.append((list(union), list(strategy._parents))))
    searched(strategy, 80)
    assert [len(union) for union, _ in generations] == [8] + [16] * 9
    for union, parents in generations:
        assert len(parents) == 8
        dead = [each for each in union if each not in parents]
        assert not any(dominates(one.losses, member.losses) for one in dead for member in parents)


def test_the_ends_of_the_front_survive():
    strategy = nsga2.NSGA2(population=6)
    told = searched(strategy, 60)
    for axis in (0, 1):
        assert min(m.losses[axis] for m in strategy._parents) == min(losses(each)[axis] for each in told)


def test_nothing_is_proposed_twice_while_there_is_something_new():
    told = searched(nsga2.NSGA2(population=10), 200)
    assert len({each.architecture for each in told}) == 200


def test_limits_on_evaluated_metrics_come_before_objectives():
    params = SPACE.cost("params").batch(SPACE.sample_batch(500, np.random.default_rng(0)))
    bound = float(np.quantile(params, 0.2))
    strategy = nsga2.NSGA2(population=8)
    searched(strategy, 80, constraints=(Constraint("params", bound),))
    assert all(SPACE.params(each.architecture) <= bound for each in strategy._parents)


def test_the_preset_of_the_article_has_a_hundred_parents():
    strategy = nsga2.NSGA2(preset="paper")
    searched(strategy, 100)
    assert len(strategy._parents) == 100


@pytest.mark.parametrize("options", [{"population": 1}, {"crossover": 2.0}, {"mutation": -0.1}, {"preset": "papr"}])
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError):
        nsga2.NSGA2(**options)
