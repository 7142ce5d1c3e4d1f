"""The statistics of a comparison, against scipy, against counting by hand, and against counting cells of a grid."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nasforge.bench.statistics import (
    Interval,
    Signs,
    common_reference,
    front_volume,
    interval,
    mean,
    paired,
    signs,
)
from nasforge.errors import UsageError

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12)
POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12)


@given(VALUES, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_t_interval_is_scipys(values: list[float], confidence: float) -> None:
    found = interval(values, "t", confidence)
    error = stats.sem(values)
    low, high = (np.mean(values), np.mean(values))
    if error > 0:
        low, high = stats.t.interval(confidence, len(values) - 1, loc=np.mean(values), scale=error)
    assert found is not None
    assert found.low == pytest.approx(low, rel=1e-9, abs=1e-9)
    assert found.high == pytest.approx(high, rel=1e-9, abs=1e-9)


def test_the_t_interval_of_differences_is_that_of_the_paired_t_test() -> None:
    first, second = [0.91, 0.87, 0.93, 0.90], [0.92, 0.91, 0.93, 0.95]
    expected = stats.ttest_rel(second, first).confidence_interval(0.95)
    found = interval(list(paired(dict(enumerate(first)), dict(enumerate(second))).values()))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_t_interval_of_two_values_by_hand() -> None:
    # mean 2, standard error 1, and the 97.5 % point of t with one degree of freedom is tan(0.475 pi)
    half = math.tan(0.475 * math.pi)
    found = interval([1.0, 3.0])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))


def test_the_bootstrap_interval_is_near_the_percentiles_of_all_resamples() -> None:
    values = [0.0, 1.0, 3.0, 7.0, 8.0]
    means = [sum(each) / 5 for each in itertools.product(values, repeat=5)]  # all 3,125
    found = interval(values, "bootstrap", 0.9)
    assert found is not None
    assert found.low == pytest.approx(np.quantile(means, 0.05), abs=0.15)
    assert found.high == pytest.approx(np.quantile(means, 0.95), abs=0.15)
    assert interval(values, "bootstrap", 0.9) == found  # the same each time


@given(VALUES)
def test_a_bootstrap_interval_lies_within_the_values_and_narrows_with_confidence(values: list[float]) -> None:
    wide, narrow = interval(values, "bootstrap", 0.95), interval(values, "bootstrap", 0.5)
    assert wide is not None
    assert narrow is not None
    slack = 1e-9 * max(1.0, *map(abs, values))
    assert min(values) - slack <= wide.low <= narrow.low <= narrow.high <= wide.high <= max(values) + slack


@pytest.mark.parametrize("kind", ["t", "bootstrap"])
def test_equal_values_have_an_interval_of_no_width_and_one_value_has_none(kind: str) -> None:
    assert interval([0.5, 0.5, 0.5], kind) == Interval(0.5, 0.5)  # type: ignore[arg-type]
    assert interval([0.5], kind) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "confidence"), [("bayes", 0.95), ("t", 0.0), ("t", 1.0), ("t", 95.0)])
def test_another_kind_or_an_impossible_confidence_is_refused(kind: str, confidence: float) -> None:
    with pytest.raises(UsageError, match="expected"):
        interval([1.0, 2.0], kind, confidence)  # type: ignore[arg-type]


def test_signs_count_what_is_better_in_the_direction_of_the_metric() -> None:
    differences = [0.5, -0.25, 0.0, 1.0, 0.0]
    assert signs(differences, "maximize") == Signs(better=2, worse=1, equal=2)
    assert signs(differences, "minimize") == Signs(better=1, worse=2, equal=2)


def test_pairs_are_formed_by_seed_and_only_where_both_have_it() -> None:
    assert paired({1: 0.5, 2: 0.25, 7: 1.0}, {2: 0.75, 1: 0.25, 3: 9.0}) == {1: -0.25, 2: 0.5}


def test_the_mean_is_exactly_rounded() -> None:
    assert mean([0.1] * 10) == 0.1


@given(POINTS, st.tuples(st.integers(1, 11), st.integers(1, 11)))
def test_the_volume_of_a_front_is_the_count_of_the_cells_it_dominates(
    points: list[tuple[int, int]], reference: tuple[int, int]
) -> None:
    cells = sum(
        any(x <= column and y <= row for x, y in points)
        for column in range(reference[0])
        for row in range(reference[1])
    )
    assert front_volume([(float(x), float(y)) for x, y in points], (float(reference[0]), float(reference[1]))) == cells


@given(st.lists(POINTS, min_size=1, max_size=4))
def test_every_point_of_every_front_has_a_share_of_the_volume_up_to_the_common_reference(
    fronts: list[list[tuple[int, int]]],
) -> None:
    given_fronts = [[(float(x), float(y)) for x, y in front] for front in fronts]
    reference = common_reference(given_fronts)
    if not any(fronts):
        assert reference is None
        return
    assert reference is not None
    for front in given_fronts:
        for point in front:
            assert front_volume([point], reference) > 0
            assert front_volume([point], reference) <= front_volume(front, reference)


def test_the_reference_is_a_tenth_of_the_range_beyond_the_worst() -> None:
    assert common_reference([[(1.0, -0.5)], [(3.0, -0.75), (2.0, -0.25)]]) == pytest.approx((3.2, -0.2))
    assert common_reference([[(2.0, 0.0)]]) == pytest.approx((2.2, 0.1))
