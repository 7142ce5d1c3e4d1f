"""Coarse-to-fine selection: grids over names of choices, mutations of one stage, problems of several budgets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.errors import InfeasibleError, UsageError
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Input, SearchSpace, choice, repeat
from nasforge.strategy import Problem
from nasforge.strategy.coarse_to_fine import Levels, budgeted, coarse_grid, mutate_stage, parse_levels


def staged_space(stages=4):
    """Stages with width, kernel and depth, and a choice of its own."""
    x = Conv(choice(4, 8, name="stem"), 3)(Input(3, 8, 8), name="in")
    for number in range(stages):
        width = choice(4, 8, 12, name=f"s{number}.width")
        kernel = choice(1, 3, 5, name=f"s{number}.kernel")

        def layer(source, place, width=width, kernel=kernel, number=number):
            return Conv(width, kernel)(source, name=f"s{number}b{place}")

        x = repeat(layer, x, depth=choice(1, 2, 3, name=f"s{number}.depth", kind="depth"))
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x, name="pool"), name="classifier")}, name="staged")


SPACE = staged_space()


def settings_of(architecture, name):
    return [label for key, label in SPACE.describe(architecture).items() if key.endswith(f".{name}")]


def test_levels_and_parts_make_exactly_their_product():
    levels = parse_levels(["depth:3", "width:2", "kernel:2x2"])
    grid = coarse_grid(Problem(SPACE), 2 * 3 * 2 * 4, levels)
    assert len(set(grid)) == len(grid) == 48
    assert {tuple(settings_of(a, "width")) for a in grid} == {("4",) * 4, ("12",) * 4}
    assert {tuple(settings_of(a, "depth")) for a in grid} == {(d,) * 4 for d in "123"}
    kernels = {tuple(settings_of(a, "kernel")) for a in grid}
    assert kernels == {(early, early, late, late) for early in "15" for late in "15"}


def test_names_that_the_space_does_not_have_do_nothing():
    assert coarse_grid(Problem(SPACE), 30, {"colour": Levels(7, 3)}) == coarse_grid(Problem(SPACE), 30)


@pytest.mark.parametrize(
    "text", ["depth", "depth:", ":3", "depth:0", "depth:2x0", "depth:x2", "depth:2x2x2", "depth:-1"]
)
def test_levels_that_are_none_are_refused(text):
    with pytest.raises(UsageError, match="such as depth:4"):
        parse_levels([text])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_mutation_changes_choices_of_one_stage_and_at_least_one(seed):
    rng = np.random.default_rng(seed)
    before = SPACE.sample(rng)
    after = mutate_stage(SPACE, before, rng)
    assert SPACE.contains(after)
    names = [str(each.name).partition(".")[0] for each in SPACE.choices]
    pairs = zip(names, before.decisions, after.decisions, strict=True)
    assert len({stage for stage, old, new in pairs if old != new}) == 1


def test_all_stages_are_mutated_equally_often_and_all_options_reached():
    rng = np.random.default_rng(0)
    counts: dict[str, int] = {}
    start = SPACE.smallest()
    for _ in range(1000):
        found = mutate_stage(SPACE, start, rng)
        pairs = zip(SPACE.choices, start.decisions, found.decisions, strict=True)
        for stage in {str(each.name).partition(".")[0] for each, old, new in pairs if old != new}:
            counts[stage] = counts.get(stage, 0) + 1
    assert set(counts) == {"stem", "s0", "s1", "s2", "s3"}
    assert all(150 < count < 250 for count in counts.values())


def test_restricted_choices_stay_and_nothing_left_to_decide_is_returned_as_it_is():
    narrow = SPACE.restrict({str(each.name): each.labels[:1] for each in SPACE.choices if str(each.name) != "stem"})
    rng = np.random.default_rng(0)
    assert mutate_stage(narrow, narrow.smallest(), rng) == narrow.largest()
    single = narrow.restrict({"stem": ["4"]})
    assert mutate_stage(single, single.smallest(), rng) == single.smallest()


def test_each_budget_is_one_more_limit_on_macs():
    problem = Problem(SPACE)
    macs = [SPACE.macs(SPACE.smallest()) * factor for factor in (1.5, 4.0)]
    small, large = budgeted(problem, macs)
    for seed in range(20):
        architecture = SPACE.sample(np.random.default_rng(seed))
        assert small.feasible(architecture) == (SPACE.macs(architecture) <= macs[0])
        assert large.feasible(architecture) == (SPACE.macs(architecture) <= macs[1])
    assert budgeted(problem, ()) == [problem]
    with pytest.raises(InfeasibleError, match="raise the limit"):
        budgeted(problem, (10.0,))
