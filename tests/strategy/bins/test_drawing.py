"""Drawing for bins and at a limit: what is drawn, what the figures count, and which cost is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.errors import IncompatibleError, UsageError
from nasforge.goals import Constraint
from nasforge.hardware.cost import WalkCost
from nasforge.rng import generator
from nasforge.strategy import Problem
from nasforge.strategy.bins.cost_bins import CostBins
from nasforge.strategy.bins.cutting import cut_into_bins
from nasforge.strategy.bins.drawing import DRAWS, GeneratedDrawing, SampledDrawing, aim
from nasforge.strategy.bins.generator import ArchitectureGenerator, decoded
from nasforge.testing.small_spaces import elastic_space

SPACE = elastic_space()
COSTS = {metric: SPACE.cost(metric) for metric in ("params", "macs")}
PROBLEM = Problem(SPACE, costs=COSTS)
MACS = sorted(SPACE.macs(each) for each in SPACE.enumerate())


def within_of(number=8):
    return cut_into_bins(PROBLEM, "test", "macs", number).within


def net_of(known=None):
    """Return a generator as it is at first, or one that knows nothing but one architecture."""
    net = ArchitectureGenerator(SPACE, 16, generator(0, "test"))
    if known is not None:
        with torch.no_grad():
            for choice, own in net._own.items():
                net.bias[own] = -100.0
                net.bias[own.start + known.decisions[choice]] = 100.0
    return net


class Counted:
    """Counts the draws of a sampler of bins."""

    def __init__(self, within):
        self.calls = []
        self._sample = within.sample
        within.sample = self

    def __call__(self, number, rng):
        self.calls.append(number)
        return self._sample(number, rng)


# For bins


@given(numbers=st.lists(st.integers(0, 7), min_size=1, max_size=6), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_sampler_s_draws_are_handed_on_and_the_figures_are_of_them(numbers, seed):
    within = within_of()
    drawing = SampledDrawing(PROBLEM, within, lambda number, rng: SPACE.sample(rng))
    found = drawing.for_bins(numbers, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    assert found.architectures == [SPACE.sample(rng) for _ in numbers]
    costs = [SPACE.macs(each) for each in found.architectures]
    inside = [int(within.bins.index(cost)) == number for cost, number in zip(costs, numbers, strict=True)]
    assert found.figures == {"in_bin": np.mean(inside), "drawn_macs": np.mean(costs)}


def test_a_sampler_that_keeps_to_the_bins_is_always_inside():
    within = within_of()
    found = SampledDrawing(PROBLEM, within, within.sample).for_bins(range(8), np.random.default_rng(0))
    assert found.figures["in_bin"] == 1.0
    assert within.bins.index([SPACE.macs(each) for each in found.architectures]).tolist() == list(range(8))


def test_a_target_that_the_generator_misses_is_drawn_from_the_bin_and_only_where_asked_for():
    for fallback in (True, False):
        drawing = GeneratedDrawing(net_of(SPACE.largest()), within_of(), 1, fallback)
        found = drawing.for_bins([0] * 10, np.random.default_rng(0))
        reached = set(within_of().bins.index([SPACE.macs(each) for each in found.architectures]).tolist())
        assert reached == ({0} if fallback else {7})
        assert found.figures["in_bin"] == 0.0
        assert found.figures["fallback_share"] == (1.0 if fallback else 0.0)
        assert found.figures["drawn_macs"] == np.mean([SPACE.macs(each) for each in found.architectures])


def test_in_bin_is_of_the_generator_s_own_draws_and_the_rest_is_the_share_of_fallbacks():
    counted = {}
    for fallback in (True, False):
        within = within_of(3)
        calls = Counted(within).calls
        drawing = GeneratedDrawing(net_of(), within, 1, fallback)
        found = [drawing.for_bins([seed % 3], np.random.default_rng(seed)).figures for seed in range(20)]
        counted[fallback] = [row["in_bin"] for row in found]
        assert sum(row["fallback_share"] for row in found) == len(calls)
        assert bool(calls) == fallback
    assert counted[True] == counted[False]
    assert 0 < np.mean(counted[True]) < 1


def test_of_several_tries_the_nearest_to_the_target_is_taken():
    net, within = net_of(), within_of()
    found = GeneratedDrawing(net, within, 5, False).for_bins([6, 1], np.random.default_rng(3)).architectures
    rng = np.random.default_rng(3)
    targets = within.bins.centres[[6, 1]] + within.bins.width * (rng.random(2) - 0.5)
    drawn = decoded(net, [aim(within.bins, target) for target in targets for _ in range(5)], rng)
    for target, own, kept in zip(targets, (drawn[:5], drawn[5:]), found, strict=True):
        assert kept == min(own, key=lambda each: abs(SPACE.macs(each) - target))
        assert len({SPACE.macs(each) for each in own}) > 1


# At a limit


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_sampler_draws_at_the_limit_and_goes_below_only_where_too_few_are_found(share):
    bound = float(np.quantile(MACS, share))
    problem = Problem(SPACE, constraints=(Constraint("macs", bound),), costs=COSTS)
    within = within_of()
    calls = Counted(within).calls
    found = SampledDrawing(problem, within, within.sample).at(bound, 4, np.random.default_rng(0))
    assert len(found) == len(set(found)) >= 4
    assert all(problem.feasible(each) for each in found)
    visited = list(dict.fromkeys(calls))
    assert visited == list(range(visited[0], visited[-1] - 1, -1))
    assert visited[0] == int(within.bins.index(bound))
    assert len(calls) == 4 * DRAWS * len(visited)
    before = [each for each in found if int(within.bins.index(SPACE.macs(each))) > visited[-1]]
    assert len(before) < 4


def test_a_sampler_returns_nothing_where_the_limits_leave_nothing():
    problem = Problem(SPACE, constraints=(Constraint("params", 0.5),), costs=COSTS)
    within = within_of()
    assert SampledDrawing(problem, within, within.sample).at(MACS[-1], 4, np.random.default_rng(0)) == []


def test_a_generator_is_asked_for_the_limit_and_down_to_a_tenth_of_the_range_below_it():
    asked = []

    class Asked(torch.nn.Module):
        bias = torch.zeros(1)

        def forward(self, targets, rng, noise):
            asked.append((targets.tolist(), noise))
            return net_of()(targets, rng, noise=noise)

    within = within_of()
    bound = float(np.quantile(MACS, 0.8))
    found = GeneratedDrawing(Asked(), within, 1, False).at(bound, 2, np.random.default_rng(0))
    top = aim(within.bins, bound)
    (first, quiet), (targets, noise) = asked
    assert (quiet, noise) == (0.0, 1.0)
    assert first == pytest.approx([top])
    assert targets == pytest.approx(np.clip(top - np.linspace(0, 0.1, 2 * DRAWS), 0, 1).tolist())
    assert len(found) == 1 + 2 * DRAWS
    GeneratedDrawing(Asked(), within, 1, False).at(0.0, 2, np.random.default_rng(0))  # below the range: clipped
    assert asked[-1][0] == [0.0] * 2 * DRAWS


def test_a_cost_is_told_to_a_generator_from_0_to_1():
    bins = CostBins("macs", 10.0, 30.0, 4)
    assert [aim(bins, cost) for cost in (10.0, 15.0, 30.0)] == [0.0, 0.25, 1.0]


def test_a_generator_without_tries_is_refused():
    with pytest.raises(UsageError, match="0 tries"):
        GeneratedDrawing(net_of(), within_of(), 0, True)


# Which cost is cut


def test_the_cost_asked_for_goes_before_the_one_limited_and_that_before_the_reference():
    limited = Problem(SPACE, constraints=(Constraint("latency_ms", 1.0), Constraint("params", 1e9)), costs=COSTS)
    assert cut_into_bins(limited, "test", "macs").cost is COSTS["macs"]
    assert cut_into_bins(limited, "test").cost is COSTS["params"]
    cut = cut_into_bins(PROBLEM, "test", number=4)
    assert cut.cost is COSTS[PROBLEM.reference_cost]
    assert cut.within.cost is cut.cost
    assert (cut.within.bins.number, cut.within.bins.metric) == (4, PROBLEM.reference_cost)
    assert cut.coverage.complete


def test_an_unknown_cost_and_one_that_is_the_same_for_all_are_refused():
    with pytest.raises(UsageError, match="Did you mean 'macs'"):
        cut_into_bins(PROBLEM, "test", "mac")
    flat = Problem(SPACE, costs={"flat": WalkCost("flat", lambda each: 3.0, SPACE.fingerprint)})
    with pytest.raises(IncompatibleError, match=r"strategy 'test' cannot search space 'elastic': all .* have flat 3"):
        cut_into_bins(flat, "test", "flat")
