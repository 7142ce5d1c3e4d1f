"""The INT8 space: every width an INT8 kernel likes, ReLU only, elastic down to the ResNet-8 made by hand."""

import numpy as np
import pytest
from nasforge_spaces.int8_friendly import ARCHITECTURES, BLOCKS, FULL, SMALL, TINY, int8_friendly

from nasforge.build import Supernet
from nasforge.errors import SpaceError
from nasforge.ops import Activation, BasicBlock, BatchNorm, Bottleneck, Conv2d, MBConv
from nasforge.space.additive import AdditiveCost

pytestmark = pytest.mark.plugins
SIZES = (8, 32, 96)


def sampled(space, count=60, seed=0):
    rng = np.random.default_rng(seed)
    return [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(count))]


def test_the_resnet_8_has_the_counts_of_its_arithmetic():
    """Stem, three blocks of two 3x3, 1x1 shortcuts where the shape changes, linear: no bias but the last."""
    space, architecture = ARCHITECTURES["resnet8"]()
    params, macs, size, before = 27 * 16 + 32, 27 * 16 * 32**2, 32, 16
    for out in (16, 32, 64):
        shortcut = 0 if out == before else before * out
        size //= 1 if out == before else 2
        weights = 9 * before * out + 9 * out * out + shortcut
        params += weights + 4 * out + (2 * out if shortcut else 0)
        macs += weights * size**2
        before = out
    params, macs = params + 64 * 10 + 10, macs + 64 * 10
    assert (space.params(architecture), space.macs(architecture)) == (params, macs) == (78_042, 12_501_632)


def test_no_architecture_is_narrower_or_shallower_than_the_resnet_8():
    space, architecture = ARCHITECTURES["resnet8"]()
    plain = space.restrict({read.name: ["basic"] for read in space.choices if read.kind == "operator"})
    assert plain.contains(architecture)
    assert plain.macs(plain.smallest("macs")) == space.macs(architecture)


@pytest.mark.parametrize("width", [0.5, 0.7, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("size", SIZES)
def test_every_convolution_has_widths_an_int8_kernel_likes(size, width):
    """Multiples of 16 everywhere, of 32 where a depthwise convolution reads them; the image has its own channels."""
    space = int8_friendly((3, size, size), width=width)
    for architecture in sampled(space):
        for step in space.lower(architecture).primitives:
            if isinstance(step.op, Conv2d):
                read, made = step.input_types[0].channels, step.op.shape(step.input_types).channels
                assert made % (32 if step.op.depthwise else 16) == 0
                assert read % 16 == 0 or step.weights == "stem"


@pytest.mark.parametrize("size", SIZES)
def test_the_only_activation_is_relu(size):
    space = int8_friendly((3, size, size))
    for architecture in sampled(space):
        kinds = {step.op.kind for step in space.lower(architecture).primitives if isinstance(step.op, Activation)}
        assert kinds == {"relu"}


@pytest.mark.parametrize(("size", "skeleton"), [(8, TINY), (23, TINY), (24, SMALL), (64, SMALL), (96, FULL)])
def test_its_preset_follows_the_input(size, skeleton):
    assert int8_friendly((3, size, size)).fingerprint == int8_friendly((3, 128, 128), skeleton=skeleton).fingerprint


def test_every_place_offers_all_three_blocks_and_each_computes_something_else():
    space = int8_friendly()
    places = [read for read in space.choices if read.kind == "operator"]
    assert [read.name for read in places] == [f"s{stage}b{place}.block" for stage in (1, 2, 3) for place in (1, 2, 3)]
    largest = space.largest()
    for read in places:
        assert read.labels == BLOCKS
        found = {label: space.lower(space.restrict({read.name: [label]}).largest()) for label in BLOCKS}
        kinds = {
            label: next(type(node.op) for node in lowered.nodes if node.name == read.name.replace("block", label))
            for label, lowered in found.items()
        }
        assert kinds == {"basic": BasicBlock, "bottleneck": Bottleneck, "mbconv": MBConv}
        assert len({lowered.network_id for lowered in found.values()}) == 3
    assert space.contains(largest)


def test_every_option_changes_the_network():
    space = int8_friendly()
    everything = {read.name: ["mbconv"] for read in space.choices if read.kind == "operator"}
    for read in space.choices:
        own = {read.name: ["mbconv"]} if read.kind == "operator" else {}
        found = {
            space.network_id(space.restrict({**everything, **own, read.name: [label]}).largest())
            for label in read.labels
        }
        assert len(found) == len(read.labels), read.name


def test_size_counts_depths_blocks_and_their_options():
    """A place is basic, a bottleneck, or an MBConv of 2 kernels and 3 expansions: 8 ways."""
    stages = [sum(8**depth for depth in (1, 2, 3))] * 3
    assert int8_friendly().size == 2 * 3 * 3 * int(np.prod(stages))
    assert int8_friendly((3, 8, 8)).size == 2 * 2 * (8 + 64) ** 3


def test_costs_are_sums_and_the_extremes_bounds():
    space = int8_friendly()
    rows = space.sample_batch(2000, np.random.default_rng(0))
    for metric in ("params", "macs"):
        cost = space.cost(metric)
        assert isinstance(cost, AdditiveCost)
        found = cost.batch(rows)
        assert cost(space.smallest(metric)) <= found.min()
        assert cost(space.largest(metric)) >= found.max()


def test_blocks_start_as_their_shortcuts_where_these_are_identities():
    """The last gamma of every body but a stage's first is 0 at the start; behind a 1x1 shortcut nothing is learnt."""
    supernet = Supernet(int8_friendly((3, 8, 8)))
    last = {"basic": "bn2", "bottleneck": "restore_bn", "mbconv": "project_bn"}
    space = supernet.space
    for architecture in sampled(space, 20):
        for step in space.lower(architecture).primitives:
            kind = step.weights.rpartition(".")[2]
            if isinstance(step.op, BatchNorm) and kind in last:
                gamma = supernet.layer_of(step).weight
                first = step.weights.rpartition(".")[0].endswith("b1")
                assert bool((gamma == 0).all()) == (step.part == last[kind] and not first)


def test_an_architecture_found_small_is_one_for_more_classes_pixels_and_width():
    small, large = int8_friendly(classes=4), int8_friendly((1, 48, 48), classes=9, width=2.0)
    assert small.fingerprint == large.fingerprint
    for architecture in sampled(small, 10):
        assert large.from_json(small.to_json(architecture)) == architecture
        assert large.macs(architecture) > small.macs(architecture)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"input_shape": (3, 3, 3)}, "int8_friendly preset 'tiny' halves the image to 1/4, and was given 3x3 pixels"),
        ({"input_shape": (3, 16, 16), "preset": "full"}, "halves the image to 1/32, and was given 16x16 pixels"),
        ({"preset": "huge"}, r"preset 'huge'; expected one of \['full', 'small', 'tiny'\]"),
    ],
)
def test_inputs_too_small_and_unknown_presets_are_refused(options, sentence):
    with pytest.raises(SpaceError, match=sentence):
        int8_friendly(**options)
