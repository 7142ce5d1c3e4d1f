"""Local search: the best neighbour follows, a local optimum ends the walk, everything is found in the end."""

import pytest

from nasforge.errors import UsageError
from nasforge.rng import generator
from nasforge.strategy import Evaluation, Problem
from nasforge.testing.small_spaces import path_space

pytestmark = pytest.mark.plugins
local_search = pytest.importorskip("nasforge_strategies.local_search")

SPACE = path_space(3)


def searched(strategy, rounds=1000, accuracy=SPACE.params):
    strategy.setup(Problem(SPACE))
    told = []
    for number in range(rounds):
        proposals = strategy.ask(1, generator(0, "ask", number))
        if not proposals:
            break
        told.append(
            Evaluation(number, proposals[0].architecture, {"accuracy_valid": accuracy(proposals[0].architecture)})
        )
        strategy.tell(told[-1:])
    return [each.architecture for each in told]


def test_every_architecture_comes_once_and_then_nothing():
    found = searched(local_search.LocalSearch())
    assert len(found) == SPACE.size
    assert set(found) == set(SPACE.enumerate())


def test_the_neighbours_of_a_start_come_first_and_then_those_of_the_best():
    found = searched(local_search.LocalSearch(initial=1), 19)
    near = set(SPACE.neighbours(found[0]))
    assert set(found[1 : 1 + len(near)]) == near
    best = max(near, key=SPACE.params)
    assert found[1 + len(near)] in set(SPACE.neighbours(best))


def test_a_sum_of_independent_gains_is_solved_in_one_walk():
    best = max(SPACE.enumerate(), key=SPACE.params)
    found = searched(local_search.LocalSearch(initial=1), 1 + 9 * 4)
    assert SPACE.params(best) in [SPACE.params(each) for each in found]


def test_the_first_better_neighbour_is_moved_to_at_once():
    found = searched(local_search.LocalSearch(initial=1, move="first"), 40)
    better = next(each for each in found[1:] if SPACE.params(each) > SPACE.params(found[0]))
    assert found[found.index(better) + 1] in set(SPACE.neighbours(better))


@pytest.mark.parametrize("options", [{"initial": 0}, {"move": "worst"}, {"tries": 0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError, match="local_search"):
        local_search.LocalSearch(**options)
