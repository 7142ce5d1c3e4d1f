"""Ranges that types declare: what lies inside passes, what does not is refused in words, NaN everywhere."""

from __future__ import annotations

import math
from typing import Annotated, Any

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt
from hypothesis import given
from hypothesis import strategies as st

from nasforge.errors import UsageError
from nasforge.ranges import check_range

Share = Annotated[float, Ge(0), Lt(1)]


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_share_is_what_mathematics_says(value: float) -> None:
    if 0 <= value < 1:
        check_range(value, Share, "share")
    else:
        with pytest.raises(UsageError, match=r"share was given .*; expected at least 0 and below 1"):
            check_range(value, Share, "share")


@pytest.mark.parametrize("kind", [Share | None, tuple[Share, ...] | None, Annotated[float | None, Gt(0)]])
def test_nothing_is_in_every_range_that_allows_it(kind: Any) -> None:
    check_range(None, kind, "it")


@pytest.mark.parametrize(
    ("kind", "inside", "outside", "said"),
    [
        (Annotated[float, Gt(0)] | None, 1e-9, 0.0, "above 0"),
        (Annotated[int, Ge(1)], 1, 0, "at least 1"),
        (Annotated[float, Interval(gt=0, le=2)], 2.0, 2.5, "above 0 and at most 2"),
        (tuple[Annotated[float, Le(3)], ...], (1.0, 3.0), (1.0, math.nan), "at most 3"),
        (tuple[tuple[Share, ...], ...], ((0.0,), ()), ((0.0,), (1.0,)), "below 1"),
    ],
)
def test_ranges_reach_into_unions_and_tuples(kind: Any, inside: Any, outside: Any, said: str) -> None:
    check_range(inside, kind, "it")
    with pytest.raises(UsageError, match=said):
        check_range(outside, kind, "it")
