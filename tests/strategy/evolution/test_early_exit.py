"""Early exit refuses what is too large exactly, keeps the law of what is left, and gives up with a rate."""

import numpy as np
import pytest

from nasforge.errors import InfeasibleError
from nasforge.goals import Constraint
from nasforge.strategy import Problem
from nasforge.strategy.evolution.early_exit import EarlyExit
from nasforge.testing.small_spaces import path_space

SPACE = path_space(3)
COST = SPACE.cost("params")
EVERY = list(SPACE.enumerate())
PARAMS = np.asarray([COST(each) for each in EVERY])


def early_exit(bound, draws=2000, constraints=(), costs=("macs",)):
    problem = Problem(SPACE, constraints=constraints, costs={metric: SPACE.cost(metric) for metric in costs})
    return EarlyExit(problem, COST, bound, draws)


def test_what_costs_exactly_the_bound_is_refused():
    for params in np.unique(PARAMS):
        exit_ = early_exit(float(params))
        at = next(each for each, own in zip(EVERY, PARAMS, strict=True) if own == params)
        assert not exit_.accepts(at)
        assert early_exit(float(params) + 1).accepts(at)


def test_draws_are_below_the_bound_and_follow_the_law_of_those():
    bound = float(np.quantile(PARAMS, 0.4))
    exit_, rng = early_exit(bound), np.random.default_rng(0)
    inside = [each for each, own in zip(EVERY, PARAMS, strict=True) if own < bound]
    found = [exit_.sample(rng) for _ in range(40 * len(inside))]
    count = np.asarray([found.count(each) for each in inside])
    assert count.sum() == len(found)
    assert ((count - 40) ** 2 / 40).sum() < 1.7 * len(inside)  # chi square: each is as likely as the others
    share = len(inside) / len(EVERY)
    assert exit_.accepted == len(found)
    assert exit_.accepted / exit_.drawn == pytest.approx(share, abs=0.04)


def test_limits_hold_as_well():
    macs = np.asarray([SPACE.macs(each) for each in EVERY])
    limit = Constraint("macs", float(np.quantile(macs, 0.3)))
    exit_, rng = early_exit(float(np.quantile(PARAMS, 0.5)), constraints=(limit,)), np.random.default_rng(0)
    for _ in range(50):
        found = exit_.sample(rng)
        assert exit_.accepts(found)
        assert SPACE.macs(found) <= limit.bound


@pytest.mark.parametrize("draws", [1, 3, 500])
def test_a_bound_that_nothing_meets_ends_after_so_many_draws_with_the_rate(draws):
    exit_ = early_exit(float(PARAMS.min()), draws)
    with pytest.raises(InfeasibleError, match=rf"0 of {draws} random .* rate of acceptance of 0 %, and the least seen"):
        exit_.sample(np.random.default_rng(0))


def test_the_rate_tells_of_all_draws_so_far():
    exit_, rng = early_exit(1.0, draws=3), np.random.default_rng(0)
    exit_.drawn, exit_.accepted = 97, 5
    with pytest.raises(InfeasibleError, match=r"5 of 100 random .* rate of acceptance of 5 %"):
        exit_.sample(rng)


def test_without_a_bound_the_problem_draws():
    exit_ = early_exit(np.inf)
    assert [exit_.sample(np.random.default_rng(i)) for i in range(5)] == [
        exit_.problem.sample(np.random.default_rng(i)) for i in range(5)
    ]
    assert exit_.drawn == 0
