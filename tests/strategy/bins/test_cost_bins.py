"""Cost bins: a partition of the range, draws that stay in their bin, ranges that cannot be cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.errors import IncompatibleError, UsageError
from nasforge.hardware.cost import WalkCost
from nasforge.ops import Conv, GlobalPool, Linear, MBConv, residual
from nasforge.space import Input, SearchSpace, choice
from nasforge.strategy.bins.cost_bins import BinSampler, CategoricalSampler, CostBins, Coverage, coverage, make_bins
from nasforge.testing.small_spaces import elastic_space, path_space

SPACE = elastic_space()
COST = SPACE.cost("macs")


def long_space(layers: int = 12) -> SearchSpace:
    """Return a space too large to be listed whose costs are a sum of many choices."""
    x = Conv(4, 3)(Input(3, 8, 8), name="stem")
    for number in range(layers):
        kernel = choice(3, 5, 7, name=f"b{number}.kernel")
        block = MBConv(4, kernel, choice(1, 2, 3, name=f"b{number}.expansion"))
        x = residual(block(x, name=f"b{number}"), x, name=f"b{number}.sum")
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x, name="pool"), name="classifier")}, name="long")


@given(least=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6), number=st.integers(1, 50), seed=st.integers(0, 99))
def test_bins_cut_the_range_into_equal_parts_and_every_cost_belongs_to_the_part_it_lies_in(least, span, number, seed):
    bins = CostBins("macs", least, least + span, number)
    costs = least + span * np.random.default_rng(seed).random(200)
    places = bins.index(costs)
    low = bins.least + bins.width * places
    slack = 1e-9 * (abs(least) + span)
    assert (costs >= low - slack).all()
    assert (costs <= low + bins.width + slack).all()
    assert bins.index(bins.centres).tolist() == list(range(number))
    assert bins.histogram(costs).sum() == 200
    assert bins.index([least - span, least + 2 * span]).tolist() == [0, number - 1]


def test_unevenness_is_pearson_s_chi_squared():
    bins = CostBins("macs", 0.0, 4.0, 4)
    assert bins.unevenness([0.5, 1.5, 2.5, 3.5]) == 0.0
    assert bins.unevenness([0.5, 0.5, 0.5, 0.5]) == pytest.approx((9 + 1 + 1 + 1) / 1)


def test_the_range_ends_at_the_cheapest_and_the_dearest_architecture():
    for space in (SPACE, path_space(3), long_space()):
        cost = space.cost("macs")
        found = coverage(space, cost, np.random.default_rng(0))
        bins = make_bins(space, cost, found)
        assert bins.least == cost(space.smallest())
        assert bins.most == cost(space.largest())
        assert 2 <= bins.number <= 10
        assert bins.histogram(found.costs).all()


def test_a_small_space_is_looked_at_whole():
    found = coverage(SPACE, COST, np.random.default_rng(0))
    assert found.complete
    assert len(found.rows) == SPACE.size


def test_random_architectures_of_a_long_space_leave_out_the_ends_and_its_coverage_does_not():
    space = long_space()
    cost = space.cost("macs")
    found = coverage(space, cost, np.random.default_rng(0))
    assert not found.complete
    bins = make_bins(space, cost, found, 10)
    drawn = bins.histogram(cost.batch(space.sample_batch(5000, np.random.default_rng(1))))
    assert drawn[0] < 5
    assert bins.histogram(found.costs).min() > 20


@pytest.mark.parametrize("space", [SPACE, path_space(3), long_space()], ids=lambda space: space.name)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_what_is_drawn_for_a_bin_is_in_it_and_in_the_space(space, seed):
    cost, rng = space.cost("macs"), np.random.default_rng(seed)
    found = coverage(space, cost, np.random.default_rng(0))
    bins = make_bins(space, cost, found)
    sampler = BinSampler(space, cost, bins, found)
    categorical = CategoricalSampler(space, cost, sampler)
    for number in range(bins.number):
        one = sampler.sample(number, rng)
        assert space.contains(one)
        assert int(bins.index(cost(one))) == number
        other = categorical.sample(number, rng)
        assert space.contains(other)
        assert abs(int(bins.index(cost(other))) - number) <= 1


def drawn_shares(sampler, number, inside, count=6000):
    rng, place = np.random.default_rng(3), {a: n for n, a in enumerate(inside)}
    drawn = [place[sampler.sample(number, rng)] for _ in range(count)]
    return np.bincount(drawn, minlength=len(inside)) / count


def test_draws_within_a_common_bin_follow_the_space_s_own_law():
    found = coverage(SPACE, COST, np.random.default_rng(0))
    bins = make_bins(SPACE, COST, found, 2)
    sampler = BinSampler(SPACE, COST, bins, found)
    inside = [a for a in SPACE.enumerate() if int(bins.index(COST(a))) == 1]
    chances = [np.prod([1 / SPACE.sizes[c] for c, d in enumerate(a.decisions) if d >= 0]) for a in inside]
    law = np.asarray(chances) / sum(chances)
    assert law.max() > 5 * law.min()  # so far from uniform that a test can tell
    shares = drawn_shares(sampler, 1, inside)
    misses = ((shares - law) ** 2 / law).sum() * 6000  # Pearson's, with len(inside) - 1 degrees of freedom
    degrees = len(inside) - 1
    assert misses < degrees + 5 * (2 * degrees) ** 0.5
    uniform = 6000 * ((shares - 1 / len(inside)) ** 2).sum() * len(inside)
    assert uniform > degrees + 20 * (2 * degrees) ** 0.5


def test_draws_within_a_rare_bin_of_a_small_space_are_uniform():
    found = coverage(SPACE, COST, np.random.default_rng(0))
    bins = make_bins(SPACE, COST, found, 10)
    sampler = BinSampler(SPACE, COST, bins, found)
    every = [[a for a in SPACE.enumerate() if int(bins.index(COST(a))) == number] for number in range(10)]
    number = next(n for n in range(10) if sampler._common[n] <= 0.02 and len(every[n]) > 2)
    inside = every[number]
    shares = drawn_shares(sampler, number, inside, 3000)
    assert 3000 * ((shares - 1 / len(inside)) ** 2).sum() * len(inside) < len(inside) + 5 * (2 * len(inside)) ** 0.5


def test_restriction_is_kept():
    space = SPACE.restrict({"width": [4], "b0.kernel": [3]})
    cost, rng = space.cost("macs"), np.random.default_rng(0)
    found = coverage(space, cost, rng)
    bins = make_bins(space, cost, found)
    sampler = BinSampler(space, cost, bins, found)
    table = CategoricalSampler(space, cost, sampler)
    for number in range(bins.number):
        assert space.contains(sampler.sample(number, rng))
        assert space.contains(table.sample(number, rng))


# Bad input


def test_bins_that_hold_no_architecture_are_refused_with_their_number_and_place():
    cost = path_space(1).cost("macs")  # four architectures
    found = coverage(path_space(1), cost, np.random.default_rng(0))
    with pytest.raises(UsageError, match=r"of 50 bins of macs in space 'paths' hold no architecture .* fewer or wider"):
        make_bins(path_space(1), cost, found, 50)
    assert make_bins(path_space(1), cost, found).histogram(found.costs).all()


def test_a_space_of_one_cost_is_refused():
    flat = WalkCost("macs", lambda architecture: 7.0, SPACE.fingerprint)
    with pytest.raises(IncompatibleError, match="all architectures of space 'elastic' have macs 7"):
        make_bins(SPACE, flat, coverage(SPACE, flat, np.random.default_rng(0)))


def test_a_width_beyond_the_range_is_refused_and_one_within_it_is_kept():
    found = coverage(SPACE, COST, np.random.default_rng(0))
    span = found.costs[-1] - found.costs[0]
    for width in (0.0, -1.0, 2 * span):
        with pytest.raises(UsageError, match="more than nothing and less than the range"):
            make_bins(SPACE, COST, found, width=width)
    bins = make_bins(SPACE, COST, found, width=span / 2.5)
    assert bins.number == 3
    assert bins.width == pytest.approx(span / 2.5)
    assert bins.most >= found.costs[-1]


@pytest.mark.parametrize(("least", "most", "number"), [(1.0, 1.0, 3), (2.0, 1.0, 3), (0.0, 1.0, 0)])
def test_no_bins_and_no_range_are_refused(least, most, number):
    with pytest.raises(UsageError, match="one bin or more"):
        CostBins("macs", least, most, number)


def test_coverage_is_sorted_and_without_repeats():
    found = coverage(long_space(), long_space().cost("macs"), np.random.default_rng(0))
    assert isinstance(found, Coverage)
    assert (np.diff(found.costs) >= 0).all()
    assert len(np.unique(found.rows, axis=0)) == len(found.rows)
