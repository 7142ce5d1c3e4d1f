"""Spaces of later papers can be said with today's declaration: their sizes and invariants, in short."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from nasforge.build import Supernet, extract
from nasforge.errors import SpaceError
from nasforge.ops import (
    Add,
    Concat,
    Conv,
    GlobalPool,
    Identity,
    Linear,
    MBConv,
    Pool,
    Resize,
    SeparableConv,
    UnusedConcat,
    residual,
)
from nasforge.space import (
    Body,
    Input,
    Operator,
    SearchSpace,
    boundary,
    chain,
    choice,
    combine,
    inputs,
    one_of,
    operator_choice,
    repeat,
    select,
    subset,
)
from nasforge.testing.spaces import assert_close, count, scrambled


def head(x, classes=10):
    return Linear(classes)(GlobalPool()(x))


def nasnet(blocks=5, channels=4):
    """A NASNet normal cell and a reduction cell, each used twice: inputs, operators and add/concat are chosen."""
    decisions = {kind: _cell_decisions(kind, blocks) for kind in ("normal", "reduction")}
    before = x = Conv(channels, 3)(Input(3, 16, 16))
    for number, kind in enumerate(["normal", "reduction", "normal"]):
        channels *= 2 if kind == "reduction" else 1
        stride = 2 if kind == "reduction" else 1
        projected = Conv(channels, 1, order="act-conv-bn")(x)
        shrunk = 2 if number and kind == "normal" and number > 1 else 1
        earlier = Conv(channels, 1, shrunk, order="act-conv-bn")(before)
        before, x = x, _nasnet_cell([earlier, projected], channels, stride, decisions[kind])
    return SearchSpace({"logits": head(x)}, name="nasnet")


def _cell_decisions(kind, blocks):
    return [
        (
            tuple(choice(*range(b + 2), name=f"{kind}{b}.in{side}", kind="input") for side in (0, 1)),
            tuple(operator_choice(["identity", "sep3", "avg3", "max3"], name=f"{kind}{b}.op{side}") for side in (0, 1)),
        )
        for b in range(blocks)
    ]


def _nasnet_cell(states, channels, stride, decisions):
    states = list(states)
    for sources, operators in decisions:
        sides = []
        for source, operator in zip(sources, operators, strict=True):
            candidates = [
                _nasnet_op(state, operator, channels, stride if i < 2 else 1) for i, state in enumerate(states)
            ]
            sides.append(select(source, candidates))
        states.append(Add()(*sides))
    reads = [source for sources, _ in decisions for source in sources]
    used = combine(lambda *taken: tuple(sorted(set(taken))), *reads)
    return UnusedConcat(used)(*(Conv(channels, 1, stride)(state) if i < 2 else state for i, state in enumerate(states)))


def _nasnet_op(state, operator, channels, stride):
    identity = Identity()(state) if stride == 1 else Conv(channels, 1, stride, order="act-conv-bn")(state)
    return one_of(
        [
            identity,
            SeparableConv(channels, 3, stride, repeats=2)(state),
            Pool("avg", 3, stride)(state),
            Pool("max", 3, stride)(state),
        ],
        by=operator,
    )


@pytest.mark.parametrize("blocks", [2, 3])
def test_nasnet_cells_count_and_lower(blocks):
    space = nasnet(blocks)
    per_cell = np.prod([((b + 2) * 4) ** 2 for b in range(blocks)])
    assert space.size == int(per_cell) ** 2
    rng = np.random.default_rng(0)
    for _ in range(20):
        architecture = space.sample(rng)
        described = space.describe(architecture)
        used = {int(described[f"normal{b}.in{side}"]) for b in range(blocks) for side in (0, 1)}
        lowered = space.lower(architecture)
        (pool,) = (node for node in lowered.nodes if isinstance(node.op, GlobalPool))
        joined = lowered.nodes[pool.inputs[0]]
        unused = blocks + 2 - len(used)
        assert pool.input_types[0].channels == 8 * unused
        assert not isinstance(joined.op, UnusedConcat)
        assert len(joined.inputs) == unused or unused == 1
        assert space.params(architecture) == space.lower(architecture).total("params")


def pooling(units=10, pools=2):
    """ResNet-20 with its two down-samplings anywhere but before the stem."""
    widths = (16, 16, 16, 16, 32, 32, 32, 64, 64, 64)[:units]
    places = subset(units - 1, pools, name="pools")
    x = Conv(16, 3)(Input(3, 32, 32))
    for place, width in enumerate(widths[1:]):
        x = select(places.map(lambda taken, p=place: int(p in taken)), [x, Pool("max", 2, 2)(x)])
        body = Conv(width, 3, act="none")(Conv(width, 3)(x))
        x = residual(body, x, project="conv")
    return SearchSpace({"logits": head(x)}, name="pooling")


def test_pooling_places_are_exactly_36_and_every_one_is_typed():
    space = pooling()
    assert space.size == 36
    assert len({space.macs(architecture) for architecture in space.enumerate()}) > 1
    assert len({space.params(architecture) for architecture in space.enumerate()}) == 1
    for architecture in space.enumerate():
        taken = [int(place) for place in space.describe(architecture)["pools"].split("-")]
        sizes = [32 // 2 ** sum(place <= unit for place in taken) for unit in range(9)]
        sums = [n for n in space.lower(architecture).nodes if n.name.startswith("residual")]
        assert [node.output_type.spatial[0] for node in sums] == sizes


@dataclass(frozen=True)
class DownBlock(Operator):
    """A block at its own scale: takes a map of that scale or one scale finer, refuses any other."""

    out: Any
    size: Any

    def expand(self, body: Body) -> int:
        arrived = body.type(-1).spatial[0]
        if arrived not in (self.size, 2 * self.size):
            raise SpaceError(f"a block of scale {self.size} was given {arrived}")
        x = body.add("conv", Conv(self.out, 3, arrived // self.size), -1)
        return body.add("last", Conv(self.out, 1, act="none"), x)


SCALES = {3: (56, 256), 2: (28, 512), 1: (14, 1024), 0: (7, 2048)}
HYTRA_OPTIONS = [(3, "conv"), (2, "conv"), (1, "att"), (1, "conv"), (0, "att"), (0, "conv")]


def step(before, after):
    return 0 <= before[0] - after[0] <= 1


def hytra(layers=16, divisor=16):
    """BossNAS's fabric: each layer is at its predecessor's scale or one coarser."""
    made = chain(layers, HYTRA_OPTIONS, step, names=[f"layer{i}" for i in range(layers)], kind="operator")
    x = Conv(64, 3, 4)(Input(3, 224, 224))
    for place, decision in enumerate(made):
        candidates = []
        for scale, kind in HYTRA_OPTIONS:
            size, channels = SCALES[scale]
            source = x if place else Resize(size)(x)
            candidates.append(DownBlock(channels // (2 * divisor if kind == "att" else divisor), size)(source))
        x = one_of(candidates, by=decision)
        if place % 4 == 3:
            x = boundary(f"block{place // 4}", x)
    return SearchSpace({"logits": head(x)}, name="hytra")


def test_hytra_only_gets_coarser_and_counts_2818103():
    space = hytra()
    assert space.size == 2_818_103
    rng = np.random.default_rng(0)
    rows = space.sample_batch(50, rng)
    for row in (*rows, *space.mutate_batch(rows, rng)):
        architecture = space.validated(space.from_decisions(row))
        scales = [HYTRA_OPTIONS[option][0] for option in row]
        assert all(0 <= a - b <= 1 for a, b in itertools.pairwise(scales))
        assert space.macs(architecture) == space.lower(architecture).total("macs")
        blocks = [node for node in space.lower(architecture).nodes if isinstance(node.op, DownBlock)]
        assert [node.output_type.spatial[0] for node in blocks] == [SCALES[scale][0] for scale in scales]


def test_hytra_without_its_chain_is_refused():
    free = [choice(*HYTRA_OPTIONS, name=f"layer{i}") for i in range(2)]
    x = Input(3, 56, 56)
    for place, decision in enumerate(free):
        source = x
        x = one_of(
            [
                DownBlock(8, SCALES[scale][0])(source if place else Resize(SCALES[scale][0])(source))
                for scale, _ in HYTRA_OPTIONS
            ],
            by=decision,
        )
    with pytest.raises(SpaceError, match="a block of scale 56 was given"):
        SearchSpace({"logits": head(x)})


def neas(layers=4, paths=2):
    """K paths that share a trunk up to a split point; operators of a layer use the same weights in every path."""
    split = choice(*range(1, layers + 1), name="split", kind="depth")
    trunk = [Conv(8, 3)(Input(3, 16, 16))]
    for layer in range(layers):
        trunk.append(_neas_layer(trunk[-1], layer, "trunk"))
    heads = []
    for path in range(paths):
        x = trunk[0]
        for layer in range(layers):
            own = _neas_layer(x, layer, f"path{path}") if layer else trunk[1]
            x = select(split.map(lambda s, after=layer: int(after < s)), [own, trunk[layer + 1]])
        heads.append(head(x))
    return SearchSpace({"logits": heads}, name="neas")


def _neas_layer(x, layer, where):
    kernels = (3, 5)
    made = [MBConv(8, kernel, 2)(x, weights=f"layer{layer}.k{kernel}") for kernel in kernels]
    return one_of(made, name=f"{where}.{layer}", labels=[f"k{kernel}" for kernel in kernels])


def test_neas_counts_trunk_and_branches_by_the_split():
    space = neas()
    assert space.size == sum(2**split * 4 ** (4 - split) for split in range(1, 5))
    rng = np.random.default_rng(0)
    for _ in range(20):
        architecture = space.sample(rng)
        split = int(space.describe(architecture)["split"])
        lowered = space.lower(architecture)
        blocks = [node for node in lowered.nodes if isinstance(node.op, MBConv)]
        assert len(blocks) == split + 2 * (4 - split)
        assert len(lowered.outputs["logits"]) == 2
        assert {node.weights.split(".")[0] for node in blocks} == {f"layer{i}" for i in range(4)}


def bignas(size=64):
    """Depth, width, kernel per stage, expansion per layer, resolution; projected shortcuts where shapes change."""
    resolution = choice(48, 64, name="resolution")
    x = Conv(choice(8, 12, name="stem"), 3, 2, act="swish")(Resize(resolution)(Input(3, size, size)))
    for stage, (widths, stride, depths) in enumerate([((8, 12), 1, (1, 2)), ((16, 20), 2, (2, 3))]):
        width, kernel = choice(*widths, name=f"w{stage}"), choice(3, 5, name=f"k{stage}")

        def block(source, place, stage=stage, width=width, kernel=kernel, stride=stride):
            expansion = choice(4, 6, name=f"s{stage}b{place}.expansion")
            body = MBConv(width, kernel, expansion, stride if place == 0 else 1, se=0.25)(source)
            return residual(body, source, project="pool+conv" if place == 0 else "error")

        x = repeat(block, x, depth=choice(*depths, name=f"d{stage}"))
    return SearchSpace({"logits": head(x)}, name="bignas")


def test_bignas_counts_its_nested_depths_and_every_block_is_residual():
    space = bignas()
    assert space.size == 2 * 2 * (4 * (2 + 4)) * (4 * (4 + 8))
    rng = np.random.default_rng(0)
    for _ in range(20):
        lowered = space.lower(space.sample(rng))
        blocks = [node for node in lowered.nodes if isinstance(node.op, MBConv)]
        assert len([node for node in lowered.nodes if node.name.startswith("residual")]) == len(blocks)
    assert space.macs(space.largest()) == max(
        space.macs(architecture) for architecture in itertools.islice(space.enumerate(), 5000)
    )


def test_inputs_may_be_joined_by_concat_in_fixed_slots():
    x = Input(3, 8, 8)
    states = [Conv(choice(4, 8, name=f"w{i}"), 3)(x) for i in range(3)]
    first, second = inputs(2, states, name="taken")
    space = SearchSpace({"logits": head(Conv(4, 1)(Concat()(first, second)))})
    for architecture in space.enumerate():
        (joined,) = (n for n in space.lower(architecture).nodes if isinstance(n.op, Concat))
        assert joined.op.offsets == (0, 8)


@pytest.mark.parametrize(
    "space",
    [nasnet(2), pooling(7), neas(), bignas(), hytra(3, divisor=128)],
    ids=lambda space: space.name,
)
def test_their_supernets_hold_every_architecture_exactly(space):
    supernet = scrambled(Supernet(space).double()).eval()
    rng = np.random.default_rng(0)
    x = {name: torch.randn(2, *shape, dtype=torch.float64) for name, shape in space.input_shapes.items()}
    for _ in range(3):
        architecture = space.sample(rng)
        network = extract(supernet, architecture).eval()
        with torch.no_grad():
            assert_close(network(x), supernet(x, architecture), 1e-10)
        assert count(network) == space.params(architecture)
