"""`pooling`: exactly the places there are, equal parameters, wiring by hand, and sizes that do not divide."""

from __future__ import annotations

import pytest
import torch
from nasforge_spaces.pooling import DEFAULTS, PRESETS, pooling
from torch import nn

from nasforge.build import Supernet
from nasforge.build.network import Network
from nasforge.errors import SpaceError
from nasforge.ops import Conv2d

SIZES = {"resnet20": 36, "resnet18": 56, "resnet50": 560, "small": 36}


def named(space, label):
    return space.architecture({"places": label})


@pytest.mark.parametrize("preset", PRESETS)
def test_as_many_architectures_as_places_for_poolings_and_the_usual_resnet_among_them(preset):
    space = pooling((3, 32, 32), 10, preset=preset)
    assert space.size == SIZES[preset]
    units = 1 + len(PRESETS[preset].channels)
    for label in space.choices[0].labels:
        lengths = [int(part) for part in label.split("-")]
        assert len(lengths) == PRESETS[preset].pools + 1
        assert sum(lengths) == units
        assert min(lengths) >= 1, "the stem is a unit, and nothing is pooled before it"
    assert space.contains(named(space, DEFAULTS[preset]))


def test_the_usual_resnets_by_their_labels():
    assert DEFAULTS == {"resnet20": "4-3-3", "resnet18": "3-2-2-2", "resnet50": "4-4-6-3", "small": "4-3-3"}


@pytest.mark.parametrize("preset", PRESETS)
def test_no_architecture_has_more_parameters_than_another(preset):
    space = pooling((3, 32, 32), 10, preset=preset)
    assert len({space.params(each) for each in space.enumerate()}) == 1


def test_the_last_scales_of_blocks_start_where_asked_or_are_not_there():
    images = torch.randn(4, 3, 32, 32)
    for scale, at_zero, parameters in (("zero", 9, 2), ("one", 0, 2), ("none", 0, 0)):
        space = pooling((3, 32, 32), 10, preset="small", scale=scale)
        network = Network(space.lower(named(space, "4-3-3")))
        norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
        assert {sum(1 for _ in norm.parameters()) for norm in norms} == {parameters}
        assert sum(norm.affine and not norm.weight.any() for norm in norms) == at_zero
        assert network(images).shape == (4, 10)
    with pytest.raises(SpaceError, match="two"):
        pooling((3, 32, 32), 10, scale="two")


def test_macs_fall_by_four_behind_each_pooling():
    space = pooling((3, 32, 32), 10, preset="resnet20")
    first, later = (space.macs(named(space, label)) for label in ("1-1-8", "1-2-7"))
    block = 2 * 9 * 16 * 16  # the second block, at 8 x 8 or at 16 x 16
    assert later - first == block * (16 * 16 - 8 * 8)


def pooled_at(label):
    """Return before which blocks, counted from 1, an architecture pools."""
    lengths = [int(part) for part in label.split("-")]
    return {sum(lengths[: end + 1]) for end in range(len(lengths) - 1)}


def test_a_network_is_wired_as_drawn():
    space = pooling((3, 32, 32), 10, preset="small")
    for label in ("1-1-8", "4-3-3", "2-7-1"):
        steps = space.lower(named(space, label)).primitives
        types = [s.op.shape(s.input_types) for s in steps if isinstance(s.op, Conv2d) and s.op.kernel == 3]
        sizes = [(each.channels, each.spatial[0]) for each in types]
        size, expected = 16, [(8, 16)]
        for block, channels in enumerate(PRESETS["small"].channels, start=1):
            size = size // 2 if block in pooled_at(label) else size
            expected += [(channels, size)] * 2
        assert sizes == expected


@pytest.mark.parametrize("preset", PRESETS)
def test_normalisations_have_neither_scale_nor_shift_and_a_network_alone_keeps_statistics(preset):
    space = pooling((3, 32, 32), 10, preset=preset)
    with torch.device("meta"):
        network = Network(space.lower(named(space, DEFAULTS[preset])))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) >= 1 + 2 * len(PRESETS[preset].channels)
    assert not any(norm.affine for norm in norms)
    assert all(norm.track_running_stats for norm in norms), "what is delivered answers for one image as for many"


def test_shortcuts_are_projected_exactly_where_channels_change():
    for preset, expected in (("resnet20", 2), ("resnet18", 3), ("resnet50", 4)):
        space = pooling((3, 32, 32), 10, preset=preset)
        names = [step.part for step in space.lower(named(space, DEFAULTS[preset])).primitives]
        assert sum(part.endswith("shortcut.conv") for part in names) == expected


def test_architectures_share_every_weight():
    space = pooling((3, 32, 32), 10, preset="small")
    supernet = Supernet(space)
    assert sum(p.numel() for p in supernet.parameters()) == space.params(named(space, "4-3-3"))


@pytest.mark.parametrize(("preset", "size"), [("small", 36), ("resnet20", 30), ("resnet18", 28), ("resnet50", 36)])
def test_an_image_that_the_down_samplings_do_not_divide_is_refused_in_a_sentence(preset, size):
    with pytest.raises(SpaceError, match=rf"'{preset}' divides height and width by \d.*{size} x {size} pixels; resize"):
        pooling((3, size, size), 10, preset=preset)


def test_small_strides_in_its_stem_from_32_pixels_only():
    assert pooling((3, 28, 28), 10, preset="small").size == 36
    with pytest.raises(SpaceError, match="preset of pooling"):
        pooling((3, 32, 32), 10, preset="smal")
