"""Paths that a space marks are dropped by a supernet in training, as deep as they lie, and never otherwise."""

from __future__ import annotations

import copy

import pytest
import torch

from nasforge.build import Supernet, without_dropout
from nasforge.ops import Conv, DropPath, GlobalPool, Linear, residual
from nasforge.space import Input, SearchSpace, choice

IMAGES = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def marked_space(depths=(0.5, 1.0)):
    """Residual convolutions without normalisation, whose paths lie at the given depths; outputs what they add up to."""
    x = Conv(8, choice(1, 3, name="kernel"), norm=False, act="none")(Input(3, 8, 8), name="stem")
    for number, depth in enumerate(depths):
        body = Conv(8, 1, norm=False, act="none")(x, name=f"b{number}")
        x = residual(DropPath(depth)(body, name=f"b{number}.path"), x, name=f"b{number}.sum")
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x, name="pool"), name="classifier")}, name="marked")


@pytest.fixture
def net():
    return Supernet(marked_space(), 0).train()


def shares_dropped(net, chance):
    """Return for each block the share of images for which its body was zero when it was added."""
    found = []

    def hook(_layer, args):
        body = args[2]  # after operator and types
        found.append(float((body.flatten(1) == 0).all(1).float().mean()))

    adders = [layer for name, layer in net.layers.items() if name.endswith("add")]
    hooks = [layer.register_forward_pre_hook(hook) for layer in adders]
    net.dropping.chance = chance
    net(IMAGES, net.space.largest())
    for each in hooks:
        each.remove()
    return found


def test_chances_are_in_proportion_to_depth(net):
    torch.manual_seed(0)
    shallow, deep = shares_dropped(net, 0.8)
    assert 0.2 < shallow < 0.6
    assert 0.65 < deep < 0.95
    assert shares_dropped(net, 0.0) == [0.0, 0.0]


def test_nothing_is_dropped_in_evaluation_nor_while_dropout_is_off(net):
    net.dropping.chance = 0.9
    with without_dropout(net):
        assert net.dropping.chance == 0.0
        kept = net(IMAGES, net.space.largest())
    assert net.dropping.chance == 0.9
    assert not torch.equal(net(IMAGES, net.space.largest()), kept)
    assert torch.equal(net.eval()(IMAGES, net.space.largest()), kept)


def test_it_is_no_weight_and_stays_with_copies(net):
    net.dropping.chance = 0.3
    assert not [name for name in net.state_dict() if "dropping" in name]
    assert copy.deepcopy(net).dropping.chance == 0.3
