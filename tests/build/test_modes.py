"""Ways of running a supernet: by the batch at hand, and everything as it was afterwards."""

from __future__ import annotations

import pytest
import torch

from nasforge.build import Supernet
from nasforge.build.modes import batch_statistics
from nasforge.layers.conv import ElasticBatchNorm
from nasforge.testing.small_spaces import elastic_space

SPACE = elastic_space()


def moved(net, by):
    """Put running statistics where no batch has them."""
    for layer in net.layers.values():
        if isinstance(layer, ElasticBatchNorm):
            layer.running_mean += by
    return net


@pytest.mark.parametrize("training", [False, True])
def test_statistics_of_the_batch_count_in_evaluation_and_running_ones_neither_count_nor_move(training):
    x, architecture = torch.randn(16, 3, 8, 8), SPACE.largest()
    net = Supernet(SPACE)
    with torch.no_grad():
        expected = net.train()(x, architecture)
    net = moved(Supernet(SPACE), 5.0).train(training)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    modes = {name: module.training for name, module in net.named_modules()}
    with torch.no_grad(), batch_statistics(net):
        found = net(x, architecture)
    assert torch.equal(found, expected)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert {name: module.training for name, module in net.named_modules()} == modes


def test_a_supernet_trains_and_gathers_statistics_again_afterwards():
    net = Supernet(SPACE).train()
    with pytest.raises(RuntimeError), batch_statistics(net):
        raise RuntimeError
    before = {key: value.clone() for key, value in net.state_dict().items() if key.endswith("running_mean")}
    net(torch.randn(16, 3, 8, 8), SPACE.largest())
    assert any(not torch.equal(value, net.state_dict()[key]) for key, value in before.items())
