"""Options of `train`, `measure` and `predict` are read exactly as `search` reads its overrides."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge.cli.target_options import target_options
from nasforge.config import compose
from nasforge.config.options import parse_options, read_value
from nasforge.errors import UsageError

TEXTS = [
    "1e-3", "1e12", "1E5", "-2.5e-1", "3", "0.5", ".5", "1_000", "inf", "true", "False", "yes", "on", "null", "word",
    "'1e-3'", '"a b"', "[1,2e-3,x]", "{a: 1e-3}", "2026-01-01", "0x10", "010", "a/b.c",
]  # fmt: skip


@pytest.mark.plugins
@pytest.mark.parametrize("text", TEXTS)
def test_a_value_is_what_search_makes_of_it(text: str) -> None:
    written = compose({}, {}, [f"training.lr={text}"]).written["training"]["lr"]
    for found in (
        parse_options([f"training.lr={text}"], ("training",))["training"]["lr"],
        target_options([f"lr={text}"])["lr"],
    ):
        assert found == written
        assert type(found) is type(written)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_every_number_is_read_back_from_python_s_own_text(number: float) -> None:
    found = read_value(repr(number), "x")
    assert found == number
    assert type(found) is type(number)


@pytest.mark.parametrize("text", ["[1", "{a: 1", "'a", "1,2", "choice(1,2)", "range(3)"])
def test_what_is_no_single_value_is_refused_with_the_option_as_given(text: str) -> None:
    def check(read: Any) -> None:
        with pytest.raises(UsageError, match=r"was given|cannot be read|several values") as caught:
            read()
        assert text in str(caught.value)

    check(lambda: parse_options([f"training.lr={text}"], ("training",)))
    check(lambda: target_options([f"batch={text}"]))
