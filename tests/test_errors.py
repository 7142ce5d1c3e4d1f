"""The exception tree: one base, fitting builtins, fixed exit codes, and sentences that suggest a name."""

from __future__ import annotations

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge import errors
from nasforge.errors import InfeasibleError, NasforgeError, NotInstalledError, UsageError, unknown_name_sentence

CLASSES = [each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == errors.__name__]
BUILTINS = (
    ValueError, LookupError, ImportError, PermissionError, ArithmeticError, RuntimeError, OSError,
)  # fmt: skip
NAMES = st.text(st.characters(categories=["Ll", "Nd"], include_characters="_"), min_size=1, max_size=12)


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_has_the_one_base_and_a_fitting_builtin(error: type[Exception]) -> None:
    assert issubclass(error, NasforgeError)
    assert error is NasforgeError or issubclass(error, BUILTINS)


@pytest.mark.parametrize("error", CLASSES)
def test_exit_codes_are_those_of_the_command_line(error: type[NasforgeError]) -> None:
    expected = 2 if issubclass(error, UsageError) else 3 if issubclass(error, InfeasibleError) else 1
    assert error.exit_code == expected


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    drawn = set(re.findall(r"\b[A-Z]\w*Error\b", errors.__doc__ or ""))
    builtins = {each.__name__ for each in BUILTINS}
    assert drawn - builtins == {each.__name__ for each in CLASSES}


@pytest.mark.parametrize("error", CLASSES)
def test_the_message_is_kept_word_for_word(error: type[Exception]) -> None:
    # OSError and LookupError treat their arguments in ways of their own
    assert str(error("given 'a', expected 'b'; do 'c'.")) == "given 'a', expected 'b'; do 'c'."


@given(name=NAMES, available=st.lists(NAMES, max_size=5))
def test_an_unknown_name_is_answered_with_all_names_sorted_on_one_line(name: str, available: list[str]) -> None:
    sentence = unknown_name_sentence("space", name, available)
    assert "\n" not in sentence
    assert f"'{name}'" in sentence
    assert (", ".join(sorted(available)) or "none") in sentence


@given(name=NAMES.filter(lambda name: len(name) > 3), place=st.integers(0, 2))
def test_two_swapped_letters_still_suggest_the_name(name: str, place: int) -> None:
    swapped = name[:place] + name[place + 1] + name[place] + name[place + 2 :]
    assert f"Did you mean '{name}'?" in unknown_name_sentence("space", swapped, [name, "~" * 30])


def test_nothing_is_suggested_where_no_name_is_near() -> None:
    assert "Did you mean" not in unknown_name_sentence("space", "xyz", ["mbconv", "nb201"])


def test_not_installed_says_so_and_is_bad_usage() -> None:
    error = NotInstalledError.unknown("strategy", "evolutoin", ["random", "evolution"])
    assert isinstance(error, UsageError)
    assert str(error).startswith("strategy 'evolutoin' is not installed; available: evolution, random.")
