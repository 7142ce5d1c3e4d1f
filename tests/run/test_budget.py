"""Budgets are read as written, and read back from their own text."""

import pytest

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
