"""The spaces that ship: golden counts, presets by input; shape, classes and width; errors for small inputs."""

import itertools
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict

import networkx as nx
import numpy as np
import pytest
from nasforge_spaces.mbconv import ARCHITECTURES, mbconv
from nasforge_spaces.mbconv_elastic import mbconv_elastic
from nasforge_spaces.nb201 import EDGES, OPERATIONS, nb201

from nasforge.errors import SpaceError
from nasforge.ops import Conv, MBConv, Resize, divisible
from nasforge.space.additive import AdditiveCost

# ProxylessNAS's released networks: (stem, first, stages of (width, stride, blocks kernel/expansion), feature mix)

RELEASED = {
    "proxyless-mobile": (
        (32, 16),
        [
            (32, 2, "5/3 3/3"),
            (40, 2, "7/3 3/3 5/3 5/3"),
            (80, 2, "7/6 5/3 5/3 5/3"),
            (96, 1, "5/6 5/3 5/3 5/3"),
            (192, 2, "7/6 7/6 7/3 7/3"),
            (320, 1, "7/6"),
        ],
        1280,
    ),
    "proxyless-cpu": (
        (40, 24),
        [
            (32, 2, "3/6 3/3 3/3 3/3"),
            (48, 2, "3/6 3/3 3/3 5/3"),
            (88, 2, "3/6 3/3"),
            (104, 1, "5/6 3/3 3/3 3/3"),
            (216, 2, "5/6 5/3 5/3 3/3"),
            (360, 1, "5/6"),
        ],
        1432,
    ),
    "proxyless-gpu": (
        (40, 24),
        [
            (32, 2, "5/3"),
            (56, 2, "7/3 3/3"),
            (112, 2, "7/6 5/3"),
            (128, 1, "5/6 3/3 5/3"),
            (256, 2, "7/6 7/6 7/6 5/6"),
            (432, 1, "7/6"),
        ],
        1728,
    ),
}
GOLDEN = {
    "proxyless-mobile": (4_080_512, 320_427_584),
    "proxyless-gpu": (7_119_848, 465_260_160),
    "proxyless-cpu": (4_361_648, 439_243_864),
}


def by_hand(name):
    """Params and MACs of a released network, from its table alone."""
    (stem, first), stages, mix = RELEASED[name]
    size = 112
    params, macs = 27 * stem + 2 * stem, 27 * stem * size**2

    def block(before, out, kernel, expansion, stride):
        nonlocal params, macs, size
        hidden = before * expansion
        if expansion > 1:
            params, macs = params + before * hidden + 2 * hidden, macs + before * hidden * size**2
        size //= stride
        params += kernel**2 * hidden + 2 * hidden + hidden * out + 2 * out
        macs += (kernel**2 * hidden + hidden * out) * size**2

    block(stem, first, 3, 1, 1)
    before = first
    for width, stride, blocks in stages:
        for number, entry in enumerate(blocks.split()):
            kernel, expansion = map(int, entry.split("/"))
            block(before, width, kernel, expansion, stride if number == 0 else 1)
            before = width
    params += before * mix + 2 * mix + mix * 1000 + 1000
    return params, macs + before * mix * size**2 + mix * 1000


@pytest.mark.parametrize("name", RELEASED)
def test_released_proxylessnas_networks_have_their_published_counts(name):
    space, architecture = ARCHITECTURES[name]()
    found = space.params(architecture), space.macs(architecture)
    assert found == GOLDEN[name] == by_hand(name)
    lowered = space.lower(architecture)
    assert (lowered.total("params"), lowered.total("macs")) == found
    assert space.input_shapes == {"image": (3, 224, 224)}


def test_the_rounded_counts_of_the_paper_hold():
    said = {name: f"{params / 1e6:.4f} M {macs / 1e6:.2f} M" for name, (params, macs) in GOLDEN.items()}
    assert said["proxyless-mobile"] == "4.0805 M 320.43 M"
    assert said["proxyless-gpu"] == "7.1198 M 465.26 M"


@pytest.mark.parametrize("name", RELEASED)
def test_show_prints_the_golden_counts_as_integers(name):
    code = f"from nasforge.cli.app import main; raise SystemExit(main(['show', '{name}', '--json']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout)
    assert (facts["params"], facts["macs"]) == GOLDEN[name]
    assert type(facts["params"]) is type(facts["macs"]) is int


# mbconv


def test_mbconv_counts_six_candidates_and_zero_where_there_is_a_shortcut():
    space = mbconv()
    assert [len(read.options) for read in space.choices] == [6, 7, 7, 7] * 5 + [6]
    assert space.size == 6**6 * 7**15
    assert {read.kind for read in space.choices} == {"operator"}


def test_mbconv_candidates_have_weights_of_their_own():
    space = mbconv((3, 32, 32))
    keys = defaultdict(set)
    rng = np.random.default_rng(0)
    for _ in range(50):
        architecture = space.sample(rng)
        for node in space.lower(architecture).nodes:
            if isinstance(node.op, MBConv):
                keys[node.weights].add(node.op)
    assert all(len(operators) == 1 for operators in keys.values())


@pytest.mark.parametrize(
    ("size", "stem", "strides"),
    [(224, 32, 32), (96, 32, 32), (64, 16, 8), (24, 16, 8), (23, 8, 4), (8, 8, 4), (4, 8, 4)],
)
def test_mbconv_chooses_its_preset_by_the_input(size, stem, strides):
    space = mbconv((1, size, size), classes=7)
    lowered = space.lower(space.largest())
    (first,) = (node for node in lowered.nodes if node.name == "stem")
    assert first.op.out == stem
    assert lowered.nodes[-3].output_type.spatial == (-(-size // strides),) * 2
    assert lowered.nodes[-1].output_type.shape == (7,)
    assert space.input_shapes == {"image": (1, size, size)}


@pytest.mark.parametrize("declare", [mbconv, mbconv_elastic, nb201])
def test_width_multiplies_channels_and_the_fingerprint_stays(declare):
    shape = (3, 32, 32)
    narrow, plain, wide = (declare(shape, classes=5, width=width) for width in (0.5, 1.0, 2.0))
    assert narrow.fingerprint == plain.fingerprint == wide.fingerprint
    rng = np.random.default_rng(0)
    for _ in range(10):
        architecture = plain.sample(rng)
        assert wide.params(wide.validated(architecture)) > plain.params(architecture)
        assert narrow.params(narrow.validated(architecture)) <= plain.params(architecture)


@pytest.mark.parametrize("declare", [mbconv, mbconv_elastic, nb201])
def test_an_architecture_found_small_is_one_for_more_classes_and_pixels(declare):
    small, large = declare((3, 32, 32), classes=4), declare((1, 48, 48), classes=9)
    architecture = small.sample(np.random.default_rng(0))
    assert large.from_json(small.to_json(architecture)) == architecture
    assert large.macs(architecture) > small.macs(architecture)


@pytest.mark.parametrize(
    ("declare", "options", "sentence"),
    [
        (mbconv, {"input_shape": (3, 3, 3)}, "mbconv preset 'tiny' halves the image to 1/4, and was given 3x3 pixels"),
        (mbconv, {"input_shape": (3, 16, 16), "preset": "full"}, "halves the image to 1/32, and was given 16x16"),
        (mbconv, {"input_shape": (3, 224, 2)}, "was given 224x2 pixels; use a larger image or another preset"),
        (mbconv, {"preset": "huge"}, "preset 'huge'; expected one of .*'full', 'small', 'tiny'"),
        (mbconv_elastic, {"input_shape": (3, 4, 4)}, "halves the image to 1/4, and was given 4 pixels"),
        (mbconv_elastic, {"input_shape": (3, 32, 32), "preset": "full"}, "halves the image to 1/32, and was given 32"),
        (mbconv_elastic, {"preset": "huge"}, "mbconv_elastic was given preset 'huge'"),
        (nb201, {"input_shape": (3, 3, 3)}, "nb201 halves the image twice, and was given 3 pixels; use at least 4"),
    ],
)
def test_inputs_too_small_and_unknown_presets_are_refused(declare, options, sentence):
    with pytest.raises(SpaceError, match=sentence):
        declare(**options)


# mbconv_elastic


def test_mbconv_elastic_counts_nested_depths():
    small = mbconv_elastic((3, 32, 32))
    layers = [sum((2 * 3) ** depth for depth in depths) for depths in ((1, 2), (1, 2, 3), (1, 2, 3))]
    assert small.size == 3 * 3 * 3**3 * int(np.prod(layers))
    assert {read.kind for read in small.choices} == {"attribute", "depth"}


def test_mbconv_elastic_is_elastic_in_everything_it_says():
    space = mbconv_elastic((3, 64, 64))
    for name, options in {read.name: read.labels for read in space.choices}.items():
        found = set()
        for label in options:
            base = space.restrict({str(name): [label]})
            architecture = base.largest()
            found.add(space.network_id(architecture))
        assert len(found) == len(options), name
    largest = space.lower(space.largest())
    assert [n.op.size for n in largest.nodes if isinstance(n.op, Resize)] == [64]
    assert space.macs(space.smallest()) < 0.3 * space.macs(space.largest())


def test_mbconv_elastic_depth_skips_the_last_layers_and_their_decisions():
    space = mbconv_elastic((3, 32, 32))
    architecture = space.restrict({"s2.depth": [1]}).largest()
    described = space.describe(architecture)
    assert "s2b1.kernel" in described
    assert not {"s2b2.kernel", "s2b3.kernel", "s2b2.expansion"} & set(described)
    blocks = [node.name for node in space.lower(architecture).nodes if isinstance(node.op, MBConv)]
    assert [name for name in blocks if name.startswith("s2")] == ["s2b1"]


def test_least_and_most_of_mbconv_elastic_are_bounds_of_random_architectures():
    space = mbconv_elastic((3, 32, 32))
    rows = space.sample_batch(5000, np.random.default_rng(0))
    for metric in ("params", "macs"):
        cost = space.cost(metric)
        assert isinstance(cost, AdditiveCost)
        found = cost.batch(rows)
        assert cost(space.smallest(metric)) <= found.min()
        assert cost(space.largest(metric)) >= found.max()


# nb201


def test_nb201_is_counted_in_under_a_millisecond():
    spaces = [nb201((3, 8, 8)) for _ in range(5)]
    seconds = []
    for space in spaces:
        start = time.perf_counter()
        assert space.size == 15_625
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.001


def test_nb201_params_follow_the_benchmarks_arithmetic():
    """Stem, 3 x 5 cells of 16, 32, 64 channels, two residual reductions, last normalisation, linear: no biases."""
    space = nb201(classes=10)
    cells = {"none": 0, "skip_connect": 0, "avg_pool_3x3": 0, "nor_conv_1x1": 1, "nor_conv_3x3": 9}
    fixed = 27 * 16 + 32 + 2 * 64 + 64 * 10 + 10
    fixed += sum(9 * c * 2 * c + 4 * c + 9 * 4 * c * c + 4 * c + 2 * c * c for c in (16, 32))
    for operation, area in cells.items():
        if operation == "none":
            continue
        architecture = space.architecture({f"{to}<-{source}": operation for to, source in EDGES})
        convolutions = sum(5 * 6 * (area * c * c + 2 * c) for c in (16, 32, 64)) if area else 0
        assert space.params(architecture) == fixed + convolutions


def pruned(cell):
    """The cell with every edge off that no path from input to output takes."""
    live = {edge: name for edge, name in zip(EDGES, cell, strict=True) if name != "none"}
    forward, backward = {0}, {3}
    for to, source in EDGES:
        if (to, source) in live and source in forward:
            forward.add(to)
    for to, source in reversed(EDGES):
        if (to, source) in live and to in backward:
            backward.add(source)
    kept = {edge for edge in live if edge[1] in forward and edge[0] in backward}
    return tuple(live[edge] if edge in kept else "none" for edge in EDGES)


def computed(cell):
    """The cell as a graph of its operations: skips are the state itself, sums of sums one sum, dead ends gone."""
    terms, graph = {0: ["x"], 1: [], 2: [], 3: []}, nx.DiGraph()
    graph.add_node("x", label="x")

    def read(node, sources):
        for source, times in Counter(sources).items():
            graph.add_edge(source, node, times=times)

    for (to, source), name in zip(EDGES, cell, strict=True):
        if name == "none" or not terms[source]:
            continue
        if name == "skip_connect":
            terms[to] = terms[to] + terms[source]
            continue
        node = f"{to}{source}"
        graph.add_node(node, label=name)
        read(node, terms[source])
        terms[to] = [*terms[to], node]
    graph.add_node("out", label="out")
    read("out", terms[3])
    return graph.subgraph(nx.ancestors(graph, "out") | {"out"})


def same(one, other):
    return nx.is_isomorphic(
        one,
        other,
        node_match=lambda a, b: a["label"] == b["label"],
        edge_match=lambda a, b: a["times"] == b["times"],
    )


CELLS = list(itertools.product(OPERATIONS, repeat=6))


def test_of_15625_cells_9445_are_left_when_dead_edges_are_pruned():
    assert len({pruned(cell) for cell in CELLS}) == 9_445


def identities(cells):
    space = nb201((3, 4, 4), repeats=1)
    names = [f"{to}<-{source}" for to, source in EDGES]
    return {cell: space.network_id(space.architecture(dict(zip(names, cell, strict=True)))) for cell in cells}


def test_network_id_agrees_with_graph_isomorphism_on_random_cells():
    rng = np.random.default_rng(0)
    cells = [CELLS[i] for i in rng.choice(len(CELLS), 400, replace=False)]
    groups = defaultdict(list)
    for cell, identity in identities(cells).items():
        groups[identity].append(computed(cell))
    for members in groups.values():
        assert all(same(members[0], other) for other in members[1:])
    firsts = [members[0] for members in groups.values()]
    for one, other in itertools.combinations(firsts, 2):
        if len(one) == len(other) and one.size() == other.size():
            assert not same(one, other)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The hashes produced for directed graphs changed")  # networkx says it on every call
def test_network_id_tells_exactly_the_5425_cells_apart_that_compute_differently():
    """Counted twice: by network_id, and by isomorphism of graphs that are built from the cell alone."""
    found = identities(CELLS)
    assert all(found[cell] == found[pruned(cell)] for cell in CELLS)
    classes = defaultdict(list)
    for cell in {pruned(cell) for cell in CELLS}:
        graph = computed(cell)
        key = nx.weisfeiler_lehman_graph_hash(graph, node_attr="label", edge_attr="times", iterations=4)
        for other, identity in classes[key]:
            if same(graph, other):
                assert identity == found[cell]
                break
        else:
            classes[key].append((graph, found[cell]))
    assert len(set(found.values())) == sum(map(len, classes.values())) == 5_425


def test_nb201_has_fewer_cells_for_tiny_images_and_doubles_its_channels():
    for size, cells in ((8, 3), (16, 15), (32, 15)):
        space = nb201((3, size, size), classes=3)
        architecture = space.architecture({f"{to}<-{source}": "nor_conv_3x3" for to, source in EDGES})
        nodes = space.lower(architecture).nodes
        convolutions = [node for node in nodes if isinstance(node.op, Conv) and "<-" in node.name]
        assert len(convolutions) == 6 * cells
        assert sorted({node.op.out for node in convolutions}) == [16, 32, 64]


def test_divisible_is_mobilenets_rule():
    assert [divisible(value) for value in (3, 8, 12, 18, 32 * 0.75, 100)] == [8, 8, 16, 24, 24, 104]
    assert all(divisible(value) >= 0.9 * value for value in range(1, 300))
