"""Selections against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge.goals import dominates
from nasforge.strategy.evolution.selection import (
    constrained_fronts,
    crowding_distance,
    non_dominated_fronts,
    select,
    tournament,
)

rows = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12)


@given(rows)
def test_fronts_are_the_longest_chains_of_domination(losses):
    fronts = non_dominated_fronts(losses)
    assert sorted(itertools.chain(*fronts)) == list(range(len(losses)))
    depth = {}
    for index in sorted(range(len(losses)), key=lambda i: losses[i]):
        above = [depth[j] for j in depth if dominates(losses[j], losses[index])]
        depth[index] = 1 + max(above, default=-1)
    assert [sorted(i for i in depth if depth[i] == level) for level in range(len(fronts))] == fronts


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=10, unique=True))
def test_crowding_is_the_sum_of_relative_gaps_to_both_neighbours(losses):
    values = np.asarray(losses, dtype=float)
    found = crowding_distance(values)
    for index, row in enumerate(values):
        expected = 0.0
        for axis in range(2):
            column = values[:, axis]
            order = np.argsort(column, kind="stable").tolist()
            place = order.index(index)
            if place in (0, len(order) - 1):
                expected = np.inf
            elif column.max() > column.min():
                gap = column[order[place + 1]] - column[order[place - 1]]
                expected += gap / (column.max() - column.min())
        assert found[index] == pytest.approx(expected), row


@given(rows, st.integers(0, 14))
def test_selection_takes_whole_fronts_before_the_next_and_never_more_than_asked(losses, count):
    chosen = select(losses, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(losses))
    level = {index: number for number, front in enumerate(non_dominated_fronts(losses)) for index in front}
    left = [level[index] for index in level if index not in chosen]
    assert all(level[index] <= min(left, default=99) for index in chosen)


def test_selection_of_a_part_of_a_front_keeps_its_ends_and_the_least_crowded():
    losses = [(0.0, 10.0), (1.0, 9.0), (1.5, 8.5), (6.0, 3.0), (10.0, 0.0)]
    assert sorted(select(losses, 3)) == [0, 3, 4]


def test_a_tournament_draws_with_replacement_and_the_best_contestant_wins():
    losses, size, rounds = [3.0, 1.0, 2.0, 4.0], 2, 20_000
    rng = np.random.default_rng(0)
    wins = np.bincount([tournament(losses, size, rng) for _ in range(rounds)], minlength=4) / rounds
    order = [1, 2, 0, 3]  # best first: wins unless all contestants are worse
    beaten = [1.0, 0.75, 0.5, 0.25, 0.0]
    for rank, index in enumerate(order):
        assert wins[index] == pytest.approx(beaten[rank] ** size - beaten[rank + 1] ** size, abs=0.015)


def test_failures_win_against_nothing_but_failures():
    rng = np.random.default_rng(1)
    assert {tournament([np.inf, 5.0], 30, rng) for _ in range(50)} == {1}
    assert tournament([np.inf, np.inf], 30, rng) == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, 0.0, 1.0, 2.0, np.inf])), max_size=12
    )
)
def test_constrained_fronts_follow_constrained_domination(points):
    losses, violations = np.asarray([p[:2] for p in points]).reshape(-1, 2), [p[2] for p in points]

    def better(i, j):
        if violations[i] > 0 or violations[j] > 0:
            return violations[i] < violations[j]
        return dominates(losses[i].tolist(), losses[j].tolist())

    remaining, expected = set(range(len(points))), []
    while remaining:
        expected.append(sorted(j for j in remaining if not any(better(i, j) for i in remaining)))
        remaining -= set(expected[-1])
    assert constrained_fronts(losses, violations) == expected


def test_failures_are_selected_last_and_have_no_distances():
    losses = [(np.inf, np.inf), (1.0, 2.0), (np.inf, np.inf), (2.0, 1.0), (np.inf, np.inf)]
    assert sorted(select(losses, 3))[0] == 0
    assert {1, 3} < set(select(losses, 3))
