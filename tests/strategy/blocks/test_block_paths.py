"""Spaces cut into blocks: what each decides, which paths lead through it, and the best combinations within limits."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.errors import IncompatibleError, UsageError
from nasforge.goals import Constraint
from nasforge.ops import Conv, GlobalPool, Linear, residual
from nasforge.space import Input, SearchSpace, boundary, chain, choice, one_of
from nasforge.strategy import Problem
from nasforge.strategy.blocks import choice as combining
from nasforge.strategy.blocks import merge as merging
from nasforge.strategy.blocks.choice import RatedBlock, best_combinations
from nasforge.strategy.blocks.merge import Column, merged
from nasforge.strategy.blocks.paths import BlockPaths, are_independent, blocks_of
from nasforge.testing.small_spaces import block_space, elastic_space


def space_of(x, name="space"):
    return SearchSpace({"logits": Linear(3)(GlobalPool()(x))}, name=name)


def falling():
    """Two blocks of two layers whose kernels only fall, across the boundary too."""
    kernels = chain(4, (1, 3, 5), lambda before, after: after <= before)
    x = Input(3, 6, 6)
    for place, kernel in enumerate(kernels):
        x = Conv(4, kernel)(x, name=f"layer{place}")
        x = boundary(f"b{place // 2}", x) if place % 2 else x
    return space_of(x, "falling")


def test_blocks_partition_the_choices_in_order():
    space = block_space()
    blocks = blocks_of(space, "tested")
    assert [(block.name, block.start) for block in blocks] == [("b0", None), ("b1", "b0")]
    assert [choice for block in blocks for choice in block.choices] == list(range(len(space.choices)))
    assert all(block.shapes == ((8, 8, 8),) for block in blocks)
    (whole,) = blocks_of(space, "tested", ["b1"])
    assert whole.choices == tuple(range(4))


def test_a_boundary_behind_a_fixed_stem_does_not_cut():
    x = boundary("stem", Conv(4, 3)(Input(3, 6, 6)))
    (block,) = blocks_of(space_of(boundary("end", Conv(4, choice(1, 3, name="k"))(x))), "tested")
    assert (block.name, block.start) == ("end", None)


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (elastic_space, "not cut into blocks"),
        (lambda: space_of(Conv(4, choice(1, 3, name="late"))(boundary("b", Conv(4, choice(1, 3))(Input(3, 6, 6))))),
         "blocks do not cover the network, choice 'late'"),
        (lambda: twice_read(), "choice 'k' is read in block 'b0' and in block 'b1'"),
        (lambda: bypassed(), "boundary 'b0' can be bypassed"),
    ],
)  # fmt: skip
def test_spaces_that_blocks_do_not_cover_are_refused_in_a_sentence(declare, said):
    with pytest.raises(IncompatibleError, match=said) as caught:
        blocks_of(declare(), "tested")
    assert "'tested'" in str(caught.value)


def twice_read():
    k = choice(1, 3, name="k")
    x = boundary("b0", Conv(4, k)(Input(3, 6, 6)))
    return space_of(boundary("b1", Conv(4, k)(x)))


def bypassed():
    source = Conv(4, 1)(Input(3, 6, 6))
    x = boundary("b0", Conv(4, choice(1, 3, name="a"))(source))
    return space_of(boundary("b1", residual(Conv(4, choice(1, 3, name="b"))(x), source)))


def test_an_unknown_boundary_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="b0"):
        blocks_of(block_space(), "tested", ["bO"])


def test_where_boundaries_were_left_out_these_are_advised_and_not_new_ones():
    with pytest.raises(IncompatibleError, match=r"choice 'b1l0' lies in none .* cut behind it too \(.* left out: b1\)"):
        blocks_of(block_space(), "tested", ["b0"])


def test_a_space_in_which_all_is_decided_is_refused():
    space = block_space()
    decided = space.restrict({str(each.name): ["k3"] for each in space.choices})
    with pytest.raises(IncompatibleError, match="holds one architecture, so its blocks decide nothing"):
        blocks_of(decided, "tested")


def test_an_empty_list_of_blocks_is_refused_with_the_boundaries_there_are():
    with pytest.raises(UsageError, match=r"'tested' was given an empty list of blocks; .* \(b0, b1\), or leave"):
        blocks_of(block_space(), "tested", [])
    with pytest.raises(IncompatibleError, match="not cut into blocks"):
        blocks_of(elastic_space(), "tested", [])


def test_all_paths_of_a_block_are_listed_once_and_not_beyond_the_limit():
    space = block_space()
    block = blocks_of(space, "tested")[1]
    ways = BlockPaths(space, block, {0: 1, 1: 2})
    listed = ways.all(9)
    assert sorted(map(block.path, listed)) == sorted(itertools.product(range(3), repeat=2))
    assert all(space.contains(path) and path.decisions[:2] == (1, 2) for path in listed)
    assert ways.all(8) is None
    assert ways.fair


def test_relations_across_the_boundary_are_obeyed():
    space = falling()
    block = blocks_of(space, "tested")[1]
    for before in range(3):
        ways = BlockPaths(space, block, {0: 2, 1: before})
        assert not ways.fair
        expected = {(a, b) for a in range(before + 1) for b in range(a + 1)}
        assert {block.path(path) for path in ways.all(99)} == expected
        rng = np.random.default_rng(0)
        moved = [ways.random(rng)]
        for _ in range(40):
            moved.append(ways.mutated(moved[-1], rng))
            moved.append(ways.crossed(moved[-1], moved[0], rng))
        assert {block.path(path) for path in moved} <= expected
        assert all(space.contains(path) and path.decisions[:2] == (2, before) for path in moved)


def rated(space, rng):
    found = []
    for block in blocks_of(space, "tested"):
        paths = BlockPaths(space, block, {}).all(99)
        found.append(RatedBlock(block, paths, rng.random(len(paths))))
    return found


def by_hand(problem, blocks):
    """Score every architecture, and leave out those beyond the limits."""
    known = [{r.block.path(p): s for p, s in zip(r.paths, r.scores, strict=True)} for r in blocks]
    scores = {
        a: sum(known[n][r.block.path(a)] for n, r in enumerate(blocks))
        for a in problem.space.enumerate()
        if problem.feasible(a)
    }
    return sorted(scores, key=scores.get)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_combinations_within_the_limits_are_those_of_enumeration(seed):
    rng = np.random.default_rng(seed)
    space = block_space()
    costs = {metric: space.cost(metric) for metric in ("params", "macs")}
    witness = space.sample(rng)
    limits = tuple(Constraint(metric, cost(witness)) for metric, cost in costs.items())
    problem = Problem(space, constraints=limits, costs=costs)
    blocks = rated(space, rng)
    assert best_combinations(problem, blocks, 5) == by_hand(problem, blocks)[:5]


def test_too_many_combinations_are_narrowed_without_losing_the_best(monkeypatch):
    monkeypatch.setattr(combining, "MOST", 49)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        space = block_space()
        problem = Problem(space, costs={"macs": space.cost("macs")})
        limited = dataclasses.replace(
            problem,
            constraints=(Constraint("macs", float(np.quantile([space.macs(a) for a in space.enumerate()], 0.3))),),
        )
        blocks = rated(space, rng)
        assert best_combinations(limited, blocks, 1) == by_hand(limited, blocks)[:1]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_merged_blocks_are_those_of_looking_at_all_combinations(data):
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    limits, count = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 5))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    columns = [
        Column(np.zeros((n, 1)), rng.integers(0, 6, n).astype(float), rng.integers(0, 6, (n, limits)).astype(float))
        for n in sizes
    ]
    rooms = rng.integers(0, 4 * len(sizes) + 1, limits).astype(float)
    found, exact = merged(columns, rooms, count)
    assert exact

    def best(rows):
        inside = [
            (sum(c.scores[p] for c, p in zip(columns, row, strict=True)), tuple(row))
            for row in rows
            if (sum(c.costs[p] for c, p in zip(columns, row, strict=True)) <= rooms).all()
        ]
        return sorted(inside)[:count]

    assert best(map(tuple, found.tolist())) == best(itertools.product(*map(range, sizes)))


@given(seed=st.integers(0, 2**32), limits=st.integers(0, 2), count=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_too_many_combinations_are_merged_without_losing_one_of_the_best(seed, limits, count):
    rng = np.random.default_rng(seed)
    space = block_space()
    costs = {metric: space.cost(metric) for metric in ("params", "macs")}
    bounds = [
        Constraint(m, float(np.quantile([c(a) for a in space.enumerate()], rng.random()))) for m, c in costs.items()
    ]
    problem = Problem(space, constraints=tuple(bounds[:limits]), costs=costs)
    blocks = [dataclasses.replace(each, scores=rng.integers(0, 5, len(each.scores)) / 4) for each in rated(space, rng)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combining, "MOST", 1)
        assert best_combinations(problem, blocks, count) == by_hand(problem, blocks)[:count]


def test_the_largest_published_product_is_merged_exactly_and_at_once():
    rng = np.random.default_rng(0)
    columns = [Column(np.zeros((n, 1)), rng.random(n), rng.integers(1, 1000, (n, 2)) * 1.0) for n in (16, *[256] * 4)]
    rooms = np.array([1600.0, 1500.0])
    places, exact = merged(columns, rooms, 1)
    assert exact
    scores = sum(c.scores[places[:, n]] for n, c in enumerate(columns))
    spent = sum(c.costs[places[:, n]] for n, c in enumerate(columns))
    assert (spent <= rooms + 1e-3).all()
    for _ in range(50):  # no change of two blocks improves the best
        one, two = rng.choice(5, 2, replace=False)
        row = places[scores.argmin()]
        rest = [n for n in range(5) if n not in (one, two)]
        left = rooms - sum(columns[n].costs[row[n]] for n in rest)
        pairs = columns[one].costs[:, None] + columns[two].costs[None]
        sums = np.where((pairs <= left).all(axis=2), columns[one].scores[:, None] + columns[two].scores, np.inf)
        assert sums.min() >= columns[one].scores[row[one]] + columns[two].scores[row[two]] - 1e-12


def test_beyond_what_is_kept_the_merge_is_approximate_and_still_within_the_limits(monkeypatch):
    monkeypatch.setattr(merging, "KEPT_FOR_SEVERAL", 12)
    rng = np.random.default_rng(1)
    costs = [rng.integers(1, 100, (40, 2)) * 1.0 for _ in range(4)]
    columns = [Column(np.zeros((40, 1)), -each.sum(axis=1) + rng.random(40), each) for each in costs]
    rooms = np.array([90.0, 90.0])
    places, exact = merged(columns, rooms, 1)
    assert not exact
    assert len(places)
    assert (sum(c.costs[places[:, n]] for n, c in enumerate(columns)) <= rooms).all()


def joined():
    """Two blocks whose widths meet in one convolution: its MACs depend on both."""
    x = Conv(choice(4, 8, 12, name="w0"), 3)(Input(3, 6, 6), name="one")
    x = boundary("b0", x)
    return space_of(boundary("b1", Conv(choice(4, 8, 12, name="w1"), 3)(x, name="two")), "joined")


def test_costs_that_do_not_add_up_are_found_approximately_and_that_is_said(monkeypatch):
    space, rng = joined(), np.random.default_rng(0)
    costs = {metric: space.cost(metric) for metric in ("params", "macs")}
    limits = tuple(Constraint(metric, cost(space.smallest())) for metric, cost in costs.items())
    problem, blocks = Problem(space, constraints=limits, costs=costs), rated(space, rng)
    assert best_combinations(problem, blocks, 3) == [space.smallest()]
    monkeypatch.setattr(combining, "MOST", 4)
    for scores in ([0.0, 1.0, 2.0], [2.0, 1.0, 0.0]):
        given_scores = [dataclasses.replace(each, scores=np.array(scores)) for each in blocks]
        with pytest.warns(RuntimeWarning, match="found approximately"):
            assert best_combinations(problem, given_scores, 1) == [space.smallest()]


def test_paths_are_independent_only_without_relations_between_blocks():
    assert are_independent(block_space(), blocks_of(block_space(), "tested"))
    assert not are_independent(falling(), blocks_of(falling(), "tested"))


def test_combinations_that_break_a_relation_are_left_out():
    space = falling()
    rng = np.random.default_rng(0)
    blocks = blocks_of(space, "tested")
    first = BlockPaths(space, blocks[0], {}).all(99)
    second = BlockPaths(space, blocks[1], {0: 2, 1: 2}).all(99)
    both = [RatedBlock(b, p, rng.random(len(p))) for b, p in zip(blocks, (first, second), strict=True)]
    found = best_combinations(Problem(space, costs={"macs": space.cost("macs")}), both, 1000)
    assert len(found) == space.size
    assert all(map(space.contains, found))


def test_limits_that_nothing_meets_leave_nothing():
    space = block_space()
    costs = {"macs": space.cost("macs")}
    problem = Problem(space, constraints=(Constraint("macs", 1.0),), costs=costs)
    assert best_combinations(problem, rated(space, np.random.default_rng(0)), 3) == []


def test_one_of_several_shapes_is_listed():
    wide = one_of([Conv(4, 3)(Input(3, 6, 6), name="narrow")], name="only")
    x = boundary("end", Conv(choice(4, 8, name="width"), 1)(wide))
    (block,) = blocks_of(space_of(x), "tested")
    assert block.shapes == ((4, 6, 6), (8, 6, 6))
