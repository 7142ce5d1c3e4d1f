"""Properties of every space, on random small ones: nested operators, depth, inputs, subsets, chains, conditions."""

import copy
import json
import pickle
from collections import Counter
from fractions import Fraction

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from nasforge.errors import SpaceError
from nasforge.ops import Add, Concat, Conv2d, GlobalPool, Identity, Linear, Pool, Zero, residual
from nasforge.space import Input, Node, SearchSpace, chain, choice, inputs, one_of, repeat, select, subset, when
from nasforge.space.encode import from_one_hot
from nasforge.space.moves import permitted
from nasforge.testing.enumeration import brute_force

MOST = 600
"""Architectures of a random space, so that it can be walked."""


def settled(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )


LEAVES = st.one_of(
    st.tuples(st.just("conv"), st.sampled_from(["fixed", "choice", "conditional", "shared"])),
    st.tuples(st.just("identity")),
    st.tuples(st.just("elastic"), st.booleans()),
    st.tuples(st.just("chain"), st.integers(2, 3)),
)


def grown(inner):
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        st.tuples(st.just("one_of"), several, st.booleans()),
        st.tuples(st.just("repeat"), inner, st.integers(0, 1), st.integers(1, 2), st.booleans()),
        st.tuples(st.just("join"), several, st.sampled_from(["add", "concat"])),
        st.tuples(st.just("residual"), inner, st.booleans()),
        st.tuples(st.just("inputs"), st.integers(1, 2), several),
    )


BLOCKS = st.recursive(LEAVES, grown, max_leaves=4)
RECIPES = st.tuples(st.booleans(), st.lists(BLOCKS, min_size=1, max_size=2).map(tuple), st.booleans())


class Builder:
    """Declares the space of a recipe; `flip` reverses the order of the terms of every sum."""

    def __init__(self, flip):
        self.flip, self.known, self.shared = flip, [], None

    def space(self, recipe, sampling="choices"):
        elastic_width, blocks, pooled = recipe
        self.width = choice(4, 6, name="width") if elastic_width else 4
        x = Conv2d(self.width, 1)(Input(3, 8, 8))
        if pooled:
            places = subset(3, 1)
            for place in range(3):
                x = select(places.map(lambda taken, p=place: int(p in taken)), [x, Pool("max", 2, 2)(x)])
        for block in blocks:
            x = self.block(block, x)
        return SearchSpace({"logits": Linear(2)(GlobalPool()(x))}, sampling=sampling)

    def block(self, recipe, x) -> Node:
        return getattr(self, recipe[0])(x, *recipe[1:])

    def kernel(self, kind):
        if kind == "fixed":
            return 3
        if kind == "shared":
            self.shared = self.shared or choice(1, 3)
            return self.shared
        condition = None
        if kind == "conditional" and self.known:
            other = self.known[-1]
            condition = when(other, lambda value: value == other.options[-1])
        made = choice(1, 3, when=condition)
        if condition is None or condition.choices[0].condition is None:  # conditions on conditions, twice at most
            self.known.append(made)
        return made

    def conv(self, x, kind):
        return Conv2d(self.width, self.kernel(kind))(x)

    def identity(self, x):
        return Identity()(x)

    def elastic(self, x, owned):
        inner = choice(2, 4, share="none" if owned else "slice")
        return Conv2d(self.width, 1)(Conv2d(inner, 3)(x))

    def chain(self, x, length):
        for made in chain(length, (5, 3, 1), allowed=lambda before, after: after <= before):
            x = Conv2d(self.width, made)(x)
        return x

    def one_of(self, x, recipes, zero):
        candidates = [self.block(recipe, x) for recipe in recipes]
        chosen = one_of([*candidates, Zero()(x)] if zero else candidates)
        return residual(chosen, x) if zero else chosen

    def repeat(self, x, recipe, least, more, outside):
        depth = choice(*range(least, least + more + 1))
        kernel = choice(1, 3) if outside else None

        def make(source, place):
            inner = self.block(recipe, source)
            return Conv2d(self.width, kernel)(inner) if outside else Conv2d(self.width, 3)(inner)

        return repeat(make, x, depth=depth)

    def join(self, x, recipes, how):
        made = [self.block(recipe, x) for recipe in recipes]
        if how == "concat":
            return Conv2d(self.width, 1)(Concat()(*made))
        return Add()(*(reversed(made) if self.flip else made))

    def residual(self, x, recipe, zero):
        body = self.block(recipe, x)
        return residual(one_of([body, Zero()(x)]) if zero else body, x)

    def inputs(self, x, k, recipes):
        states = [x]
        for recipe in recipes:
            states.append(self.block(recipe, states[-1]))
        taken = inputs(k, states)
        return Add()(*(reversed(taken) if self.flip else taken))


def declared(recipe, flip=False, sampling="choices"):
    space = Builder(flip).space(recipe, sampling)
    assume(1 <= space.size <= MOST)
    return space


spaces = RECIPES.map(declared)
seeds = st.integers(0, 2**31)


@settled(24)
@given(spaces)
def test_size_counts_what_walking_the_graph_finds(space):
    found = brute_force(space)
    listed = [architecture.decisions for architecture in space.enumerate()]
    assert space.size == len(found) == len(listed)
    assert set(listed) == found


@settled(20)
@given(spaces, seeds)
def test_samples_and_moves_stay_among_the_architectures(space, seed):
    rng = np.random.default_rng(seed)
    everything = brute_force(space)
    rows = space.sample_batch(20, rng)
    found = [tuple(row) for row in (*rows.tolist(), *space.mutate_batch(rows, rng).tolist())]
    first, second = space.sample(rng), space.sample_uniform(rng)
    noise = [int(rng.integers(-1, size)) for size in space.sizes]
    made = [first, second, space.mutate(first, rng), space.crossover(first, second, rng), space.repair(noise, rng)]
    for decisions in found + [architecture.decisions for architecture in made]:
        assert decisions in everything
        assert space.contains(space.from_decisions(decisions))
    assert space.repair(first, rng) == first


@settled(20)
@given(spaces, seeds)
def test_decisions_that_no_architecture_has_are_refused(space, seed):
    rng = np.random.default_rng(seed)
    everything = brute_force(space)
    for _ in range(30):
        noise = tuple(int(rng.integers(-1, size)) for size in space.sizes)
        assert space.contains(space.from_decisions(noise)) == (noise in everything)


@settled(20)
@given(spaces, seeds)
def test_a_mutation_is_another_architecture(space, seed):
    rng = np.random.default_rng(seed)
    rows = space.sample_batch(20, rng)
    same = (space.mutate_batch(rows, rng) == rows).all(axis=1)
    assert not same.any() if space.size > 1 else same.all()
    for row in rows:
        architecture = space.from_decisions(row)
        assert (space.mutate(architecture, rng) == architecture) == (space.size == 1)


@settled(16)
@given(spaces, seeds)
def test_neighbours_are_all_that_differ_in_one_decision_each_once(space, seed):
    architecture = space.sample(np.random.default_rng(seed))
    near = [neighbour.decisions for neighbour in space.neighbours(architecture)]
    everything = brute_force(space)
    assert len(near) == len(set(near))
    assert set(near) <= everything - {architecture.decisions}
    by_one = {
        other for other in everything if sum(a != b for a, b in zip(other, architecture.decisions, strict=True)) == 1
    }
    assert by_one <= set(near)


@settled(16)
@given(spaces, seeds)
def test_a_child_takes_every_decision_it_can_from_a_parent(space, seed):
    rng = np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    child = space.crossover(first, second, rng)
    assert space.crossover(first, first, rng) == first
    if not space._program.links:
        for index, option in enumerate(child.decisions):
            parents = {first.decisions[index], second.decisions[index]} - {-1}
            assert option in parents or option == -1 or len(parents) < 2


def chances(space):
    """Return the exact probability of every architecture when each active choice is drawn uniformly in order."""
    result = {}
    for architecture in space.enumerate():
        chance = Fraction(1)
        for index, option in enumerate(architecture.decisions):
            if option >= 0:
                chance /= len(permitted(space._program, architecture.decisions, index))
        result[architecture.decisions] = chance
    return result


def fits(counts, expected, draws):
    keys = [key for key, chance in expected.items() if chance]
    assert set(counts) <= set(keys)
    if len(keys) > 1:
        test = chisquare([counts.get(key, 0) for key in keys], [float(expected[key]) * draws for key in keys])
        assert test.pvalue > 1e-5


@settled(10)
@given(RECIPES, seeds)
def test_the_law_choices_draws_each_active_choice_uniformly(recipe, seed):
    space = declared(recipe)
    assume(space.size <= 40)
    expected = chances(space)
    assert sum(expected.values()) == 1
    rng = np.random.default_rng(seed)
    fits(Counter(space.sample(rng).decisions for _ in range(1500)), expected, 1500)
    fits(Counter(map(tuple, space.sample_batch(6000, rng).tolist())), expected, 6000)


@settled(10)
@given(RECIPES, seeds)
def test_the_law_architectures_draws_every_architecture_alike(recipe, seed):
    space = declared(recipe, sampling="architectures")
    assume(space.size <= 40)
    expected = {architecture.decisions: Fraction(1, space.size) for architecture in space.enumerate()}
    rng = np.random.default_rng(seed)
    fits(Counter(space.sample(rng).decisions for _ in range(1500)), expected, 1500)
    fits(Counter(map(tuple, space.sample_batch(1000, rng).tolist())), expected, 1000)


@settled(16)
@given(spaces, seeds)
def test_cost_tables_equal_sums_over_the_lowered_nodes(space, seed):
    rows = space.sample_batch(20, np.random.default_rng(seed))
    for metric in ("params", "macs", "activation_bytes", "bitops"):
        cost = space.cost(metric)
        counted = [space.lower(space.from_decisions(row)).total(metric) for row in rows]
        assert [cost(space.from_decisions(row)) for row in rows] == counted
        assert cost.batch(rows).tolist() == counted


@settled(16)
@given(spaces, seeds)
def test_lowered_graphs_are_ordered_pruned_and_typed_as_inferred(space, seed):
    analysis = space.analysis
    position = {node.name: node.index for node in analysis.graph.nodes}
    for row in space.sample_batch(5, np.random.default_rng(seed)):
        lowered = space.lower(space.from_decisions(row))
        read = {index for heads in lowered.outputs.values() for index in heads}
        for index in reversed(range(len(lowered.nodes))):
            node = lowered.nodes[index]
            assert all(source < index for source in node.inputs)
            assert index in read or not node.inputs
            assert not node.op.aliases
            read.update(node.inputs)
            if node.name in position:
                kind = analysis.universe[int(analysis.types[position[node.name]].at(row))]
                assert kind.shape == node.output_type.shape


@settled(16)
@given(RECIPES, seeds)
def test_network_id_does_not_see_the_order_of_sums(recipe, seed):
    space, flipped = declared(recipe), declared(recipe, flip=True)
    for row in space.sample_batch(8, np.random.default_rng(seed)):
        options = space.describe(space.from_decisions(row))
        other = flipped.architecture(_renamed(space, flipped, options))
        assert space.network_id(space.from_decisions(row)) == flipped.network_id(other)


def _renamed(space, other, options):
    """Names of unnamed choices follow the order of nodes; the order of declaration is the same."""
    names = {str(a.name): str(b.name) for a, b in zip(space.choices, other.choices, strict=True)}
    return {names[name]: label for name, label in options.items()}


@settled(16)
@given(spaces, seeds)
def test_json_and_encodings_give_the_architecture_back(space, seed):
    made = [space.sample(np.random.default_rng([seed, number])) for number in range(10)]
    for architecture in made:
        assert space.from_json(json.loads(json.dumps(space.to_json(architecture)))) == architecture
    codes = space.one_hot(made)
    assert codes.shape == (10, sum(space.sizes))
    assert codes.sum() == sum(option >= 0 for architecture in made for option in architecture.decisions)
    assert np.array_equal(from_one_hot(codes, space.sizes), space.integers(made))
    assert [tuple(row) for row in space.integers(made).tolist()] == [a.decisions for a in made]


@settled(12)
@given(spaces, seeds)
def test_a_restriction_holds_exactly_the_parents_architectures_within_it(space, seed):
    rng = np.random.default_rng(seed)
    assume(space.choices)
    kept = {}
    for read in space.choices:
        labels = [label for label in read.labels if rng.random() < 0.7]
        kept[str(read.name)] = labels or [read.labels[-1]]
    try:
        small = space.restrict(kept)
    except SpaceError:
        assert space._program.links  # nothing but a chain can be cut in two
        return
    allowed = [set(options) for options in small.allowed]
    within = {
        decisions
        for decisions in brute_force(space)
        if all(option < 0 or option in options for option, options in zip(decisions, allowed, strict=True))
    }
    assert {a.decisions for a in small.enumerate()} == within
    assert small.size == len(within)
    assert small.fingerprint == space.fingerprint
    rows = small.sample_batch(20, rng)
    for decisions in (*rows.tolist(), *small.mutate_batch(rows, rng).tolist()):
        assert tuple(decisions) in within
    architecture = small.sample(rng)
    assert small.mutate(architecture, rng).decisions in within
    assert (small.mutate(architecture, rng) == architecture) == (len(within) == 1)
    assert small.repair(space.sample(rng), rng).decisions in within
    assert {a.decisions for a in small.neighbours(architecture)} <= within
    assert small.network_id(architecture) == space.network_id(architecture)


@settled(8)
@given(RECIPES)
def test_copies_and_second_declarations_are_the_same_space(recipe):
    space = declared(recipe)
    architecture = space.sample(np.random.default_rng(0))
    for other in (copy.deepcopy(space), pickle.loads(pickle.dumps(space)), declared(recipe)):
        assert other.fingerprint == space.fingerprint
        assert other.size == space.size
        assert other.contains(architecture)
        assert other.network_id(architecture) == space.network_id(architecture)
        assert other.macs(architecture) == space.macs(architecture)
        again = other.sample(np.random.default_rng(0))
        assert again == architecture
