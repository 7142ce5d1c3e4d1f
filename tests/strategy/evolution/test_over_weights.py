"""Evolution over trained weights as a search: it begins once, when it is needed, and anew with each setup."""

from __future__ import annotations

from typing import final

import numpy as np

from nasforge.strategy import Evaluation, Problem
from nasforge.strategy.evolution.over_weights import EvolutionOverWeights
from nasforge.strategy.evolution.population import Population, Sizes
from nasforge.testing.small_spaces import elastic_space

SPACE = elastic_space()
PROBLEM = Problem(SPACE, costs={name: SPACE.cost(name) for name in ("params", "macs")})
SIZES = Sizes(population=4, generations=2, parents=2, crossover=2, mutation=2)


@final
class Evolved(EvolutionOverWeights):
    """Counts how often its evolution begins."""

    begun = 0

    def begin_evolution(self):
        self.begun += 1
        return Population(self.problem, SIZES)

    def modules(self, problem, seed):
        return {}

    def optimisers(self, modules):
        return {}

    def step(self, context):
        return {}


def search(strategy, alone=None):
    """Ask and tell to the end; return what was proposed."""
    found = []
    for turn in range(100):
        proposals = (alone or strategy).ask(3, np.random.default_rng(turn))
        if not proposals:
            return found
        found += [each.architecture for each in proposals]
        (alone or strategy).tell(
            [Evaluation(turn, p.architecture, {"accuracy_valid": -SPACE.macs(p.architecture)}) for p in proposals]
        )
    raise AssertionError("it does not end")


def test_ask_tell_and_derive_are_those_of_the_population():
    strategy, alone = Evolved(), Population(PROBLEM, SIZES)
    strategy.setup(PROBLEM)
    assert search(strategy) == search(None, alone)
    assert strategy.derive() == alone.ranked
    assert len(strategy.derive()) == 8
    macs = [SPACE.macs(each) for each in strategy.derive()]
    assert macs == sorted(macs)


def test_the_evolution_begins_when_it_is_first_needed_and_once():
    strategy = Evolved()
    strategy.setup(PROBLEM)
    assert strategy.begun == 0
    search(strategy)
    strategy.derive()
    assert strategy.begun == 1


def test_another_setup_begins_another_evolution():
    strategy = Evolved()
    strategy.setup(PROBLEM)
    first = search(strategy)
    strategy.setup(PROBLEM)
    assert strategy.derive() == []
    assert search(strategy) == first
    assert strategy.begun == 2


def test_ratings_alone_are_enough_for_a_resume():
    strategy, again = Evolved(), Evolved()
    strategy.setup(PROBLEM)
    again.setup(PROBLEM)
    proposals = strategy.ask(4, np.random.default_rng(0))
    told = [Evaluation(n, p.architecture, {"accuracy_valid": n / 10}) for n, p in enumerate(proposals)]
    strategy.tell(told)
    again.tell(told)
    assert again.derive() == strategy.derive() == [each.architecture for each in reversed(proposals)]
