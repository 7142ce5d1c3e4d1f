"""Options that mean nothing are refused by their name, before anything is trained."""

from __future__ import annotations

import math
from typing import Any

import pytest

from nasforge.errors import UsageError
from nasforge.run.options import make_space, make_strategy

NOT_FINITE = {"nan": math.nan, "infinity": math.inf}
NUMBERS = {
    "shiftnas": ("theta_lr", "generator_lr", "lr", "weight_decay", "label_smoothing", "width"),
    "bossnas": ("lr", "weight_decay", "warmup"),
    "neas": ("lr", "weight_decay", "label_smoothing", "balance"),
    "spos": ("lr", "weight_decay", "label_smoothing"),
    "pooling_mixture": ("lr", "weight_decay", "temperature"),
    "bignas": (
        "lr", "weight_decay", "floor", "clip", "label_smoothing", "momentum", "rms_decay", "epsilon", "warmup",
        "warmup_epochs", "decay", "decay_epochs", "temperature", "alpha_low", "alpha_high", "alpha_clip",
    ),
}  # fmt: skip


@pytest.mark.parametrize("value", NOT_FINITE.values(), ids=NOT_FINITE)
@pytest.mark.parametrize(("strategy", "option"), [(name, each) for name, listed in NUMBERS.items() for each in listed])
def test_numbers_that_are_not_finite_are_refused(strategy: str, option: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"'{option}' was given {value}; expected "):
        make_strategy(strategy, {option: value})


@pytest.mark.parametrize(
    ("strategy", "option", "value"),
    [
        ("shiftnas", "units", 0), ("shiftnas", "generator_lr", -1.0), ("shiftnas", "label_smoothing", 2.0),
        ("bossnas", "outputs", 0), ("bossnas", "lift", -4), ("bossnas", "warmup", 2.0),
        ("neas", "label_smoothing", 1.0),
        ("bignas", "decay_epochs", 0.0), ("bignas", "floor", 2.0), ("bignas", "clip", -1.0),
        ("bignas", "budgets", [-5.0]),
        ("bignas", "budgets", [1.0, math.nan]), ("bignas", "budgets", ["foo"]), ("spos", "label_smoothing", 2.0),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(strategy: str, option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"'{option}' was given .*; expected "):
        make_strategy(strategy, {option: value})


@pytest.mark.parametrize(("space", "options"), [("neas", {"dropout": 5.0}), ("mbconv", {"dropout": math.nan})])
def test_options_of_spaces_have_ranges_too(space: str, options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="'dropout' was given"):
        make_space(space, options)
