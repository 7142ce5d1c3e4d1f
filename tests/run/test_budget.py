"""Budgets are read as written, and read back from their own text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge.errors import UsageError
from nasforge.run.budget import Budget


@pytest.mark.parametrize("text", ["quick", "30min", "0.5min", "200-evaluations", "12-epochs"])
def test_text_of_a_budget_reads_back_as_the_same_budget(text: str) -> None:
    assert str(Budget.parse(text)) == text
    assert Budget.parse(str(Budget.parse(text))) == Budget.parse(text)


def test_each_unit_limits_one_thing() -> None:
    assert Budget.parse("2min").seconds == 120.0
    assert Budget.parse("7-evaluations").evaluations == 7
    assert Budget.parse("7-evaluations").seconds is None
    assert Budget.parse("3-epochs").epochs == 3
    assert Budget.parse("quick").seconds is not None


@pytest.mark.parametrize("text", ["", "fast", "10", "10 minutes", "0-evaluations", "1.5-evaluations", "-1min", "0min"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="budget"):
        Budget.parse(text)


@given(st.integers(1, 10**15) | st.integers(1, 10**30), st.sampled_from(["evaluations", "epochs"]))
def test_a_whole_amount_of_any_size_reads_back_as_the_same_budget(amount: int, unit: str) -> None:
    budget = Budget.parse(f"{amount}-{unit}")
    assert Budget.parse(str(budget)) == budget
    assert amount >= 2**53 or str(budget) == f"{amount}-{unit}"


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_any_number_of_minutes_reads_back_as_the_same_budget(amount: float) -> None:
    budget = Budget("minutes", amount)
    assert Budget.parse(str(budget)) == budget


def test_an_amount_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(UsageError, match="budget"):
        Budget.parse("9" * 400 + "-evaluations")
