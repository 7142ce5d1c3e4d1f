"""Balancing: the published example, its fixed point, and the remembered divisions against divisions round by round."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.strategy.balance import TOLERANCE, balanced, imbalance, responsibilities


def scores_of(seed, architectures=36, models=4, better=0.0, spread=0.055):
    scores = 0.6 + spread * np.random.default_rng(seed).standard_normal((architectures, models))
    scores[:, 0] += better
    return scores


@pytest.mark.parametrize("temperature", [75.0, 100.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_model_that_is_better_everywhere_takes_all_unbalanced_and_a_quarter_balanced(temperature, seed):
    scores = scores_of(seed, better=0.3)
    alone = responsibilities(scores, temperature).mean(axis=0)
    assert alone[0] > 0.95
    divisors, rounds = balanced(scores, temperature)
    shares = responsibilities(scores, temperature, divisors)
    assert np.abs(shares.mean(axis=0) - 0.25).max() < 0.0075
    assert 8 <= rounds <= 26
    assert 0.72 <= shares.max(axis=1).mean() <= 0.92, "still specialised"


def test_one_division_is_not_enough():
    scores = scores_of(0, better=0.3)
    once = responsibilities(scores, 100.0)
    once = once / once.mean(axis=0)
    once /= once.sum(axis=1, keepdims=True)
    assert imbalance(once.mean(axis=0)) > 10 * TOLERANCE


def round_by_round(scores, temperature, marginals=None):
    """Balance as the article's code does: divide, normalise rows, and remember what was divided by."""
    shares = responsibilities(scores, temperature)
    used = []
    if marginals is not None:
        for marginal in marginals:
            shares = shares / marginal
            shares /= shares.sum(axis=1, keepdims=True)
        return shares, list(marginals)
    while abs(imbalance(shares.mean(axis=0))) > TOLERANCE:
        used.append(shares.mean(axis=0))
        shares = shares / used[-1]
        shares /= shares.sum(axis=1, keepdims=True)
    return shares, used


@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(1.0, 60.0), st.floats(0.0, 0.2))
@settings(max_examples=40, deadline=None)
def test_subtracting_the_divisors_is_applying_every_remembered_division_again_to_scores_that_moved_on(
    seed, models, temperature, better
):
    scores = scores_of(seed, 20, models, better)
    shares, marginals = round_by_round(scores, temperature)
    divisors, rounds = balanced(scores, temperature)
    assert rounds == len(marginals)
    np.testing.assert_allclose(responsibilities(scores, temperature, divisors), shares, rtol=1e-6, atol=1e-12)
    moved = scores + 0.02 * np.random.default_rng(seed + 1).standard_normal(scores.shape)
    expected, _ = round_by_round(moved, temperature, marginals)
    np.testing.assert_allclose(responsibilities(moved, temperature, divisors), expected, rtol=1e-6, atol=1e-12)


@given(st.integers(0, 10_000), st.floats(0.0, 100.0))
@settings(max_examples=40, deadline=None)
def test_rows_stay_distributions_and_models_equal(seed, temperature):
    scores = scores_of(seed, better=0.1)
    divisors, _ = balanced(scores, temperature)
    shares = responsibilities(scores, temperature, divisors)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert imbalance(shares.mean(axis=0)) <= TOLERANCE


def test_equal_scores_need_no_division():
    divisors, rounds = balanced(np.ones((36, 4)), 100.0)
    assert rounds == 0
    assert not divisors.any()


def test_imbalance_is_zero_for_equal_shares_and_log_m_for_one_model():
    assert imbalance([0.25] * 4) == pytest.approx(0.0)
    assert imbalance([1.0, 0.0, 0.0, 0.0]) == pytest.approx(np.log(4))
