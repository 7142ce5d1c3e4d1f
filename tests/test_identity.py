"""Fingerprints: equal data give equal text, different data differ, in every process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge.identity import canonical_json, fingerprint

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_canonical_json_reads_back_as_the_same_data(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), PLAIN, max_size=6))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    assert fingerprint(dict(reversed(value.items()))) == fingerprint(value)


@given(PLAIN, PLAIN)
def test_fingerprints_are_equal_exactly_when_the_texts_are(first: Any, second: Any) -> None:
    assert (fingerprint(first) == fingerprint(second)) == (canonical_json(first) == canonical_json(second))


@given(PLAIN, st.integers(1, 64))
def test_a_fingerprint_is_hexadecimal_of_the_asked_length(value: Any, length: int) -> None:
    text = fingerprint(value, length)
    assert len(text) == length
    assert set(text) <= set("0123456789abcdef")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, -float("inf")]])
def test_numbers_that_json_cannot_say_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(value)


def test_a_fingerprint_never_changes_between_releases() -> None:
    # stored in run folders and in weights: a change here makes every stored architecture foreign
    assert fingerprint({"b": [1, 2.5, None, True], "a": "ü"}) == "016a42b8cab958d1"


def test_another_process_with_another_hash_seed_agrees() -> None:
    value = {"nodes": ["a", "b"], "choices": {"x": [1, 2]}}
    code = f"from nasforge.identity import fingerprint; print(fingerprint({value!r}))"
    for hash_seed in ("1", "2"):
        printed = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": hash_seed}
        ).stdout
        assert printed.strip() == fingerprint(value)
