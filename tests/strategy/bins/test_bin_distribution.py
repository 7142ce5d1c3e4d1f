"""B over bins: its floor, its gradient, the reward, which no count of weights can bias."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasforge.strategy.bins.distribution import BinDistribution, gradient_size


@given(
    theta=st.lists(st.floats(-80, 80), min_size=1, max_size=12),
    floor=st.floats(0.0, 1.0),
)
def test_every_bin_keeps_its_share_of_the_floor(theta, floor):
    distribution = BinDistribution(len(theta), floor, 0.5)
    with torch.no_grad():
        distribution.theta.copy_(torch.tensor(theta))
    chances = distribution().detach()
    assert float(chances.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(chances.min()) >= floor / len(theta) - 1e-6
    assert 0.0 <= distribution.entropy() <= 1.0 + 1e-6


def test_it_starts_uniform_and_draws_by_its_chances():
    distribution, rng = BinDistribution(4, 0.2, 0.5), np.random.default_rng(0)
    assert distribution().tolist() == pytest.approx([0.25] * 4)
    with torch.no_grad():
        distribution.theta.copy_(torch.tensor([0.0, 1.0, 2.0, -1.0]))
    counts = np.bincount([distribution.draw(rng) for _ in range(8000)], minlength=4) / 8000
    assert counts == pytest.approx(distribution().tolist(), abs=0.02)


def test_the_one_hot_is_hard_forward_and_has_the_gradient_of_b():
    distribution = BinDistribution(3, 0.2, 0.5)
    values = torch.tensor([1.0, 5.0, 2.0])
    hard = distribution.one_hot(2)
    assert hard.tolist() == [0.0, 0.0, 1.0]
    (mine,) = torch.autograd.grad(hard @ values, distribution.theta)
    (theirs,) = torch.autograd.grad(distribution() @ values, distribution.theta)
    assert torch.equal(mine, theirs)


def test_the_average_starts_at_the_first_value_and_then_remembers():
    distribution = BinDistribution(2, 0.2, 0.75)
    distribution.note(1, 8.0)
    assert distribution.sizes.tolist() == [0.0, 8.0]
    distribution.note(1, 4.0)
    assert distribution.sizes.tolist() == [0.0, 7.0]
    assert distribution.reward().tolist() == [0.0, 0.0]  # one seen bin is its own mean
    distribution.note(0, 21.0)
    assert distribution.reward().tolist() == pytest.approx([0.5, -0.5])


def test_bins_take_turns_and_the_turn_is_kept_in_the_state():
    distribution = BinDistribution(3, 0.2, 0.5)
    assert distribution.next_bins(2) == [0, 1]
    again = BinDistribution(3, 0.2, 0.5)
    again.load_state_dict(distribution.state_dict())
    assert again.next_bins(3) == [2, 0, 1]


def test_a_gradient_s_size_is_free_of_the_number_of_weights():
    entry = torch.tensor([[3.0, -3.0], [3.0, 3.0]])
    assert gradient_size([entry]) == pytest.approx(3.0)
    assert gradient_size([entry, entry.repeat(50, 3)]) == pytest.approx(3.0)
    assert gradient_size([]) == 0.0


@pytest.mark.parametrize("sign", [1, -1])
def test_the_bin_of_the_largest_gradient_gains_mass_and_loses_it_under_the_wrong_sign(sign):
    distribution = BinDistribution(4, 0.2, 0.5)
    for number, size in enumerate((1.0, 1.0, 3.0, 1.0)):
        distribution.note(number, size)
    step = torch.optim.SGD(distribution.parameters(), 0.2)
    for _ in range(5):
        distribution.theta.grad = -sign * distribution.reward()
        step.step()
    assert (float(distribution()[2].detach()) > 0.25) == (sign > 0)
