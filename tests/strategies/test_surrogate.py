"""Surrogate: nothing comes twice, scores choose the first population, the predictor beats chance and ignores luck."""

import itertools

import numpy as np
import pytest

from nasforge.errors import UsageError
from nasforge.goals import Constraint, Objective
from nasforge.rng import generator
from nasforge.strategy import Evaluation, Problem
from nasforge.testing.small_spaces import path_space

pytestmark = pytest.mark.plugins
surrogate = pytest.importorskip("nasforge_strategies.surrogate")
Surrogate = surrogate.Surrogate

SMALL, SPACE = path_space(3), path_space(6)
NAMES = ("accuracy_valid",)


def gain(space):
    """A sum of gains of decisions and of pairs of neighbouring ones, as an accuracy."""
    rng = np.random.default_rng(5)
    single = rng.standard_normal((len(space.choices), max(space.sizes)))
    pairs = 0.5 * rng.standard_normal((len(space.choices), max(space.sizes), max(space.sizes)))

    def accuracy(architecture):
        chosen = architecture.decisions
        total = sum(single[place, option] for place, option in enumerate(chosen))
        return total + sum(pairs[place, a, b] for place, (a, b) in enumerate(itertools.pairwise(chosen)))

    return accuracy


def searched(strategy, problem, rounds, metrics, n=1, seed=0):
    strategy.setup(problem)
    found = []
    while len(found) < rounds:
        proposals = strategy.ask(n, generator(seed, "ask", len(found)))
        if not proposals:
            break
        told = [Evaluation(len(found) + i, p.architecture, metrics(p.architecture)) for i, p in enumerate(proposals)]
        strategy.tell(told)
        found += [each.architecture for each in told]
    return found


def one(accuracy):
    return lambda architecture: {"accuracy_valid": accuracy(architecture)}


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("acquisition", ["expected_improvement", "thompson"])
def test_every_architecture_comes_once_and_then_nothing(acquisition, n):
    strategy = Surrogate(initial=5, candidates=40, acquisition=acquisition, tries=2000)
    found = searched(strategy, Problem(SMALL), 1000, one(gain(SMALL)), n)
    assert len(found) == SMALL.size
    assert set(found) == set(SMALL.enumerate())


@pytest.mark.parametrize("acquisition", ["expected_improvement", "thompson"])
def test_the_best_is_found_long_before_chance_would(acquisition):
    accuracy = gain(SPACE)
    best = max(map(accuracy, SPACE.enumerate()))
    found = searched(Surrogate(acquisition=acquisition), Problem(SPACE), 70, one(accuracy))
    assert SPACE.size > 10 * 70
    assert max(map(accuracy, found)) == pytest.approx(best)


def test_noise_is_not_chased():
    """Under noise as large as the signal's deviation, later proposals are better in truth than the first ones."""
    accuracy, rng = gain(SPACE), np.random.default_rng(0)
    found = searched(Surrogate(), Problem(SPACE), 100, one(lambda a: accuracy(a) + 1.5 * rng.standard_normal()))
    truth = [accuracy(each) for each in found]
    every = sorted(map(accuracy, SPACE.enumerate()))
    assert np.mean(truth[-30:]) > every[int(0.95 * len(every))]


def test_scores_choose_the_first_population():
    problem = Problem(SPACE, scores={"size": lambda found: np.asarray([float(SPACE.params(each)) for each in found])})
    strategy = Surrogate(initial=5, first_pool=100)
    strategy.setup(problem)
    first = [each.architecture for each in strategy.ask(5, generator(0, "ask", 0))]
    sizes = [SPACE.params(each) for each in first]
    middle = np.median([SPACE.params(each) for each in SPACE.enumerate()])
    assert min(sizes) > middle
    assert sizes == sorted(sizes, reverse=True)


def test_scores_that_are_nan_or_infinite_are_borne():
    def broken(found):
        return np.asarray([[np.nan, np.inf, 1.0][sum(each.decisions) % 3] for each in found])

    for scores in ({"broken": broken}, {"nothing": lambda found: np.full(len(found), np.nan)}):
        found = searched(Surrogate(initial=5), Problem(SPACE, scores=scores), 12, one(gain(SPACE)))
        assert len(set(found)) == 12


def test_a_score_that_tells_the_truth_helps():
    accuracy = gain(SPACE)
    problem = Problem(SPACE, scores={"truth": lambda found: np.asarray([accuracy(each) for each in found])})
    found = searched(Surrogate(initial=10, first="random"), problem, 20, one(accuracy))
    alone = searched(Surrogate(initial=10, first="random"), Problem(SPACE), 20, one(accuracy))
    assert np.mean([accuracy(each) for each in found[10:]]) > np.mean([accuracy(each) for each in alone[10:]])


def test_costs_limit_what_is_proposed():
    costs = {"params": SPACE.cost("params")}
    bound = float(np.quantile([SPACE.params(each) for each in SPACE.enumerate()], 0.1))
    problem = Problem(SPACE, constraints=(Constraint("params", bound),), costs=costs)
    found = searched(Surrogate(initial=5), problem, 40, one(gain(SPACE)))
    assert len(set(found)) == 40
    assert all(SPACE.params(each) <= bound for each in found)


def test_two_objectives_spread_over_the_front():
    goals = (Objective("accuracy_valid"), Objective("params", "minimize"))
    problem = Problem(SPACE, objectives=goals, costs={"params": SPACE.cost("params")})
    both = searched(
        Surrogate(), problem, 60, lambda a: {"accuracy_valid": gain(SPACE)(a), "params": float(SPACE.params(a))}
    )
    late = [SPACE.params(each) for each in both[20:]]
    every = [SPACE.params(each) for each in SPACE.enumerate()]
    assert min(late) <= np.quantile(every, 0.02)
    assert len(set(late)) > 5


def test_many_evaluations_are_thinned():
    strategy = Surrogate(initial=5, most=20, ensemble=1)
    found = searched(strategy, Problem(SPACE), 60, one(gain(SPACE)))
    rows, targets = strategy._data(np.random.default_rng(0))
    assert len(rows) == len(targets) == 20
    assert [tuple(row) for row in rows[-10:]] == [each.decisions for each in found[-10:]]
    best = max(found, key=gain(SPACE))
    assert best.decisions in {tuple(row) for row in rows}


def test_targets_clip_failures_and_what_is_far_below():
    losses = np.asarray([[0.0], [1.0], [2.0], [50.0], [np.inf]])
    found = surrogate._targets(losses, np.ones(1), 1.5)
    raw = np.asarray([0.0, 1.0, 2.0, 3.75, 3.75])  # the median of what works is 1.5, the best 0
    assert np.allclose(found, (raw.mean() - raw) / raw.std())
    assert np.array_equal(surrogate._targets(np.full((3, 1), np.inf), np.ones(1), 1.0), np.zeros(3))


@pytest.mark.parametrize("options", [{"initial": 0}, {"first": "best"}, {"acquisition": "ucb"}, {"refit": 1.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError, match="surrogate"):
        Surrogate(**options)
