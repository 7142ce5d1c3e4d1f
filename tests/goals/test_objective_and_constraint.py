"""Objectives and constraints: less loss is better, and what is not known is never good enough."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge.goals import Constraint, Objective

FINITE = st.floats(-1e9, 1e9)
POSITIVE = st.floats(1e-6, 1e9)


@given(FINITE, FINITE)
def test_maximising_prefers_the_larger_and_minimising_the_smaller(first: float, second: float) -> None:
    up, down = Objective("m"), Objective("m", "minimize")
    assert (up.loss({"m": first}) < up.loss({"m": second})) == (first > second)
    assert (down.loss({"m": first}) < down.loss({"m": second})) == (first < second)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("metrics", [{}, {"m": math.nan}, {"other": 1.0}])
def test_a_missing_or_nan_metric_is_the_worst_in_both_directions(direction: str, metrics: dict[str, float]) -> None:
    assert Objective("m", direction).loss(metrics) == math.inf  # type: ignore[arg-type]  # parametrised literal


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_an_infinite_metric_is_never_the_best(direction: str) -> None:
    objective = Objective("m", direction)  # type: ignore[arg-type]  # as above
    for value in (math.inf, -math.inf):
        assert objective.loss({"m": value}) > objective.loss({"m": 0.0})


@given(FINITE, POSITIVE)
def test_a_constraint_holds_exactly_when_its_violation_is_zero(value: float, bound: float) -> None:
    constraint = Constraint("latency_ms", bound)
    assert constraint.holds({"latency_ms": value}) == (constraint.violation({"latency_ms": value}) == 0.0)


@given(POSITIVE, st.floats(0.01, 10))
def test_the_violation_is_the_share_of_the_bound_in_excess(bound: float, share: float) -> None:
    assert Constraint("m", bound).violation({"m": bound * (1 + share)}) == pytest.approx(share, rel=1e-6)


@pytest.mark.parametrize("metrics", [{}, {"m": math.nan}, {"m": math.inf}])
def test_an_unknown_metric_neither_holds_nor_passes_for_a_small_violation(metrics: dict[str, float]) -> None:
    constraint = Constraint("m", 1.0)
    assert not constraint.holds(metrics)
    assert constraint.violation(metrics) == math.inf


def test_the_bound_itself_is_within() -> None:
    assert Constraint("m", 5.0).holds({"m": 5.0})
