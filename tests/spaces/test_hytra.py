"""`hytra`: sizes, paths of blocks, published counts, entries and shortcuts, blocks run apart, what is refused."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nasforge_spaces.hytra import ARCHITECTURES, FULL, SMALL, Skeleton, hytra, label, options, paths
from torch.nn import functional

from nasforge.build import Supernet, build_network, extract
from nasforge.errors import SpaceError, UsageError
from nasforge.ops import Conv2d, HybridBlock
from nasforge.rng import generator
from nasforge.space import TensorType
from nasforge.space.lower import alone
from nasforge.testing.spaces import assert_close, scrambled


@pytest.fixture(scope="module")
def small():
    return hytra((3, 32, 32), 5)


@pytest.fixture(scope="module")
def supernet(small):
    return scrambled(Supernet(small).double()).eval()


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def scales_of(space, architecture):
    return [int(name[-1]) for name in space.describe(architecture).values()]


def counted(scales, layers, allowed):
    """Count chains of options by hand, one layer after another."""
    ways = dict.fromkeys(options(scales), 1)
    for _ in range(layers - 1):
        ways = {b: sum(n for a, n in ways.items() if allowed(a[0] - b[0])) for b in ways}
    return sum(ways.values())


def test_the_space_holds_exactly_2818103_architectures_and_3932181_with_jumps():
    assert hytra().size == 2_818_103 == counted(4, 16, lambda fall: 0 <= fall <= 1)
    assert hytra(halvings="jumps").size == 3_932_181 == counted(4, 16, lambda fall: fall >= 0)


def test_blocks_have_51_99_80_and_16_paths():
    assert [len(paths(scales)) for scales in (4, 3, 2, 1)] == [51, 99, 80, 16]
    assert all(len(set(found)) == len(found) for found in map(paths, (4, 3, 2, 1)))


@pytest.mark.parametrize("end", [3, 2, 1, 0])
def test_paths_of_a_block_are_what_the_space_leaves_when_the_block_before_is_decided(end):
    two = dataclasses.replace(FULL, layers=(4, 4))
    space = hytra(skeleton=two, start="stem", scales=(4, 3))
    before = next(path for path in paths(4) if path[-1][0] == end)
    left = space.restrict({f"b1l{place}": [label(option)] for place, option in enumerate(before, 1)})
    found = {tuple(space.describe(each)[f"b2l{place}"] for place in range(1, 5)) for each in left.enumerate()}
    assert found == {tuple(map(label, path)) for path in paths(3, start=end)}
    assert left.size == len(found)


def test_a_block_that_ends_at_the_finest_scale_is_followed_by_what_the_next_one_has_layers_for():
    two = dataclasses.replace(FULL, layers=(4, 4))
    space = hytra(skeleton=two, start="stem", scales=(4, 3))
    finest = space.restrict({f"b1l{place}": ["conv3"] for place in range(1, 5)})
    assert {space.describe(each)["b2l1"] for each in finest.enumerate()} == {"conv2"}
    assert len(paths(3, start=3)) == finest.size == 35
    keys = Supernet(hytra((3, 32, 32), preset="small", scales=(3, 2, 2))).layers
    assert any(key.startswith("b1l1/conv2") for key in keys)
    assert not any(key.startswith(("b2l1/conv2", "b3l2/conv2")) for key in keys)


def test_the_first_block_of_bossnas_starts_at_the_stem():
    one = dataclasses.replace(FULL, layers=(4,))
    space = hytra(skeleton=one, start="stem")
    found = {tuple(space.describe(each).values()) for each in space.enumerate()}
    assert found == {tuple(map(label, path)) for path in paths(4)}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_scales_only_get_coarser_and_every_layer_is_at_its_own(seed):
    space = hytra((3, 64, 64), preset="full")
    architecture = space.mutate(space.sample(np.random.default_rng(seed)), np.random.default_rng(seed))
    scales = scales_of(space, architecture)
    assert all(0 <= before - after <= 1 for before, after in itertools.pairwise(scales))
    blocks = [node for node in space.lower(architecture).nodes if isinstance(node.op, HybridBlock)]
    shapes = {3: (256, 16, 16), 2: (512, 8, 8), 1: (1024, 4, 4), 0: (2048, 2, 2)}
    assert [node.output_type.shape for node in blocks] == [shapes[scale] for scale in scales]


def test_published_networks_have_the_published_operations():
    """BossNet-T0 3.4 G and at 288 pixels 5.7 G, T1 7.9 G and at 256 pixels 10.5 G: the digits before rounding."""
    found = {}
    for name, pixels in (("t0-no-se", 224), ("t0", 224), ("t0", 288), ("t1", 224), ("t1", 256)):
        space, architecture = ARCHITECTURES[f"bossnet-{name}"]((3, pixels, pixels))
        found[name, pixels] = space.macs(architecture), space.params(architecture)
    assert found == {
        ("t0-no-se", 224): (3_454_934_528, 37_323_368),
        ("t0", 224): (3_455_206_912, 37_597_912),
        ("t0", 288): (5_752_620_544, 37_597_912),
        ("t1", 224): (7_956_671_488, 37_597_912),
        ("t1", 256): (10_525_370_368, 37_597_912),
    }


def block_by_hand(layers, x, kind, scale_change):
    """Compute a block of the small supernet from its tensors (evaluation mode)."""

    def norm(key, y):
        bn = layers[key]
        return functional.batch_norm(y, bn.running_mean, bn.running_var, bn.weight, bn.bias)

    stride, entry = (2, "down1/") if scale_change else (1, "")
    y = functional.conv2d(x, layers[f"{entry}reduce"].weight)
    peg = layers[f"{entry}peg/dw"]
    y = functional.conv2d(y, peg.weight, peg.bias, stride, 1, groups=y.shape[1])
    y = functional.relu(norm("bn1", y))
    if kind == "conv":
        y = functional.conv2d(y, layers["conv"].weight, padding=1)
    else:
        qkv = functional.conv2d(y, layers["att/qkv"].weight)
        batch, channels, height, width = qkv.shape
        query, key, value = qkv.reshape(batch, channels // 24, 3, 8, -1).transpose(-2, -1).unbind(2)
        y = functional.scaled_dot_product_attention(query, key, value)
        y = y.transpose(-2, -1).reshape(batch, channels // 3, height, width)
    y = norm("restore_bn", functional.conv2d(functional.relu(norm("bn2", y)), layers["restore"].weight))
    if scale_change:
        x = functional.relu(
            norm("down1/shortcut/bn", functional.conv2d(x, layers["down1/shortcut/conv"].weight, None, 2, 1))
        )
    return functional.relu(y + x)


@pytest.mark.parametrize("kind", ["att", "conv"])
@pytest.mark.parametrize("change", [False, True])
def test_blocks_are_entered_and_left_as_the_released_code_says(kind, change, small, supernet):
    architecture = small.architecture(
        {"b1l1": "conv1", "b1l2": "conv1", "b2l1": f"{kind}{0 if change else 1}"}
        | dict.fromkeys(["b2l2", "b3l1", "b3l2"], "conv0")
    )
    node = f"b2l1/{kind}{0 if change else 1}:"
    layers = {key.removeprefix(node): layer for key, layer in supernet.layers.items() if key.startswith(node)}
    x = draw(2, 64, 8, 8)
    lowered = small.lower(architecture)
    (place,) = [i for i, each in enumerate(lowered.nodes) if each.name == f"b2l1.{kind}{0 if change else 1}"]
    with torch.no_grad():
        values = {}
        for step in lowered.steps:
            if step.node == place:
                given = [values.get(number, x) for number in step.inputs]
                values[step.output] = supernet.layer_of(step)(step.op, step.input_types, *given)
        assert_close(values[lowered.values[place]], block_by_hand(layers, x, kind, change), 1e-10)


def test_the_first_layer_enters_by_patches_of_its_scale():
    space = hytra((3, 32, 32), preset="small")
    for option, patch in (("conv2", 1), ("conv1", 2), ("att0", 4)):
        rest = dict.fromkeys(["b1l2", "b2l1", "b2l2", "b3l1", "b3l2"], "conv0" if option != "conv2" else "conv1")
        steps = space.lower(space.architecture({"b1l1": option, **rest})).steps
        (step,) = [step for step in steps if step.part == "patches"]
        assert step.op.size == patch
        entered = [s for s in steps if s.weights == f"b1l1.{option}"]
        out = {"conv2": 32, "conv1": 64, "att0": 128}[option]
        assert entered[0].input_types[0].shape == (out // 4, 16 // patch, 16 // patch)
        (projection,) = [s for s in entered if s.part == "entry.conv"]
        assert (projection.op.out, projection.op.kernel) == (out, 1)


def test_blocks_start_as_their_shortcuts():
    types = (TensorType((32, 4, 4)),)
    for kind in ("att", "conv"):
        network = build_network(alone(HybridBlock(32, (4, 4), kind, dim=8), types), seed=0).eval()
        x = torch.randn(2, 32, 4, 4)
        assert torch.equal(network(x), functional.relu(x))


def test_a_jump_over_scales_is_pooled_to_one_halving():
    op = HybridBlock(64, (2, 2), "conv", dim=8)
    network = build_network(alone(op, (TensorType((16, 8, 8)),)), seed=0)
    assert network(torch.zeros(2, 16, 8, 8)).shape == (2, 64, 2, 2)
    assert {key.split("/")[0] for key in network.layers if "down" in key} == {"block:down2"}
    space = hytra((3, 32, 32), 5, halvings="jumps")
    supernet = scrambled(Supernet(space).double()).eval()
    architecture = space.architecture({f"b{b}l{n}": "att0" for b in (1, 2, 3) for n in (1, 2)} | {"b1l1": "conv2"})
    with torch.no_grad():
        x = draw(2, 3, 32, 32)
        assert_close(extract(supernet, architecture)(x), supernet(x, architecture), 1e-10)


@pytest.mark.parametrize("training", [False, True])
def test_blocks_run_one_after_another_give_exactly_what_the_network_gives(training, small, supernet):
    supernet.train(training)
    x, rng = draw(4, 3, 32, 32), generator(0, "blocks")
    cuts = [None, "stem", "block1", "block2", "block3"]
    for architecture in [small.smallest(), small.largest(), *(small.sample(rng) for _ in range(6))]:
        with torch.no_grad():
            value = x
            for start, stop in itertools.pairwise(cuts):
                value = supernet.run(value, architecture, start=start, stop=stop)
                assert torch.equal(value, supernet.run(x, architecture, stop=stop))
            assert torch.equal(supernet.run(value, architecture, start="block3"), supernet(x, architecture))
    supernet.eval()


def test_a_boundary_that_is_none_is_refused(small, supernet):
    with pytest.raises(UsageError, match="boundary 'block9' is unknown"):
        supernet.run(draw(1, 3, 32, 32), small.smallest(), stop="block9")


def test_paths_of_equal_scales_run_masked_as_they_run_apart(small, supernet):
    names = [read.name for read in small.choices]
    pair = [
        small.architecture(dict(zip(names, f"{a}1 conv1 {a}0 {b}0 att0 {b}0".split(), strict=True)))
        for a, b in (("att", "conv"), ("conv", "att"))
    ]
    x = draw(4, 3, 32, 32)
    with torch.no_grad():
        found = supernet.run_masked(x, pair)
        for place, architecture in enumerate(pair):
            images = slice(2 * place, 2 * place + 2)
            assert_close(found[images], supernet(x[images], architecture), 1e-10)


def test_a_few_steps_on_one_batch_reduce_the_loss(small):
    supernet = Supernet(small, seed=1)
    rng, x, y = generator(0, "steps"), torch.randn(16, 3, 32, 32), torch.arange(16) % 5
    architecture = small.sample(rng)
    optimiser = torch.optim.SGD(supernet.parameters(), 0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        loss = functional.cross_entropy(supernet(x, architecture), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_an_extracted_network_keeps_no_weights_of_other_entries(small, supernet):
    architecture = small.sample(generator(3, "extract"))
    network = extract(supernet, architecture)
    assert sum(each.numel() for each in network.parameters()) == small.params(architecture)


def test_retrained_variants_differ_from_searched_ones_as_declared():
    searched = hytra((3, 64, 64), preset="full")
    kept = hytra((3, 64, 64), preset="full", act="swish", se=0.25, shortcut="pool", last_stride=1)
    assert kept.fingerprint == searched.fingerprint
    names = [c.name for c in kept.choices]
    architecture = kept.architecture(dict(zip(names, ["conv1"] + ["conv0"] * 15, strict=True)))
    steps = kept.lower(architecture).steps
    assert kept.lower(architecture).nodes[-3].output_type.shape == (2048, 4, 4)
    assert sum(step.part == "se.scale" for step in steps) == 16
    assert not [s for s in steps if s.part.endswith("shortcut_pool")]  # nothing to halve at stride 1
    assert {s.op.kind for s in steps if s.part == "act1"} == {"swish"}
    (shortcut,) = [s for s in steps if s.part == "down1.shortcut.conv"]
    assert shortcut.op == Conv2d(2048, 1)


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_width_multiplies_channels_in_whole_heads(width):
    space = hytra((3, 32, 32), 5, width=width)
    network = build_network(space.lower(space.largest()), seed=0).eval()
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 5)
    assert space.fingerprint == hytra((3, 32, 32), 5).fingerprint


@pytest.mark.parametrize(
    ("options_", "sentence"),
    [
        ({"input_shape": (3, 36, 32)}, "halves the image to 1/8 and was given 36x32 pixels"),
        ({"input_shape": (3, 200, 200)}, "halves the image to 1/32 and was given 200x200 pixels"),
        ({"input_shape": (3, 30, 30)}, "halves the image to 1/4 and was given 30x30 pixels"),
        ({"last_stride": 3}, "hytra was given last_stride 3; expected 1 or 2"),
        ({"scales": (3, 1, 1)}, "3 blocks was given the scales"),
        ({"scales": (3, 2)}, "3 blocks was given the scales"),
        ({"scales": (2, 3, 2)}, "3 blocks was given the scales"),
        ({"start": "middle"}, "start of hytra 'middle'"),
        ({"halvings": "some"}, "halvings of hytra 'some'"),
        ({"shortcut": "none"}, "shortcut of hytra 'none'"),
        ({"preset": "huge"}, "preset of hytra 'huge'"),
        ({"width": 0.0}, "hytra was given width 0"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(options_, sentence):
    with pytest.raises(SpaceError, match=sentence):
        hytra(**{"input_shape": (3, 32, 32), **options_})


def test_a_block_refuses_a_coarser_or_crooked_map():
    op = HybridBlock(32, (4, 4), "conv", dim=8)
    for shape in ((64, 2, 2), (16, 8, 4), (64, 8, 8)):
        with pytest.raises(SpaceError, match="a block of 32 channels at 4x4 was given"):
            op.shape((TensorType(shape),))


def test_presets_follow_the_size_of_the_image():
    def stem(size):
        space = hytra((3, size, size), 5)
        return len(space.choices), space.lower(space.smallest()).nodes[1].op.stride

    assert [stem(224), stem(32), stem(28)] == [(16, 2), (6, 2), (6, 1)]
    assert isinstance(SMALL, Skeleton)
