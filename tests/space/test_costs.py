"""Bits, costs as tables, and what happens where a space is too entangled for tables."""

import numpy as np
import pytest

from nasforge.errors import SpaceError
from nasforge.ops import (
    Add,
    Concat,
    Conv2d,
    GlobalPool,
    Linear,
    Pool,
    Quantise,
)
from nasforge.space import (
    Input,
    SearchSpace,
    TensorType,
    choice,
    inputs,
    when,
)
from nasforge.space.additive import AdditiveCost, WalkCost


def space_of(x, **options):
    return SearchSpace({"logits": Linear(2)(GlobalPool()(x))}, **options)


def image(size=8):
    return Input(3, size, size)


def only(space):
    (architecture,) = space.enumerate()
    return space.lower(architecture)


def kinds(lowered):
    return [type(node.op).__name__ for node in lowered.nodes]


def test_bitops_read_activation_and_weight_bits():
    x = Quantise(choice(4, 8, name="a"))(image())
    space = space_of(Conv2d(5, 3, weight_bits=choice(2, 8, name="w"))(x))
    macs = 5 * 64 * 9 * 3
    for architecture in space.enumerate():
        bits = {name: int(label) for name, label in space.describe(architecture).items()}
        assert space.cost("bitops")(architecture) == macs * bits["a"] * bits["w"] + 5 * 2 * 32 * 32
        assert space.macs(architecture) == macs + 10


def test_bits_pass_through_pools_and_sums_and_end_at_the_next_convolution():
    x = Quantise(4)(image())
    lowered = only(space_of(Conv2d(3)(Conv2d(3)(Add()(Pool("max")(x), x)))))
    assert [node.input_types[0].bits for node in lowered.nodes if isinstance(node.op, Conv2d)] == [4, 32]
    with pytest.raises(SpaceError, match="Quantise was given 33 bits; expected 1 to 32"):
        space_of(Quantise(33)(image()))


def test_costs_scale_and_add():
    space = space_of(Conv2d(choice(4, 8, name="w"), choice(1, 3, name="k"))(image()))
    params, macs = space.cost("params"), space.cost("macs")
    rows = space.integers(list(space.enumerate()))
    mixed = params.scaled(2.0, 5.0, "mixed") + macs
    assert mixed.metric == "mixed"
    assert np.allclose(mixed.batch(rows), 5 + 2 * params.batch(rows) + macs.batch(rows))
    assert [mixed(space.from_decisions(row)) for row in rows] == mixed.batch(rows).tolist()


def entangled(parts):
    x = image()
    widths = [choice(2, 4, name=f"w{i}") for i in range(parts)]
    return space_of(Conv2d(4, 1)(Concat()(*(Conv2d(width, 1)(x) for width in widths))))


def test_spaces_too_entangled_for_tables_cost_by_lowering_and_agree():
    small, large = entangled(3), entangled(22)
    assert isinstance(small.cost("params"), AdditiveCost)
    cost = large.cost("params")
    assert isinstance(cost, WalkCost)
    rows = large.sample_batch(5, np.random.default_rng(0))
    expected = [large.lower(large.from_decisions(row)).total("params") for row in rows]
    assert cost.batch(rows).tolist() == [cost(large.from_decisions(row)) for row in rows] == expected
    for row, total in zip(rows, expected, strict=True):
        width = sum((2, 4)[option] for option in row)
        assert total == 3 * width + 4 * width + 4 * 2 + 2
    assert large.size == 2**22


def test_a_sum_of_channels_too_entangled_to_check_is_refused():
    x = image()
    parts = [Concat()(*(Conv2d(choice(2, 4, name=f"w{s}{i}"), 1)(x) for i in range(22))) for s in "ab"]
    with pytest.raises(SpaceError, match="channels that depend on too many choices to check; put a convolution before"):
        space_of(Add()(*parts))


def test_liveness_of_too_many_choices_at_once_is_refused_with_their_names():
    x = image()
    last = choice(0, 1, name="c0")
    for place in range(1, 24):
        x = Conv2d(3, last.map(lambda v: 2 * v + 1))(x)
        last = choice(0, 1, name=f"c{place}", when=when(last, bool))
    with pytest.raises(SpaceError, match=r"liveness depends on too many choices at once .*c0.*split them into stages"):
        space_of(Conv2d(3, last.map(lambda v: 2 * v + 1))(x))


def test_node_variants_hold_every_block_that_some_architecture_runs():
    x = image()
    taken = inputs(1, [Conv2d(4, 1)(x), Conv2d(4, 3)(x)], name="in")
    space = space_of(Conv2d(choice(4, 8, name="w"), 5)(*taken))
    found = space.node_variants()
    wanted = {n.key for a in space.enumerate() for n in space.lower(a).nodes if n.inputs}
    assert set(found) == wanted
    for key, alone in found.items():
        assert alone.nodes[-1].key == key


def test_a_lowered_node_alone_is_fed_by_inputs_of_its_types():
    lowered = only(space_of(Concat()(Conv2d(4)(x := image()), x)))
    place = next(i for i, node in enumerate(lowered.nodes) if isinstance(node.op, Concat))
    alone = lowered.single(place)
    assert alone.input_shapes == {"input0": (4, 8, 8), "input1": (3, 8, 8)}
    assert alone.nodes[-1].output_type.shape == (7, 8, 8)


def test_tensor_types_speak_of_channels_sizes_and_slots():
    kind = TensorType((6, 4, 5), ((0, 2), (8, 4)))
    assert (kind.channels, kind.spatial, kind.capacity, kind.size, str(kind)) == (6, (4, 5), 12, 120, "6x4x5")
    assert TensorType((6,)).layout == ((0, 6),)
