"""Random search: uniform, without repetition, done when the space is."""

from collections import Counter

import numpy as np
import pytest

from nasforge.goals import Constraint
from nasforge.rng import generator
from nasforge.strategy import Problem
from nasforge.testing.small_spaces import path_space

pytestmark = pytest.mark.plugins
random_search = pytest.importorskip("nasforge_strategies.random_search")

SPACE = path_space(2)


def started(bound=None):
    constraints = () if bound is None else (Constraint("macs", bound),)
    strategy = random_search.RandomSearch()
    strategy.setup(Problem(SPACE, constraints=constraints, costs={"macs": SPACE.cost("macs")}))
    return strategy


def all_of(strategy, seed=0, n=3):
    found, number = [], 0
    while proposals := strategy.ask(n, generator(seed, "ask", number)):
        found += [proposal.architecture for proposal in proposals]
        number += 1
    return found


def test_every_architecture_comes_once_and_then_nothing():
    found = all_of(started())
    assert len(found) == SPACE.size == 16
    assert set(found) == set(SPACE.enumerate())


def test_within_limits_every_architecture_that_meets_them_comes_once():
    bound = sorted(SPACE.macs(a) for a in SPACE.enumerate())[4]
    found = all_of(started(bound))
    assert len(found) == len(set(found))
    assert set(found) == {a for a in SPACE.enumerate() if SPACE.macs(a) <= bound}


def test_the_first_and_the_last_are_uniform():
    runs = [all_of(started(), seed)[:: SPACE.size - 1] for seed in range(400)]
    for place in (0, 1):
        counts = Counter(run[place] for run in runs)
        chi_square = sum((counts[a] - 25) ** 2 / 25 for a in SPACE.enumerate())
        assert chi_square < 15 + 5 * np.sqrt(30)
