"""Evolution over trained weights: generations, parents, limits, no repeats, and a strategy's own moves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.errors import InfeasibleError, UsageError
from nasforge.goals import Constraint
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Input, SearchSpace, choice
from nasforge.strategy import Evaluation, Problem
from nasforge.strategy.evolution.population import Moves, Population, Sizes, redraw_each, uniform_moves


def generator(*numbers):
    return np.random.default_rng(numbers)


SIZES = Sizes(population=8, generations=5, parents=3, crossover=3, mutation=3)


def row_space(choices=6, options=(4, 6, 8, 10)):
    x = Input(3, 4, 4)
    for number in range(choices):
        x = Conv(choice(*options, name=f"c{number}"), 1)(x)
    return SearchSpace({"logits": Linear(2)(GlobalPool()(x))}, name="row")


SPACE = row_space()


def problem_of(space, *constraints):
    return Problem(space, constraints=constraints, costs={name: space.cost(name) for name in ("params", "macs")})


def worth(architecture):
    return float(sum(architecture.decisions)) / 100


def rated(number, architecture, value=None):
    return Evaluation(number, architecture, {"accuracy_valid": worth(architecture) if value is None else value})


def run(population, seed=0, slots=1, told=None):
    """Ask and tell to the end; return what was proposed, by generation."""
    generations = {}
    for turn in range(10_000):
        proposals = population.ask(slots, generator(seed, turn))
        if not proposals:
            return generations
        for proposal in proposals:
            generations.setdefault(population.generation, []).append(proposal.architecture)
        population.tell([rated(turn, p.architecture) for p in proposals])
    raise AssertionError("it does not end")


def test_generations_of_the_given_size_and_nothing_twice():
    for slots in (1, 3, 20):
        found = run(Population(problem_of(SPACE), SIZES), slots=slots)
        assert [len(each) for each in found.values()] == [8] * 5
        everything = [each for generation in found.values() for each in generation]
        assert len(set(everything)) == 40


def test_the_sizes_of_the_article_are_the_default():
    assert Sizes() == Sizes(population=50, generations=20, parents=10, crossover=25, mutation=25)


def test_parents_are_the_best_of_all_rated_so_far_not_of_the_last_generation():
    crossed, mutated = [], []

    def crossover(first, second, rng):
        crossed.append({first, second})
        return SPACE.crossover(first, second, rng)

    def mutation(parent, rng):
        mutated.append(parent)
        return SPACE.mutate(parent, rng)

    population = Population(problem_of(SPACE), SIZES, Moves(crossover, mutation))
    known = []
    for turn in range(40):
        before = population.generation
        (proposal,) = population.ask(1, generator(1, turn))
        if population.generation > before:
            best = set(sorted(known, key=lambda each: -worth(each))[:3])
            ties = min((worth(each) for each in best), default=0.0)
            for parents in (*crossed, *({each} for each in mutated)):
                assert all(parent in best or worth(parent) == ties for parent in parents)
            assert bool(mutated) == (before > 0)
            crossed.clear()
            mutated.clear()
        known.append(proposal.architecture)
        population.tell([rated(turn, proposal.architecture)])


def test_it_climbs_where_random_search_does_not():
    found = run(Population(problem_of(row_space(12)), Sizes(20, 15, 5, 10, 10)))
    best = [max(map(worth, generation)) for generation in found.values()]
    assert best[0] < 0.30 < 0.34 <= max(best), "twelve choices of 0..3: 0.36 is the optimum"


def test_a_generation_waits_until_the_one_before_is_rated():
    population = Population(problem_of(SPACE), SIZES)
    first = population.ask(100, generator(0))
    assert len(first) == 8
    assert population.ask(1, generator(1)) == []
    population.tell([rated(number, each.architecture) for number, each in enumerate(first[:-1])])
    assert population.ask(1, generator(2)) == []
    population.tell([rated(8, first[-1].architecture)])
    assert len(population.ask(100, generator(3))) == 8


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
@settings(max_examples=25, deadline=None)
def test_nothing_beyond_the_limits_is_proposed(seed, place):
    space = SPACE
    least, most = (space.cost("macs")(each) for each in (space.smallest("macs"), space.largest("macs")))
    problem = problem_of(space, Constraint("macs", least + place * (most - least)))
    population = Population(problem, SIZES, Moves(lambda a, b, rng: space.largest("macs"), space.mutate))
    for generation in run(population, seed).values():
        assert all(problem.feasible(each) for each in generation)


def test_limits_that_nothing_meets_are_an_error():
    with pytest.raises(InfeasibleError, match="macs"):
        Population(problem_of(SPACE, Constraint("macs", 1.0))).ask(1, generator(0))


def test_a_small_space_is_proposed_whole_and_then_nothing():
    space = row_space(2)
    found = run(Population(problem_of(space), Sizes(5, 50, 2, 2, 2), tries=2))
    everything = [each for generation in found.values() for each in generation]
    assert sorted(each.decisions for each in everything) == sorted(each.decisions for each in space.enumerate())


def test_failures_are_no_parents_and_where_all_fail_it_draws_at_random():
    population = Population(problem_of(SPACE), SIZES, Moves(None, None))  # type: ignore[arg-type]  # never called
    for number in range(40):
        (proposal,) = population.ask(1, generator(0, number))
        population.tell([Evaluation(number, proposal.architecture, {}, error="fails")])
    assert population.ask(1, generator(0)) == []
    assert population.ranked == []


def test_nan_is_no_rating():
    population = Population(problem_of(SPACE), SIZES)
    (first, second) = population.ask(2, generator(0))
    population.tell([rated(0, first.architecture, float("nan")), rated(1, second.architecture)])
    assert population.ranked == [second.architecture]


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_each_decision_is_drawn_anew_with_the_probability_and_at_least_one(probability):
    space, rng = row_space(10, tuple(range(1, 9))), np.random.default_rng(0)
    parent = space.smallest()
    children = np.array([redraw_each(space, parent, probability, rng).decisions for _ in range(4000)])
    changed = (children != np.array(parent.decisions)).mean()
    none = (1 - probability) ** 10  # where no decision was drawn, one is
    expected = (probability + none / 10) * 7 / 8
    assert abs(changed - expected) < 0.01


def test_a_restricted_space_keeps_its_children():
    space = SPACE.restrict({"c0": ["4"], "c1": ["6", "8"]})
    moves, rng = uniform_moves(space, 0.5), np.random.default_rng(0)
    parents = [space.sample(rng) for _ in range(20)]
    for parent in parents:
        assert space.contains(moves.mutation(parent, rng))
        assert space.contains(moves.crossover(parent, parents[0], rng))


def test_a_loss_of_ones_own_decides():
    population = Population(problem_of(SPACE), SIZES, loss=lambda each: each.metrics["accuracy_valid"])
    run(population)
    worths = [worth(each) for each in population.ranked]
    assert worths == sorted(worths)


@pytest.mark.parametrize(
    "sizes", [Sizes(population=0), Sizes(generations=0), Sizes(parents=0), Sizes(crossover=-1), Sizes(10, 2, 2, 6, 5)]
)
def test_sizes_that_are_no_evolution_are_refused_in_a_sentence(sizes):
    with pytest.raises(UsageError, match=r"mine was given population=.*expected"):
        sizes.check("mine")
