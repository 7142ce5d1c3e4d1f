"""Finite differences over a training step: equal to autograd through the step; the sign that the trap would turn."""

from __future__ import annotations

import pytest
import torch

from nasforge.strategy.bins.look_ahead import look_ahead_gradient

DIMENSIONS, BINS = 6, 4


def problem(seed: int, power: int):
    """Return weights, theta, and losses of a step that trains a mixture of bins, each pulling w to its own place."""
    draw = torch.Generator().manual_seed(seed)
    places = torch.randn(BINS, DIMENSIONS, generator=draw, dtype=torch.float64)
    weights = torch.randn(DIMENSIONS, generator=draw, dtype=torch.float64).requires_grad_()
    theta = torch.randn(BINS, generator=draw, dtype=torch.float64).requires_grad_()

    def bin_loss(w, number):
        return ((w - places[number]).abs() ** power).sum() / power

    def train(w, chances):
        return sum(chances[number] * bin_loss(w, number) for number in range(BINS))

    return weights, theta, bin_loss, train


def by_autograd(weights, theta, train, valid, xi):
    w = weights.detach().clone().requires_grad_()
    (step,) = torch.autograd.grad(train(w, torch.softmax(theta, 0)), w, create_graph=True)
    (found,) = torch.autograd.grad(valid(w - xi * step), theta)
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("power", "tolerance"), [(2, 1e-9), (4, 1e-3)])
def test_it_equals_autograd_through_the_step(seed, power, tolerance):
    weights, theta, bin_loss, train = problem(seed, power)
    start, xi = weights.detach().clone(), 0.05

    def valid(w):
        return bin_loss(w, 1) + (w**2).sum()

    found = look_ahead_gradient(
        [weights],
        [theta],
        lambda: train(weights, torch.softmax(theta.detach(), 0)),
        lambda: torch.autograd.grad(valid(weights), [weights]),
        lambda: train(weights, torch.softmax(theta, 0)),
        xi,
    )
    expected = by_autograd(weights, theta, train, valid, xi)
    assert torch.allclose(found[0], expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))
    assert torch.equal(weights, start)  # put back, bit for bit


def test_descent_moves_mass_to_the_bin_that_is_not_learned_and_ascent_away_from_it():
    weights, theta, bin_loss, train = problem(0, 2)
    with torch.no_grad():
        theta.zero_()
    starved = 2
    # at the optimum of all other bins nothing is to be gained there
    others = [number for number in range(BINS) if number != starved]
    optimum = weights.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(sum(bin_loss(optimum, number) for number in others), optimum)
    with torch.no_grad():
        weights.copy_(optimum - gradient / len(others))

    def valid():
        return torch.autograd.grad(sum(bin_loss(weights, number) for number in range(BINS)), [weights])

    def gradient_of_theta():
        (found,) = look_ahead_gradient(
            [weights],
            [theta],
            lambda: train(weights, torch.softmax(theta.detach(), 0)),
            valid,
            lambda: train(weights, torch.softmax(theta, 0)),
            0.1,
        )
        return found

    moved = torch.softmax(theta.detach() - 10.0 * gradient_of_theta(), 0)
    swapped = torch.softmax(theta.detach() + 10.0 * gradient_of_theta(), 0)
    assert int(moved.argmax()) == starved
    assert moved[starved] > 1 / BINS > swapped[starved]


def test_weights_come_back_when_a_loss_fails_on_the_way():
    weights, theta, _, train = problem(0, 2)
    start = weights.detach().clone()

    def broken():
        raise RuntimeError("no loss today")

    with pytest.raises(RuntimeError, match="no loss today"):
        look_ahead_gradient([weights], [theta], lambda: train(weights, torch.softmax(theta, 0)), broken, broken, 0.1)
    assert torch.equal(weights, start)


def test_without_a_validation_gradient_there_is_nothing_to_learn():
    weights, theta, _, train = problem(0, 2)
    loss = lambda: train(weights, torch.softmax(theta, 0))  # noqa: E731 - short
    found = look_ahead_gradient([weights], [theta], loss, lambda: [torch.zeros_like(weights)], loss, 0.1)
    assert not found[0].any()
