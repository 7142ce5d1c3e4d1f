"""Dominance is a strict partial order, fronts are what it leaves, hypervolume is the measured union of boxes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge.goals import dominates, front_numbers, hypervolume, pareto_front

COORDINATE = st.integers(0, 5).map(float)


def points(dimensions: int, most: int = 8) -> st.SearchStrategy[list[tuple[float, ...]]]:
    return st.lists(st.tuples(*[COORDINATE] * dimensions), max_size=most)


ANY_POINTS = st.integers(1, 4).flatmap(points)
SAME_LENGTH = st.integers(1, 4).flatmap(lambda n: st.tuples(*[st.tuples(*[COORDINATE] * n)] * 3))


@given(SAME_LENGTH)
def test_dominance_is_a_strict_partial_order(triple: tuple[tuple[float, ...], ...]) -> None:
    a, b, c = triple
    assert not dominates(a, a)
    assert not (dominates(a, b) and dominates(b, a))
    if dominates(a, b) and dominates(b, c):
        assert dominates(a, c)


def test_points_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        dominates((1, 2), (1, 2, 3))


@given(ANY_POINTS)
def test_the_front_is_what_no_point_dominates_and_each_value_once(values: list[tuple[float, ...]]) -> None:
    undominated = [row for row in values if not any(dominates(other, row) for other in values)]
    front = pareto_front(values)
    assert {values[index] for index in front} == set(undominated)
    assert len(front) == len(set(undominated))
    assert front == sorted(front)


@given(ANY_POINTS)
def test_of_equal_points_the_first_is_kept(values: list[tuple[float, ...]]) -> None:
    assert all(values.index(values[index]) == index for index in pareto_front(values))


@given(points(2), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_points_that_are_not_finite_neither_enter_nor_displace(values: list[tuple[float, ...]], bad: float) -> None:
    assert pareto_front([*values, (bad, 0.0)]) == pareto_front(values)
    assert pareto_front([*values, (0.0, bad)]) == pareto_front(values)


def cells(values: list[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    """Count unit cells below the reference that some point dominates: the volume, for whole coordinates."""
    corners = itertools.product(*(range(int(limit)) for limit in reference))
    return float(
        sum(any(all(p <= c for p, c in zip(point, corner, strict=True)) for point in values) for corner in corners)
    )


@given(st.integers(1, 3).flatmap(lambda n: st.tuples(points(n), st.tuples(*[st.integers(1, 5).map(float)] * n))))
def test_hypervolume_counts_each_dominated_cell_once(case: tuple[list[tuple[float, ...]], tuple[float, ...]]) -> None:
    values, reference = case
    assert hypervolume(values, reference) == pytest.approx(cells(values, reference))


@given(points(2), st.tuples(COORDINATE, COORDINATE))
def test_another_point_never_lowers_the_hypervolume(values: list[tuple[float, ...]], more: tuple[float, float]) -> None:
    assert hypervolume([*values, more], (5, 5)) >= hypervolume(values, (5, 5)) - 1e-12


@given(points(3))
def test_only_the_front_counts_and_order_does_not(values: list[tuple[float, ...]]) -> None:
    whole = hypervolume(values, (5, 5, 5))
    assert hypervolume([values[index] for index in pareto_front(values)], (5, 5, 5)) == pytest.approx(whole)
    assert hypervolume(values[::-1], (5, 5, 5)) == pytest.approx(whole)


def test_points_that_are_not_numbers_add_no_volume() -> None:
    assert hypervolume([(1.0, 1.0), (np.nan, 0.0), (0.0, np.inf)], (2, 2)) == 1.0


@given(ANY_POINTS)
def test_fronts_are_numbered_as_taking_them_off_one_by_one_does(values: list[tuple[float, ...]]) -> None:
    expected, remaining, number = {}, set(range(len(values))), 0
    while remaining:
        front = {i for i in remaining if not any(dominates(values[j], values[i]) for j in remaining)}
        expected.update(dict.fromkeys(front, number))
        remaining -= front
        number += 1
    assert front_numbers(values).tolist() == [expected[place] for place in range(len(values))]


@given(points(2), st.integers(0, 7))
def test_a_point_of_infinite_losses_is_in_no_front_of_better_ones(values: list[tuple[float, ...]], place: int) -> None:
    failed = [*values[:place], (math.inf, math.inf), *values[place:]]
    numbers = front_numbers(failed).tolist()
    own = numbers.pop(min(place, len(values)))
    assert numbers == front_numbers(values).tolist()
    assert own == max(numbers, default=-1) + 1
