"""Logits over paths: distributions, draws, restriction, and which options are Zero."""

import numpy as np
import pytest
import torch

from nasforge.strategy.paths.logits import PathLogits, zero_options
from nasforge.testing.small_spaces import path_space, spaces_of_one_kind

SPACE = path_space(2)


def scattered(space=SPACE, seed=0) -> PathLogits:
    paths = PathLogits(space, seed)
    with torch.no_grad():
        for number, alpha in enumerate(paths.alphas):
            alpha.copy_(torch.randn(len(alpha), generator=torch.Generator().manual_seed(seed + number)))
    return paths


def test_initial_logits_are_small_and_follow_from_the_seed():
    first, again, other = PathLogits(SPACE, 1), PathLogits(SPACE, 1), PathLogits(SPACE, 2)
    values = torch.cat([alpha.detach() for alpha in PathLogits(path_space(40), 0).alphas])
    assert float(values.std()) == pytest.approx(1e-3, rel=0.3)
    assert all(torch.equal(a, b) for a, b in zip(first.alphas, again.alphas, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.alphas, other.alphas, strict=True))


def test_draws_follow_the_probabilities():
    paths, rng = scattered(), np.random.default_rng(0)
    drawn = np.asarray([paths.draw(rng).decisions for _ in range(6_000)])
    for place, p in enumerate(paths.probabilities()):
        assert p.sum() == pytest.approx(1.0)
        assert np.allclose(np.bincount(drawn[:, place], minlength=4) / len(drawn), p, atol=0.025)


def test_log_probability_is_that_of_the_draw_and_has_the_gradient_of_a_softmax():
    paths = scattered()
    decisions = (2, 0)
    found = paths.log_probability(decisions)
    expected = sum(np.log(p[option]) for p, option in zip(paths.probabilities(), decisions, strict=True))
    assert float(found.detach()) == pytest.approx(expected, abs=1e-6)
    found.backward()
    for alpha, p, option in zip(paths.alphas, paths.probabilities(), decisions, strict=True):
        assert alpha.grad.numpy() == pytest.approx(np.eye(4)[option] - p, abs=1e-6)
    assert np.exp(paths.log_probabilities()) == pytest.approx(np.asarray(paths.probabilities()))


def test_entropy_is_one_when_uniform_and_zero_when_decided():
    paths = scattered()
    with torch.no_grad():
        for alpha in paths.alphas:
            alpha.zero_()
        assert paths.entropy() == pytest.approx(1.0)
        for alpha in paths.alphas:
            alpha[1] = 100.0
    assert paths.entropy() == pytest.approx(0.0, abs=1e-6)


def test_options_that_restriction_has_taken_away_have_probability_zero_and_no_gradient():
    small = SPACE.restrict({"b0": ["k3", "zero"]})
    paths, rng = scattered(small), np.random.default_rng(0)
    assert paths.probabilities()[0][[1, 2]].tolist() == [0.0, 0.0]
    assert all(small.contains(paths.draw(rng)) for _ in range(200))
    paths.log_probability((0, 1)).backward()
    assert paths.alphas[0].grad[[1, 2]].tolist() == [0.0, 0.0]


def test_zero_operators_are_found_by_what_they_are():
    assert zero_options(SPACE) == [frozenset({3}), frozenset({3})]
    assert zero_options(spaces_of_one_kind()["operator"]) == [frozenset()]
