"""The reward of NASNet's controller: the first objective, times costs to the power w."""

import pytest

from nasforge.goals import Constraint, Objective
from nasforge.rng import generator
from nasforge.strategy import Evaluation, Problem
from nasforge.testing.small_spaces import path_space

pytestmark = pytest.mark.plugins
rl = pytest.importorskip("nasforge_strategies.nasnet_rl")


def problem_of(space, objectives, constraints=()):
    return Problem(space, objectives, constraints, {metric: space.cost(metric) for metric in ("params", "macs")})


def rewarded(objectives, constraints, metrics, architecture=None, **options):
    space = path_space(2)
    strategy = rl.NASNetRL(**options)
    strategy.setup(problem_of(space, objectives, constraints))
    architecture = architecture or space.largest()
    return strategy.reward(Evaluation(0, architecture, metrics)), space, architecture


def test_without_limits_the_reward_is_the_first_objective():
    assert rewarded((Objective("accuracy_valid"),), (), {"accuracy_valid": 0.7})[0] == 0.7


@pytest.mark.parametrize("w", [-0.07, -1.0, 0.0])
def test_limits_multiply_by_the_cost_ratio_to_the_power_w(w):
    bound = Constraint("macs", 123_456.0)
    found, space, architecture = rewarded((Objective("accuracy_valid"),), (bound,), {"accuracy_valid": 0.7}, w=w)
    assert found == pytest.approx(0.7 * (space.macs(architecture) / 123_456.0) ** w)


def test_further_objectives_count_once_and_in_their_direction():
    both = (Objective("accuracy_valid"), Objective("macs", "minimize"))
    found, space, architecture = rewarded(both, (), {"accuracy_valid": 0.7})
    assert found == pytest.approx(0.7 * space.macs(architecture) ** -0.07)
    limited, _, _ = rewarded(both, (Constraint("macs", 1000.0),), {"accuracy_valid": 0.7})
    assert limited == pytest.approx(0.7 * (space.macs(architecture) / 1000.0) ** -0.07)
    more = (Objective("accuracy_valid"), Objective("score"))
    assert rewarded(more, (), {"accuracy_valid": 0.7, "score": 5.0})[0] == pytest.approx(0.7 * 5.0**0.07)


def test_less_is_better_where_the_objective_says_so():
    rewards = [
        rewarded((Objective("nll_valid", "minimize"),), (), {"nll_valid": value})[0] for value in (0.0, 0.5, 3.0)
    ]
    assert rewards == [1.0, pytest.approx(2 / 3), 0.25]


def test_what_is_missing_is_a_failure():
    strategy = rl.NASNetRL()
    strategy.setup(problem_of(path_space(2), (Objective("accuracy_valid"), Objective("score"))))
    (proposal,) = strategy.ask(1, generator(0, "ask", 0))
    strategy.tell([Evaluation(0, proposal.architecture, {"accuracy_valid": 0.5})])
    assert [each.reward for each in strategy._samples] == [0.0]
