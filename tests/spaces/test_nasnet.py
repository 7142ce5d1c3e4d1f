"""The space nasnet: golden counts, wiring, strides, stems, unused states, dropped paths, and what it refuses."""

import time

import numpy as np
import pytest
import torch
from nasforge_spaces.nasnet import NASNET_A, OPERATIONS, decisions_of, nasnet, nasnet_a, nasnet_a_large, nasnet_a_mobile

from nasforge.build import Network, build_network, has_auxiliary
from nasforge.build.auxiliary import BOUNDARY, AuxiliaryHead
from nasforge.errors import SpaceError
from nasforge.layers.drop_path import DropPath
from nasforge.ops import GlobalPool
from nasforge.testing.spaces import SpaceSuite, count


def small(**options):
    return nasnet((3, 12, 12), 4, **{"blocks": 2, "repeats": 1, "filters": 96, **options})


class TestNasnet(SpaceSuite):
    """Two blocks, one repeat: the whole conformance suite."""

    name = "nasnet"
    architectures, networks, runs = 40, 4, 2

    def declare(self):
        return small()


@pytest.mark.slow
class TestNasnetA(SpaceSuite):
    """The same with the released network's concatenation and both cells twice."""

    name = "nasnet"
    architectures, networks, runs = 20, 3, 1

    def declare(self):
        return small(concat="nasnet-a", repeats=2, filters=48)


def named(lowered, name):
    (node,) = (node for node in lowered.nodes if node.name == name)
    return node


def penultimate(lowered):
    (pool,) = (node for node in lowered.nodes if isinstance(node.op, GlobalPool))
    return pool.input_types[0].channels


def with_options(space, **changes):
    """Return the smallest architecture with some options changed; names with / for dots."""
    said = {**space.describe(space.smallest()), **{name.replace("_", ".", 2): o for name, o in changes.items()}}
    return space.architecture(said)


# Size and sharing


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_the_size_counts_five_decisions_a_block(blocks):
    space = small(blocks=blocks)
    cell = np.prod([(b + 2) ** 2 * 13**2 * 2 for b in range(blocks)], dtype=object)
    assert space.size == cell**2
    assert len(space.choices) == 2 * 5 * blocks


def test_block_b_chooses_among_b_plus_2_states_and_13_operations():
    space = small(blocks=5)
    options = {str(read.name): len(read.options) for read in space.choices}
    for kind in ("normal", "reduction"):
        assert [options[f"{kind}.b{b}.in{side}"] for b in range(1, 6) for side in (1, 2)] == [
            states for states in range(2, 7) for _ in range(2)
        ]
    assert len(OPERATIONS) == 13
    assert {count for name, count in options.items() if ".op" in name} == {13}


def test_an_architecture_found_small_can_be_built_large():
    little, large = small(blocks=5), nasnet()
    architecture = little.sample(np.random.default_rng(0))
    assert large.fingerprint == little.fingerprint
    assert large.params(architecture) == large.lower(architecture).total("params") > little.params(architecture)


def test_declaring_and_costing_twenty_cells_is_quick():
    start = time.process_time()
    space = nasnet()
    rows = space.sample_batch(10_000, np.random.default_rng(0))
    costs = space.cost("macs").batch(rows)
    assert time.process_time() - start < 6  # about 1.5 s; 17 s when every cell was worked out anew
    architecture = space.from_decisions(rows[0])
    assert costs[0] == space.lower(architecture).total("macs")


# Golden counts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "params", "macs", "width"),
    [
        (nasnet_a, 3_346_538, 544_333_312, 768),
        (nasnet_a_mobile, 5_289_978, 563_638_816, 1056),
        (nasnet_a_large, 88_753_150, 23_783_414_658, 4032),
    ],
)
def test_the_released_networks_have_the_published_counts_and_penultimate_width(make, params, macs, width):
    space, architecture = make()
    lowered = space.lower(architecture)
    assert (space.params(architecture), space.macs(architecture)) == (params, macs)
    assert penultimate(lowered) == width
    with torch.device("meta"):
        network = Network(lowered)
        assert count(network) == params
        (shape,) = space.input_shapes.values()
        assert network.eval()(torch.empty(1, *shape)).shape == (1, 10 if width == 768 else 1000)


@pytest.mark.slow
def test_without_the_two_exceptions_the_penultimate_widths_are_640_and_880():
    for space, width in ((nasnet(), 640), (nasnet((3, 224, 224), 1000), 880)):
        assert penultimate(space.lower(space.architecture(decisions_of(NASNET_A)))) == width


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_swap_of_the_two_states_is_another_network(repeats):
    space, architecture = nasnet_a(repeats, 96, (3, 12, 12))
    said = space.describe(architecture)
    swapped = {key: {"0": "1", "1": "0"}.get(value, value) if ".in" in key else value for key, value in said.items()}
    other = space.architecture(swapped)
    assert space.network_id(other) != space.network_id(architecture)
    if repeats == 2:
        assert space.params(other) != space.params(architecture)


# Wiring


def test_zeroing_the_earlier_state_leaves_blocks_2_and_4_of_the_normal_cell_constant():
    space, architecture = nasnet_a(2, 96, (3, 8, 8))
    network = build_network(space.lower(architecture), seed=0).eval()
    network.layers["s1c2/earlier:bn"].register_forward_hook(lambda module, given, output: torch.zeros_like(output))
    seen = {}
    for b in range(1, 6):
        network.layers[f"s1c2/b{b}/add"].register_forward_hook(
            lambda module, given, output, b=b: seen.setdefault(b, []).append(output)
        )
    with torch.no_grad():
        for seed in (0, 1):
            network(torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed)))
    constant = {b for b, (first, second) in seen.items() if torch.equal(first, second)}
    assert constant == {2, 4}


@pytest.mark.parametrize("concat", ["unused", "all"])
def test_the_last_cell_puts_out_its_unused_states_or_all_blocks(concat):
    space, rng = small(concat=concat), np.random.default_rng(0)
    for _ in range(10):
        architecture = space.sample(rng)
        said = space.describe(architecture)
        used = {said[f"normal.b{b}.in{side}"] for b in (1, 2) for side in (1, 2)}
        lowered = space.lower(architecture)
        assert penultimate(lowered) == 4 * (4 - len(used) if concat == "unused" else 2) * 4
        assert space.params(architecture) == count(build_network(lowered, seed=0))


@pytest.mark.parametrize(("kind", "kept"), [("normal", "1"), ("reduction", "3")])
def test_each_cell_of_nasnet_a_joins_one_state_that_is_used(kind, kept):
    space, architecture = nasnet_a(1, 96, (3, 12, 12))
    said = space.describe(architecture)
    used = {said[f"{kind}.b{b}.in{side}"] for b in range(1, 6) for side in (1, 2)}
    assert kept in used
    cell = {"normal": "s3c1", "reduction": "reduction2"}[kind]
    joined = named(space.lower(architecture), f"{cell}.out").input_types
    assert len(joined) == 7 - len(used) + 1 == {"normal": 6, "reduction": 4}[kind]


def test_separable_convolutions_are_applied_twice_and_stride_once():
    space = small()
    architecture = with_options(space, reduction_b1_op1="sep_conv_5x5", reduction_b1_in1="0")
    lowered = space.lower(architecture)
    steps = [s for s in lowered.steps if s.weights == "reduction1.b1.1.sep_conv_5x5"]
    depthwise = [s.op for s in steps if getattr(s.op, "depthwise", False)]
    assert [(op.kernel, op.stride) for op in depthwise] == [(5, 2), (5, 1)]
    assert [s.part for s in steps] == [f"{part}{turn}" for turn in (0, 1) for part in ("act", "dw", "pw", "bn")]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_reduction_cells_halve_what_comes_from_outside_and_nothing_else(operation):
    space = small()
    changes = {"reduction_b2_op1": operation, "reduction_b2_op2": "conv_3x3", "reduction_b2_in2": "1"}
    changes |= {"normal_b1_in1": "0", "normal_b1_op1": "conv_3x3"}  # which reads the reduction cell
    for state, halved in (("0", True), ("1", True), ("2", False)):
        lowered = space.lower(with_options(space, reduction_b2_in1=state, **changes))
        join = next(n for n in lowered.nodes if n.name in ("reduction1.b2.add", "reduction1.b2.concat"))
        assert join.output_type.spatial == (6, 6)
        own = [n for n in lowered.nodes if n.name == f"reduction1.b2.1.{operation}"]
        if own:  # an identity of a block is nothing
            assert own[0].input_types[0].spatial == ((12, 12) if halved else (6, 6))
        else:
            assert (operation, halved) == ("identity", False)
        normal = [n for n in lowered.nodes if n.name.startswith("s2c1.b")]
        assert all(n.output_type.spatial == (6, 6) for n in normal)


def test_concatenated_branches_come_back_to_the_width_of_the_cell():
    space = small()
    lowered = space.lower(with_options(space, normal_b1_combine="concat"))
    back = named(lowered, "s3c1.b1.back")
    assert (back.input_types[0].channels, back.output_type.channels) == (32, 16)
    added = space.lower(with_options(space, normal_b1_combine="add"))
    assert not [n for n in added.nodes if n.name == "s3c1.b1.back"]


# Stacks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "sizes", "base"),
    [(nasnet_a_mobile, (111, 56, 28, 14, 7), 44), (nasnet_a_large, (165, 83, 42, 21, 11), 168)],
)
def test_the_imagenet_stem_is_unpadded_and_two_reductions_at_a_quarter_and_half_of_the_filters(make, sizes, base):
    space, architecture = make()
    lowered = space.lower(architecture)
    cells = ("stem_bn", "stem1.out", "stem2.out", "reduction1.out", "reduction2.out")
    assert tuple(named(lowered, cell).output_type.spatial[0] for cell in cells) == sizes
    widths = [named(lowered, f"{cell}.previous").output_type.channels for cell in ("stem1", "stem2", "s1c1")]
    assert widths == [base // 4, base // 2, base]


def test_skipping_the_input_of_the_reduction_changes_what_the_next_cell_reads():
    for skip in (False, True):
        space = small(repeats=2, skip_reduction_layer_input=skip)
        lowered = space.lower(space.sample(np.random.default_rng(3)))
        earlier = named(lowered, "s2c1.earlier") if any(n.name == "s2c1.earlier" for n in lowered.nodes) else None
        assert earlier is not None
        source = lowered.nodes[earlier.inputs[0]].name
        assert source.split(".")[0] == ("s1c1" if skip else "s1c2")


@pytest.mark.parametrize("repeats", [1, 2])
def test_the_auxiliary_head_sits_in_front_of_the_second_reduction(repeats):
    space = small(repeats=repeats)
    lowered = space.lower(space.sample(np.random.default_rng(0)))
    node = lowered.nodes[lowered.cuts[BOUNDARY]]
    assert node.name.startswith(f"s2c{repeats}.")
    assert node.output_type.spatial == (6, 6)
    network = build_network(lowered, seed=0)
    assert has_auxiliary(network)
    assert AuxiliaryHead(node.output_type.shape, 4)(torch.rand(2, *node.output_type.shape)).shape == (2, 4)


# ScheduledDropPath


@pytest.mark.parametrize(("size", "cells"), [(12, 5), (64, 7)])
def test_every_branch_but_identities_may_be_dropped_by_the_depth_of_its_cell(size, cells):
    space = nasnet((3, size, size), 4, blocks=2, repeats=1, filters=96)
    order = ["stem1", "stem2"] * (cells == 7) + ["s1c1", "reduction1", "s2c1", "reduction2", "s3c1"]
    rng = np.random.default_rng(0)
    for _ in range(5):
        architecture = space.sample(rng)
        lowered, said = space.lower(architecture), space.describe(architecture)
        dropped = {lowered.nodes[index].name: depth for index, depth in lowered.drops.items()}
        expected = {}
        for place, cell in enumerate(order):
            kind = "normal" if cell[-2] == "c" else "reduction"
            for b, side in ((b, side) for b in (1, 2) for side in (1, 2)):
                operation = said[f"{kind}.b{b}.op{side}"]
                if operation != "identity":
                    expected[f"{cell}.b{b}.{side}.{operation}"] = (place + 1) / cells
        assert dropped == expected
        network = build_network(lowered, seed=0)
        assert sum(isinstance(module, DropPath) for module in network.modules()) == len(expected)


# Bad input


@pytest.mark.parametrize(
    "options",
    [
        {"filters": 100},
        {"concat": "al"},
        {"stem": "cifer"},
        {"blocks": 0},
        {"repeats": 0},
        {"stem": "imagenet"},
        {"stem_multiplier": 0},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(SpaceError, match=r"was given|Did you mean"):
        nasnet((3, 12, 12), **options)
