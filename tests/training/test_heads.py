"""Heads that learn beside each other: trunk and branches have the gradients of the article's sum."""

import numpy as np
import pytest
import torch

from nasforge.build import build_network
from nasforge.tasks.classification import Classification
from nasforge.testing.small_spaces import ensemble_space, path_space
from nasforge.testing.trial import source
from nasforge.training import TrainConfig
from nasforge.training.heads import head_factors, learning_from_own_heads
from nasforge.training.loop import Training

TASK = Classification()


def batch():
    draw = torch.Generator().manual_seed(1)
    return torch.randn(8, 3, 8, 8, generator=draw, dtype=torch.float64), torch.arange(8) % 10


def made(paths, split):
    space = ensemble_space(3, paths)
    architecture = space.restrict({"split": [str(split)]}).sample(np.random.default_rng(split))
    return build_network(space.lower(architecture), seed=0).double().train(), split


def gradients(network, loss):
    network.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


@pytest.mark.parametrize(("paths", "split"), [(2, 1), (2, 3), (3, 2)])
def test_the_gradients_are_those_of_the_sum_divided_at_the_split(paths, split):
    network, split = made(paths, split)
    images, targets = batch()
    heads, value = network.with_boundary(images, f"shared{split}")
    value.register_hook(lambda gradient: gradient / paths)
    expected = gradients(network, sum(TASK.loss(head, targets) for head in heads))
    with learning_from_own_heads(network):
        found = gradients(network, TASK.loss(network(images), targets))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)
    after = gradients(network, TASK.loss(network(images), targets))
    branch = next(name for name in expected if "classifier1" in name)
    torch.testing.assert_close(after[branch], expected[branch] / paths, rtol=1e-9, atol=1e-12)


def test_a_network_of_one_head_is_left_alone():
    space = path_space()
    assert head_factors(build_network(space.lower(space.largest()), seed=0)) == []
    assert head_factors(torch.nn.Linear(2, 2)) == []


def trained(loss):
    space = ensemble_space(3, 2)
    architecture = space.restrict({"split": ["2"]}).sample(np.random.default_rng(0))
    network = build_network(space.lower(architecture), seed=0)
    config = TrainConfig(epochs=1, batch_size=32, lr=0.1, momentum=0.0, weight_decay=0.0, warmup=0.0, augment=False)
    training = Training(network, source(), TASK, config, 0, loss=loss)
    training.run(until=1)
    return network


def test_training_teaches_branches_by_their_own_loss_unless_it_is_given_a_loss():
    space = ensemble_space(3, 2)
    architecture = space.restrict({"split": ["2"]}).sample(np.random.default_rng(0))
    start = dict(build_network(space.lower(architecture), seed=0).named_parameters())
    mean = trained(lambda images, outputs, targets: TASK.loss(outputs, targets))
    own = trained(None)
    for name, parameter in own.named_parameters():
        moved, slower = parameter - start[name], dict(mean.named_parameters())[name] - start[name]
        single = "classifier" in name or "path" in name or "layer3" in name
        torch.testing.assert_close(moved, (2 if single else 1) * slower, rtol=1e-3, atol=1e-6)
