"""Refusals: the first rule that does not hold speaks, in one sentence that names the strategy and what was given."""

import pytest

from nasforge.errors import UsageError
from nasforge.strategy.refusal import refuse_unknown, refuse_unless, told

KNOWN = {"recipe": ("sandwich", "single"), "sampler": ("table", "bins")}


def test_options_that_are_known_and_rules_that_hold_are_passed():
    refuse_unknown("test", {"sampler": "bins", "recipe": "single", "other": "x"}, KNOWN)
    refuse_unless("test", [(True, "a=1", "expected more")])
    refuse_unless("test", [])


def test_the_first_unknown_value_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"^recipe of test 'singel' is unknown; .*Did you mean 'single'\?$"):
        refuse_unknown("test", {"sampler": "x", "recipe": "singel"}, KNOWN)


def test_the_first_rule_that_does_not_hold_speaks():
    rules = [(True, "a=1", "no"), (False, "b=2", "expected 3"), (False, "c=3", "expected 4")]
    with pytest.raises(UsageError, match=r"^test was given b=2; expected 3\.$"):
        refuse_unless("test", rules)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"a": 1}, "a=1"),
        ({"a": 0.5, "b": "x"}, "a=0.5 and b=x"),
        ({"a": float("nan"), "b": -2, "c": 1e-9}, "a=nan, b=-2 and c=1e-09"),
    ],
)
def test_values_are_told_in_a_row(values, sentence):
    assert told(**values) == sentence
