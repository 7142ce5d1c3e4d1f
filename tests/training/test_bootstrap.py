"""Centre, distance, spread, lifts, the rising momentum and the twin that keeps buffers of its own."""

import math

import pytest
import torch
from torch import nn

from nasforge.training import EMATwin
from nasforge.training.bootstrap import Lift, Projector, centre, distance, spread
from nasforge.training.ema import rising_momentum


def test_members_are_normalised_before_they_are_averaged():
    short, long = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 100.0]])
    assert torch.allclose(centre([short, long]), torch.tensor([[0.5, 0.5]]))


def test_the_distance_is_minus_two_for_one_direction_whatever_the_lengths():
    a = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    assert distance(a, 3 * a).item() == pytest.approx(-2.0)
    assert distance(a, -a).item() == pytest.approx(2.0)


def test_the_spread_tells_collapse():
    generator = torch.Generator().manual_seed(0)
    even = torch.randn(4000, 16, generator=generator)
    assert spread(even) == pytest.approx(1.0, abs=0.02)
    assert spread(even * 1e-3 + 1.0) < 0.01


def test_one_shape_passes_a_lift_and_several_are_brought_to_one_width():
    x = torch.randn(3, 4, 6, 6)
    assert torch.equal(Lift([(4, 6, 6)], 32)(x), x)
    lift = Lift([(4, 6, 6), (8, 3, 3)], 32)
    assert lift(x).shape == (3, 32, 3, 3)
    assert lift(torch.randn(3, 8, 3, 3)).shape == (3, 32, 3, 3)
    assert Projector(lift.width, 16, 5)(lift(x)).shape == (3, 5)


def test_the_momentum_rises_to_one():
    values = [rising_momentum(0.99, step / 10) for step in range(11)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (pytest.approx(0.99), pytest.approx(1.0))
    assert values[5] == pytest.approx(1 - 0.01 * (math.cos(math.pi / 2) + 1) / 2)


def test_a_twin_with_buffers_of_its_own_follows_parameters_alone():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    copied, own = EMATwin(module), EMATwin(module, buffers="own")
    with torch.no_grad():
        module[0].weight += 1.0
    module[1].running_mean += 5.0
    for twin in (copied, own):
        twin.update(module, 0.75)
        assert torch.allclose(module[0].weight - twin.module[0].weight, torch.full((2, 3), 0.75))
    assert torch.equal(copied.module[1].running_mean, module[1].running_mean)
    assert torch.equal(own.module[1].running_mean, torch.zeros(2))
