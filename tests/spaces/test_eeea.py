"""The space eeea: golden counts, genes, index ranges, strides, what a cell joins and keeps, and what it refuses."""

import time

import numpy as np
import onnx
import pytest
import torch
from nasforge_spaces.eeea import ARCHITECTURES, OPERATIONS, InvertedResidual, eeea

from nasforge.build import Network, build_network, export_onnx, has_auxiliary
from nasforge.build.auxiliary import BOUNDARY
from nasforge.errors import SpaceError
from nasforge.ops import Keep
from nasforge.space import Body, TensorType
from nasforge.space.cells import cell_options
from nasforge.testing.spaces import SpaceSuite, count

DARTS_V2 = {
    "normal": "sep_conv_3x3 0 sep_conv_3x3 1; sep_conv_3x3 0 sep_conv_3x3 1; sep_conv_3x3 1 skip_connect 0; "
    "skip_connect 0 dil_conv_3x3 2",
    "reduction": "max_pool_3x3 0 max_pool_3x3 1; skip_connect 2 max_pool_3x3 1; max_pool_3x3 0 skip_connect 2; "
    "skip_connect 2 max_pool_3x3 1",
}
"""The second-order cells of DARTS, whose operations, wiring and stacking are among those of this space."""


def small(**options):
    return eeea((3, 12, 12), 4, **{"blocks": 3, "layers": 3, "channels": 4, **options})


@pytest.mark.slow
class TestEeea(SpaceSuite):
    """What the suite of installed spaces does not look at: all states in reach, all blocks joined, four layers."""

    name = "eeea"
    architectures, networks, runs = 30, 4, 2

    def declare(self):
        return small(index_range="full", concat="all", layers=4, blocks=2)


def with_options(space, **changes):
    """Return an architecture of skip connections from state 0, with some options changed; names with _ for dots."""
    said = {str(read.name): "skip_connect" if ".op" in str(read.name) else "0" for read in space.choices}
    return space.architecture({**said, **{name.replace("_", ".", 2): option for name, option in changes.items()}})


# Golden counts


@pytest.mark.parametrize(
    ("name", "unused", "joined"),
    [
        ("eeea-a", 1_769_230, 2_728_702),
        ("eeea-b", 1_870_318, 2_829_790),
        ("eeea-c", 3_513_358, 4_239_406),
        ("eeea-ea", 2_925_046, 3_832_678),
    ],
)
def test_the_published_networks_have_the_published_counts(name, unused, joined):
    for concat, params in (("unused", unused), ("all", joined)):
        space, architecture = ARCHITECTURES[name](concat=concat)
        assert space.params(architecture) == space.lower(architecture).total("params") == params
    with torch.device("meta"):
        network = Network(space.lower(architecture))
        assert count(network) == joined
        assert network.eval()(torch.empty(1, 3, 32, 32)).shape == (1, 10)


def test_the_cells_of_darts_have_the_parameters_that_its_authors_count():
    space = eeea(blocks=4, index_range="full", concat="all", layers=20, channels=36)
    assert space.params(space.architecture(cell_options(DARTS_V2))) == 3_349_342


def test_random_networks_are_as_large_as_those_of_the_released_rules():
    space = eeea(layers=20, channels=36)
    millions = space.cost("params").batch(space.sample_batch(20_000, np.random.default_rng(0))) / 1e6
    assert np.quantile(millions, (0.1, 0.5, 0.9)) == pytest.approx([3.47, 5.74, 8.60], abs=0.1)
    assert [(millions < beta).mean() for beta in (3, 4, 5)] == pytest.approx([0.032, 0.21, 0.36], abs=0.012)


def test_declaring_twenty_cells_and_counting_is_quick():
    start = time.process_time()
    space = eeea(layers=20, channels=36)
    rows = space.sample_batch(20_000, np.random.default_rng(0))
    params = space.cost("params").batch(rows)
    assert time.process_time() - start < 4  # about half a second
    assert params[0] == space.lower(space.from_decisions(rows[0])).total("params")


# Genes


def test_the_choices_are_the_forty_genes_in_order():
    names = [str(read.name) for read in eeea().choices]
    assert names == [
        f"{kind}.b{b}.{gene}"
        for kind in ("normal", "reduction")
        for b in range(1, 6)
        for gene in ("op1", "in1", "op2", "in2")
    ]


@pytest.mark.parametrize(("index_range", "first"), [("code", 1), ("full", 2)])
def test_the_size_counts_operations_and_the_states_in_reach(index_range, first):
    space = small(index_range=index_range)
    assert space.size == np.prod([(10 * (b + first)) ** 2 for b in range(3)], dtype=object) ** 2
    assert len(OPERATIONS) == 10


@pytest.mark.parametrize("change", [{"layers": 8}, {"channels": 8}, {"concat": "all"}])
def test_an_architecture_found_small_can_be_built_otherwise(change):
    little, large = small(), small(**change)
    architecture = little.sample(np.random.default_rng(0))
    assert large.fingerprint == little.fingerprint
    assert large.params(architecture) > little.params(architecture)
    assert small(index_range="full").fingerprint != little.fingerprint


# Cells


@pytest.mark.parametrize("layers", [3, 8, 20])
def test_the_cells_at_a_third_and_two_thirds_are_reductions_and_twice_as_wide(layers):
    space = eeea((3, 32, 32), layers=layers, channels=4)
    lowered = space.lower(with_options(space))
    found = {node.name.split(".")[0]: node for node in lowered.nodes if node.name.endswith(".previous")}
    widths = [found[f"c{number + 1}"].output_type.channels for number in range(layers)]
    doubled = [number for number in range(layers) if widths[number] > (widths[number - 1] if number else 4)]
    assert doubled == [layers // 3, 2 * layers // 3]
    assert widths[-1] == 16


@pytest.mark.parametrize("operation", OPERATIONS)
def test_reductions_halve_the_two_outer_states_and_nothing_else(operation):
    space = small()
    for state, halved in (("0", True), ("1", True), ("2", False)):
        lowered = space.lower(with_options(space, reduction_b3_op1=operation, reduction_b3_in1=state))
        own = [node for node in lowered.nodes if node.name == f"c2.b3.1.{operation}"]
        if own:
            assert own[0].input_types[0].spatial == ((12, 12) if halved else (6, 6))
            assert own[0].output_type.spatial == (6, 6)
        else:
            assert (operation, halved) == ("skip_connect", False)


def test_inverted_residuals_have_a_shortcut_at_stride_1_only_and_do_not_expand():
    types = (TensorType((6, 8, 8)),)
    for stride in (1, 2):
        operator = InvertedResidual(6, 5, stride)
        body = Body(types)
        operator.expand(body)
        assert ("add" in [part.name for part in body.parts]) == (stride == 1)
        assert operator.params(types) == 2 * 36 + 25 * 6 + 3 * 12


@pytest.mark.parametrize("concat", ["unused", "all"])
def test_a_cell_joins_the_blocks_that_no_block_reads_or_all(concat):
    space, rng = small(concat=concat), np.random.default_rng(0)
    for _ in range(10):
        architecture = space.sample(rng)
        said = space.describe(architecture)
        used = {said[f"reduction.b{b}.in{side}"] for b in (1, 2, 3) for side in (1, 2)} & {"2", "3", "4"}
        lowered = space.lower(architecture)
        (out,) = (node for node in lowered.nodes if node.name == "c3.keep")
        assert out.output_type.channels == 16 * (3 if concat == "all" else 3 - len(used))


def test_a_previous_cell_that_no_block_reads_stays_in_the_network_and_out_of_the_file(tmp_path):
    space = small()
    architecture = with_options(space)  # every block reads state 0
    network = build_network(space.lower(architecture), seed=0).eval()
    assert any(name.startswith("c2/") for name in dict(network.layers.named_children()))
    assert count(network) == space.params(architecture)
    export_onnx(network, (3, 12, 12), tmp_path / "model.onnx")
    kept = sum(np.prod(each.dims) for each in onnx.load(tmp_path / "model.onnx").graph.initializer)
    assert kept < 0.9 * count(network)
    x = torch.randn(2, 3, 12, 12)
    expected = network(x)
    network.layers["c2/previous:bn"].weight.data.zero_()
    assert torch.equal(network(x), expected)


def test_what_is_kept_costs_nothing_itself():
    types = (TensorType((6, 8, 8)), TensorType((3, 4, 4)))
    keep = Keep()
    assert (keep.shape(types), keep.params(types), keep.macs(types), keep.activation_bytes(types)) == (
        types[0],
        0,
        0,
        0,
    )
    assert keep.prune((False, True), types)[1] == (0,)
    assert keep.prune((True, False), types) is None


def test_every_path_but_identities_may_be_dropped():
    space, rng = small(), np.random.default_rng(0)
    for _ in range(5):
        architecture = space.sample(rng)
        said, lowered = space.describe(architecture), space.lower(architecture)
        dropped = {lowered.nodes[index].name for index in lowered.drops}
        expected = set()
        for cell, kind in (("c1", "normal"), ("c2", "reduction"), ("c3", "reduction")):
            for b, side in ((b, side) for b in (1, 2, 3) for side in (1, 2)):
                operation, state = said[f"{kind}.b{b}.op{side}"], said[f"{kind}.b{b}.in{side}"]
                if operation != "skip_connect" or (kind == "reduction" and state in "01"):
                    expected.add(f"{cell}.b{b}.{side}.{operation}")
        assert dropped == expected
        assert set(lowered.drops.values()) <= {1.0}


def test_the_auxiliary_head_reads_the_second_reduction():
    space = small(layers=6)
    lowered = space.lower(space.sample(np.random.default_rng(0)))
    assert lowered.nodes[lowered.cuts[BOUNDARY]].name == "c5.keep"
    assert has_auxiliary(build_network(lowered, seed=0))


def test_the_imagenet_stem_ends_at_an_eighth_of_the_image():
    space = eeea((3, 64, 64), 7, layers=3, channels=4, blocks=2)
    lowered = space.lower(with_options(space))
    size = {node.name: node.output_type.shape for node in lowered.nodes}
    assert (size["stem1"], size["stem2"], size["stem3"]) == ((2, 32, 32), (4, 16, 16), (4, 8, 8))
    assert size["c1.b1.add"] == (4, 8, 8)
    assert build_network(lowered, seed=0)(torch.randn(2, 3, 64, 64)).shape == (2, 7)


# Bad input


@pytest.mark.parametrize(
    "options", [{"blocks": 0}, {"layers": 2}, {"index_range": "cod"}, {"concat": "al"}, {"stem": "imagenet"}]
)
def test_bad_options_are_refused(options):
    with pytest.raises(SpaceError, match=r"was given|Did you mean"):
        small(**options)
