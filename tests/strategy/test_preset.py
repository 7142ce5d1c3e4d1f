"""Presets: an option given beside a preset goes before it, and everything else is the preset's."""

from dataclasses import dataclass

import pytest

from nasforge.errors import UsageError
from nasforge.strategy.preset import resolve


@dataclass(frozen=True)
class Constants:
    rate: float = 1.0
    every: int = 5


@dataclass
class Searcher:
    preset: str = "paper"
    rate: float | None = None
    every: int | None = None


PRESETS = {"paper": Constants(), "quick": Constants(rate=3.0)}


def test_options_that_are_not_given_are_the_preset_s():
    assert resolve(PRESETS, Searcher()) == Constants(1.0, 5)
    assert resolve(PRESETS, Searcher("quick")) == Constants(3.0, 5)


def test_options_that_are_given_go_before_the_preset_even_where_they_are_zero():
    assert resolve(PRESETS, Searcher("quick", every=7)) == Constants(3.0, 7)
    assert resolve(PRESETS, Searcher("quick", rate=0.0)) == Constants(0.0, 5)


def test_an_unknown_preset_is_refused_and_the_nearest_named():
    with pytest.raises(UsageError, match="Did you mean 'paper'"):
        resolve(PRESETS, Searcher("papers"))
