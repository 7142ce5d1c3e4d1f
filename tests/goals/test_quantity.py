"""Limits are read with their units, and refused in one sentence without."""

import pytest

from nasforge.errors import UsageError
from nasforge.goals.quantity import count, milliseconds


@pytest.mark.parametrize(
    ("text", "expected"), [("5ms", 5.0), ("800us", 0.8), ("0.2s", 200.0), (" 5 ms ", 5.0), ("1e1ms", 10.0), (2.5, 2.5)]
)
def test_latency_is_read_in_milliseconds(text: str | float, expected: float) -> None:
    assert milliseconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["5", "ms", "5 sec", "-1ms", "0ms", "", "5ms!", 0, float("nan"), float("inf")])
def test_latency_without_unit_or_above_zero_is_refused(text: str | float) -> None:
    with pytest.raises(UsageError, match="max-latency"):
        milliseconds(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("2M", 2_000_000), ("300M", 300_000_000), ("1.5k", 1500), ("7", 7), (9, 9)]
)
def test_counts_are_read_exactly(text: str | float, expected: int) -> None:
    assert count(text, "max-params") == expected


@pytest.mark.parametrize("text", ["2X", "many", "-3M", "0", "2ms"])
def test_counts_with_unknown_suffix_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="max-macs"):
        count(text, "max-macs")


@pytest.mark.parametrize("value", [True, False, [], {}, None, 1j, 10**400, "1e999999999", "9e999"])
def test_what_is_no_number_above_zero_is_refused_in_both(value: object) -> None:
    with pytest.raises(UsageError, match="max-macs"):
        count(value, "max-macs")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(UsageError, match="max-latency"):
        milliseconds(value)  # type: ignore[arg-type]  # on purpose


def test_counts_beyond_the_precision_of_a_float_are_kept() -> None:
    assert count(2**60 + 1, "max-macs") == count(str(2**60 + 1), "max-macs") == 2**60 + 1
    assert count("0.1M", "max-macs") == 100_000
    assert count("0.2", "max-macs") == 1
