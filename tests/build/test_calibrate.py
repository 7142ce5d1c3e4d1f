import pytest
import torch
from torch import nn

from nasforge.build import recalibrate
from nasforge.errors import UsageError


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU(), nn.Dropout(0.5),
        nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5, momentum=0.01), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).double()  # fmt: skip


def batches(count=4):
    made = torch.Generator().manual_seed(1)
    return [torch.randn(6, 3, 8, 8, dtype=torch.float64, generator=made) * (i + 1) + i for i in range(count)]


def test_statistics_are_the_mean_over_batches_and_dropout_is_off():
    net, given = network(), batches()
    net[1].running_mean.fill_(9.0)
    assert recalibrate(net.eval(), iter(given)) == 4
    first = [net[0](batch) for batch in given]
    expected = torch.stack([x.mean((0, 2, 3)) for x in first]).mean(0)
    assert torch.allclose(net[1].running_mean, expected, rtol=1e-12)
    spread = torch.stack([x.transpose(0, 1).flatten(1).var(1, unbiased=True) for x in first]).mean(0)
    assert torch.allclose(net[1].running_var, spread, rtol=1e-12)
    hidden = []
    for x in first:  # the second normalisation sees the first one by the batch, and no dropout
        normal = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
        hidden.append(net[4](torch.relu(normal)))
    assert torch.allclose(net[5].running_mean, torch.stack([x.mean((0, 2, 3)) for x in hidden]).mean(0), rtol=1e-10)


@pytest.mark.parametrize("training", [False, True])
def test_mode_momentum_and_weights_are_what_they_were(training):
    net = network().train(training)
    weights = [p.detach().clone() for p in net.parameters()]
    recalibrate(net, batches())
    assert [net[1].momentum, net[5].momentum] == [0.3, 0.01]
    assert all(module.training == training for module in net.modules())
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), weights, strict=True))
    assert all(p.grad is None for p in net.parameters())


def test_mode_and_momentum_come_back_even_when_a_batch_fails():
    net = network().eval()
    with pytest.raises(RuntimeError):
        recalibrate(net, [torch.zeros(2, 7, 8, 8, dtype=torch.float64)])
    assert [net[1].momentum, net[5].momentum] == [0.3, 0.01]
    assert not any(module.training for module in net.modules())


def test_no_batches_are_refused_and_no_normalisation_needs_none():
    with pytest.raises(UsageError, match="no batch"):
        recalibrate(network(), [])
    assert recalibrate(nn.Linear(2, 2), []) == 0
