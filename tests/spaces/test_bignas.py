"""Space `bignas`: the published extremes, what is resized, what is a shortcut, where gamma starts at zero."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nasforge_spaces import bignas as module
from nasforge_spaces.bignas import ATTENTIVE, PAPER, SMALL, Skeleton, Stage, bignas
from torch import nn

from nasforge.build import Supernet, build_network, extract
from nasforge.errors import SpaceError
from nasforge.layers.conv import ElasticBatchNorm
from nasforge.layers.drop_path import DropPath
from nasforge.rng import generator

SMALL_SPACE = bignas((3, 32, 32), 10)
ATTENTIVE_SPACE = bignas((3, 64, 64), 10, width=0.5, preset="attentive", dropout=0.0)
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SPACES = [(SMALL_SPACE, IMAGES), (ATTENTIVE_SPACE, torch.nn.functional.interpolate(IMAGES, scale_factor=2.0))]


def divisible(value):
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


def macs_by_hand(resolution, last):
    """Convolutions, squeeze-excite and classifier of the paper's table, with first or last options throughout."""
    place = -1 if last else 0
    size, channels = math.ceil(resolution / 2), (32, 40)[place]
    macs = 27 * channels * size**2
    table = [
        ((16, 24), (1, 2), (3,), 1, 1),
        ((24, 32), (2, 3), (3,), 6, 2),
        ((40, 48), (2, 3), (3, 5), 6, 2),
        ((80, 88), (2, 4), (3, 5), 6, 2),
        ((112, 128), (2, 6), (3, 5), 6, 1),
        ((192, 216), (2, 6), (3, 5), 6, 2),
        ((320, 352), (1, 2), (3, 5), 6, 1),
    ]
    for widths, depths, kernels, expansion, stride in table:
        for number in range(depths[place]):
            hidden, out = channels * expansion, widths[place]
            if expansion > 1:
                macs += channels * hidden * size**2
            size = math.ceil(size / stride) if number == 0 else size
            macs += hidden * kernels[place] ** 2 * size**2
            macs += 2 * hidden * divisible(channels / 4)
            macs += hidden * out * size**2
            channels = out
    head = (1280, 1408)[place]
    return macs + channels * head * size**2 + head * 1000


def count_macs(network, images):
    """Count by hooks: outputs of each convolution and linear layer times the inputs that one output reads."""
    found = []

    def hook(layer, _inputs, output):
        reads = layer.in_features if isinstance(layer, nn.Linear) else layer.weight[0].numel()
        found.append(output[0].numel() * reads)

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(hook)
    with torch.no_grad():
        network(images[:1])
    return sum(found)


def test_the_extremes_of_the_paper_s_table_are_207_and_1843_million_macs():
    space = bignas()
    smallest, largest = space.smallest(), space.largest()
    assert space.macs(smallest) == macs_by_hand(192, last=False)
    assert space.macs(largest) == macs_by_hand(320, last=True)
    assert round(space.macs(smallest) / 1e6) == 207
    assert round(space.macs(largest) / 1e6) == 1843


def test_the_smallest_of_the_attentive_table_has_the_203_million_macs_of_its_authors():
    assert round(bignas(preset="attentive").macs(bignas(preset="attentive").smallest()) / 1e6) == 203


def test_the_paper_s_table_has_about_six_hundred_million_networks_and_the_known_spread_of_macs():
    space = bignas()
    assert 5.5e8 < space.size < 6.5e8
    macs = space.cost("macs").batch(space.sample_batch(20_000, np.random.default_rng(0))) / 1e6
    assert np.percentile(macs, (1, 50, 99)) == pytest.approx((304, 698, 1440), rel=0.02)


@pytest.mark.parametrize("space", [bignas(), SMALL_SPACE, bignas((3, 96, 96), 10, preset="attentive")])
def test_smallest_and_largest_take_the_first_and_the_last_option_of_everything(space):
    assert space.smallest().decisions == tuple(0 for _ in space.choices)
    assert space.largest().decisions == tuple(len(each.options) - 1 for each in space.choices)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_a_larger_resolution_always_costs_more(seed):
    space = SMALL_SPACE
    architecture = space.sample(np.random.default_rng(seed))
    options = space.describe(architecture)
    macs = [space.macs(space.architecture({**options, "resolution": str(pixels)})) for pixels in (24, 28, 32)]
    assert macs[0] < macs[1] < macs[2]


def test_macs_and_params_equal_those_counted_in_the_built_network():
    for space, images in SPACES:
        for seed in range(4):
            architecture = space.sample(np.random.default_rng(seed))
            network = build_network(space.lower(architecture)).eval()
            assert count_macs(network, images[:1]) == space.macs(architecture)
            assert sum(p.numel() for p in network.parameters()) == space.params(architecture)


def test_an_extracted_network_gives_what_the_supernet_gives_whatever_its_resolution():
    net = Supernet(SMALL_SPACE, 0).eval()
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for parameter in net.parameters():  # so that gammas of zero hide nothing
            parameter.add_(
                0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
        for architecture in [
            SMALL_SPACE.smallest(),
            SMALL_SPACE.largest(),
            *(SMALL_SPACE.sample(rng) for _ in range(4)),
        ]:
            net.train()
            trained = net(IMAGES, architecture)
            network = extract(net, architecture).train()
            assert torch.allclose(network(IMAGES), trained, rtol=1e-4, atol=1e-5)


def test_resizing_is_bicubic_inside_the_network_and_leaves_the_largest_alone():
    network = build_network(SMALL_SPACE.lower(SMALL_SPACE.smallest()))
    (resize,) = [each for each in network.modules() if isinstance(each, nn.Upsample)]
    expected = nn.functional.interpolate(IMAGES, size=(24, 24), mode="bicubic", align_corners=False)
    assert torch.equal(resize(IMAGES), expected)
    largest = build_network(SMALL_SPACE.lower(SMALL_SPACE.largest()))
    assert not [each for each in largest.modules() if isinstance(each, nn.Upsample)]


def norms(net, *, zero):
    found = {name: m for name, m in net.named_modules() if isinstance(m, ElasticBatchNorm)}
    return {name for name, m in found.items() if bool((m.weight == 0).all()) == zero}


def test_residual_blocks_and_nothing_else_start_with_a_last_gamma_of_zero():
    net = Supernet(SMALL_SPACE, 0)
    zero = norms(net, zero=True)
    assert len(zero) == 3  # the second block of each stage
    assert all("b2" in name and "project_bn" in name for name in zero)
    assert not norms(Supernet(bignas((3, 32, 32), 10, zero_init=False), 0), zero=True)
    assert len(norms(Supernet(ATTENTIVE_SPACE, 0), zero=True)) == sum(max(each.depths) for each in ATTENTIVE.stages)


@pytest.mark.parametrize(("space", "images"), SPACES)
def test_at_the_start_a_network_equals_the_shallower_one_with_its_residual_blocks_left_out(space, images):
    net = Supernet(space, 0).train()
    options = space.describe(space.largest())
    depths = {name: str(min(each.options)) for each in space.choices if (name := str(each.name)).endswith(".depth")}
    shallow = space.architecture({name: depths.get(name, option) for name, option in options.items()})
    assert space.macs(shallow) < space.macs(space.largest())
    assert torch.equal(net(images, shallow), net(images, space.largest()))


def test_attentive_shortcuts_are_the_identity_where_widths_are_equal_and_a_projection_elsewhere():
    space = ATTENTIVE_SPACE
    options = space.describe(space.smallest())
    for before, out, projected in (("16", "16", 0), ("16", "24", 1), ("24", "24", 0), ("24", "16", 1)):
        lowered = space.lower(space.architecture({**options, "stem.width": before, "s1.width": out}))
        assert Counter(node.name for node in lowered.nodes)["s1b1.shortcut"] == projected
    names = {node.name for node in space.lower(space.smallest()).nodes}
    assert {"s2b1.shortcut_pool", "s3b1.shortcut_pool", "s4b1.shortcut_pool", "s6b1.shortcut_pool"} <= names
    assert "s5b1.shortcut_pool" not in names


def test_paths_of_the_last_two_stages_may_be_dropped_the_deeper_the_likelier():
    network = build_network(bignas().lower(bignas().largest()))
    depths = [each.depth for each in network.modules() if isinstance(each, DropPath)]
    total = sum(max(each.depths) for each in PAPER.stages)
    assert depths == sorted(depths)
    assert depths[-1] == 1.0
    assert len(depths) == 5 + 1  # the first block of a stage has no shortcut, so cannot be left out
    assert depths[0] == pytest.approx((total - 2 - 6 + 2) / total)


def test_a_supernet_drops_paths_in_training_where_it_is_told_to():
    net = Supernet(SMALL_SPACE, 0).train()
    with torch.no_grad():
        for name, each in net.named_modules():
            if name in norms(net, zero=True):
                each.weight.fill_(1.0)
    plain = net(IMAGES, SMALL_SPACE.largest())
    net.dropping.chance = 0.9
    assert not torch.allclose(net(IMAGES, SMALL_SPACE.largest()), plain)
    rng = torch.get_rng_state()
    assert not torch.equal(net(IMAGES, SMALL_SPACE.largest()), net(IMAGES, SMALL_SPACE.largest()))
    torch.set_rng_state(rng)
    evaluated = net.eval()(IMAGES, SMALL_SPACE.largest())
    assert torch.equal(net(IMAGES, SMALL_SPACE.largest()), evaluated)


def test_the_largest_network_uses_all_weights_that_it_has_in_full():
    for space, images in SPACES:
        net = Supernet(space, 0).train()
        with net.recording() as views:
            net(images, space.largest()).sum().backward()
            assert not views.used
        idle = [name for name, parameter in net.named_parameters() if parameter.grad is None]
        assert not idle or space is ATTENTIVE_SPACE
        assert all("shortcut" in name for name in idle)  # where widths before and after are equal


def test_presets_follow_the_size_of_the_images_and_options_replace_theirs():
    def options(space, name):
        (found,) = [each.options for each in space.choices if str(each.name) == name]
        return found

    assert options(bignas(), "resolution") == PAPER.resolutions
    assert options(SMALL_SPACE, "resolution") == SMALL.resolutions
    searched = bignas(resolutions=(192, 224, 256, 288, 320))
    assert options(searched, "resolution") == (192, 224, 256, 288, 320)
    assert searched.macs(searched.largest()) == bignas().macs(bignas().largest())
    wide = bignas((3, 32, 32), 10, width=2.0)
    assert wide.fingerprint == SMALL_SPACE.fingerprint
    assert wide.params(wide.largest()) > 3 * SMALL_SPACE.params(SMALL_SPACE.largest())


def test_a_table_of_one_s_own_may_leave_things_undecided():
    own = Skeleton(32, (24, 32), (8,), (Stage((8, 16), (1, 2), (3,), (2,), 2, 0.0),), (32,), divisor=4)
    space = bignas((3, 32, 32), 10, skeleton=own)
    assert space.size == 2 * 2 * 2
    assert space.contains(space.sample(generator(0, "own")))


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"preset": "papr"}, "papr"),
        ({"resolutions": ()}, "an empty list of resolutions; name at least one"),
        ({"resolutions": (4, 32)}, "4 pixels|larger images"),
        ({"input_shape": (3, 4, 4)}, "larger images"),
    ],
)
def test_what_cannot_be_declared_is_said(given_, said):
    with pytest.raises(SpaceError, match=said):
        bignas(**{"input_shape": (3, 32, 32), "classes": 10, **given_})


def test_every_preset_is_declared_in_a_table():
    assert set(module.PRESETS) == {"paper", "attentive", "small"}
