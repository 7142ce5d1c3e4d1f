"""From architecture to computed graph: merges, slots, shortcuts, pruning, identity of networks, boundaries, keys."""

import networkx as nx
import numpy as np
import pytest

from nasforge.errors import SpaceError
from nasforge.ops import (
    Activation,
    Add,
    Concat,
    Conv,
    Conv2d,
    GlobalPool,
    Identity,
    Linear,
    Multiply,
    Pool,
    Quantise,
    Residual,
    UnusedConcat,
    Zero,
    residual,
)
from nasforge.ops.combine import Shortcut
from nasforge.space import (
    Input,
    SearchSpace,
    TensorType,
    boundary,
    choice,
    combine,
    inputs,
    one_of,
    operator_choice,
    repeat,
    select,
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


# Merges are checked when the space is declared


def test_a_sum_of_independent_widths_is_refused_naming_the_two_choices_to_couple():
    x = image()
    left, right = Conv2d(choice(4, 8, name="left"), 3)(x), Conv2d(choice(4, 8, name="right"), 3)(x)
    sentence = (
        r"node 'sum': a sum was given \d+x8x8 and \d+x8x8; expected equal shapes, when left=\d, right=\d; "
        r"couple the choices 'left' and 'right' \(one object at both places\) or project the shortcut\."
    )
    with pytest.raises(SpaceError, match=sentence):
        space_of(Add()(left, right, name="sum"))


def test_a_sum_of_one_shared_width_is_fine():
    width, x = choice(4, 8, name="width"), image()
    assert space_of(Add()(Conv2d(width, 3)(x), Conv2d(width, 1)(x))).size == 2


def test_one_rare_combination_is_enough_to_refuse():
    x = image()
    widths = [choice(4, 8, 12, name=f"w{i}") for i in range(3)]
    rare = combine(lambda a, b, c: 99 if (a, b, c) == (12, 4, 8) else 4, *widths)
    with pytest.raises(SpaceError, match="when w0=12, w1=4, w2=8"):
        space_of(Add()(Conv2d(rare, 3)(x), Conv2d(4, 1)(x)))


def test_a_merge_that_can_never_be_live_is_not_refused():
    flag, x = choice("a", "b", name="flag"), image()
    width = flag.map(lambda f: 4 if f == "a" else 8)
    summed = Add()(Conv2d(width, 3)(x), Conv2d(4, 1)(x))
    assert space_of(select(flag.map(lambda f: int(f == "b")), [summed, Conv2d(4, 5)(x)])).size == 2


def test_a_merge_that_conditions_exclude_is_not_refused():
    big = choice(False, True, name="big")
    width = choice(4, 8, name="width", when=when(big, bool))
    x = Conv2d(width, 3)(image())
    other = combine(lambda b, w: w if b else 4, big, width)
    space = space_of(Add()(x, Conv2d(other, 1)(image_of(x))))
    assert space.size == 3


def image_of(node):
    while node.inputs:
        node = node.inputs[0]
    return node


def test_a_concatenation_of_unequal_sizes_and_a_product_of_unequal_channels_are_refused():
    x = image()
    with pytest.raises(SpaceError, match=r"a concatenation was given .* expected equal spatial sizes"):
        space_of(Concat()(x, Pool("max", 2, 2)(x)))
    with pytest.raises(SpaceError, match=r"a product was given .* expected equal channels"):
        space_of(Multiply()(x, GlobalPool(keep=True)(Conv2d(4)(x))))


# Channel layouts


def test_each_candidate_of_a_concat_has_its_fixed_slot():
    x = image()
    parts = [Conv2d(choice(4, 8, name=f"w{i}"), 3)(x) for i in range(3)]
    space = space_of(Conv2d(choice(2, 6, name="out"), 1)(Concat()(*parts)))
    seen = {}
    for architecture in space.enumerate():
        (joined,) = (node for node in space.lower(architecture).nodes if isinstance(node.op, Concat))
        widths = [kind.channels for kind in joined.input_types]
        seen[tuple(widths)] = joined.output_type.layout
        covered = {place for offset, length in joined.output_type.layout for place in range(offset, offset + length)}
        assert covered == {8 * i + channel for i, width in enumerate(widths) for channel in range(width)}
    assert seen[4, 8, 4] == ((0, 4), (8, 12))
    assert seen[8, 8, 8] == ((0, 24),)


def test_nested_concats_keep_slots_within_slots():
    x = image()
    inner = Concat()(Conv2d(choice(2, 4, name="a"), 1)(x), Conv2d(3, 1)(x))
    space = space_of(Conv2d(4, 1)(Concat()(Conv2d(choice(1, 5, name="b"), 1)(x), BatchNormed(inner))))
    small = space.lower(space.architecture({"a": 2, "b": 1}))
    (outer,) = (n for n in small.nodes if isinstance(n.op, Concat) and n.output_type.channels == 6)
    assert outer.output_type.layout == ((0, 1), (5, 2), (9, 3))


def BatchNormed(x):
    return Activation("relu")(Pool("avg")(x))


def test_a_sum_of_equal_widths_in_different_slots_is_refused():
    x = image()
    flag = choice(0, 1, name="flag")
    joined = Concat()(Conv2d(flag.map(lambda f: 2 + 2 * f), 1)(x), Conv2d(4, 1)(x))
    with pytest.raises(SpaceError, match="a shortcut was given 6x8x8 for a body of 6x8x8"):
        space_of(residual(Conv2d(flag.map(lambda f: 6 + 2 * f), 1)(x), joined))


# Unused concat


def nasnet_cell(extra=()):
    x = image()
    states = [Conv2d(4, 1)(x), Conv2d(4, 3)(x)]
    reads = []
    for block in range(2):
        taken = [choice(*range(len(states)), name=f"b{block}.{side}", kind="input") for side in "lr"]
        states.append(Add()(*(select(each, [Activation("relu")(s) for s in states]) for each in taken)))
        reads += taken
    used = combine(lambda *numbers: tuple(sorted(set(numbers))), *reads)
    return space_of(UnusedConcat(used, extra=extra)(*states))


@pytest.mark.parametrize("extra", [(), (0,), (1, 2)])
def test_unused_states_and_the_extra_ones_are_joined(extra):
    space = nasnet_cell(extra)
    assert space.size == 2 * 2 * 3 * 3
    for architecture in space.enumerate():
        used = {int(option) for option in space.describe(architecture).values()}
        wanted = {state for state in range(4) if state not in used or state in extra}
        lowered = space.lower(architecture)
        (pool,) = (node for node in lowered.nodes if isinstance(node.op, GlobalPool))
        assert pool.input_types[0].channels == 4 * len(wanted)
        assert {offset // 4 + i for offset, n in pool.input_types[0].layout for i in range(n // 4)} == wanted or (
            len(wanted) == 1
        )
        assert all(option >= 0 for option in architecture.decisions)


def test_a_concat_of_nothing_unused_is_refused():
    x = image()
    with pytest.raises(SpaceError, match="every state is used, so nothing is left to concatenate; add an extra state"):
        space_of(UnusedConcat((0, 1))(Conv2d(4)(x), Conv2d(4)(x)))


# Shortcuts


def shortcut(project, out=3, stride=1):
    x = image()
    return space_of(residual(Conv2d(out, 3, stride)(x), x, project=project, name="sum"))


def test_equal_shapes_give_an_identity_shortcut_whatever_is_asked():
    for project in ("none", "conv", "pool+conv", "error"):
        assert kinds(only(shortcut(project))) == ["InputOp", "Conv2d", "Residual", "GlobalPool", "Linear"]
        assert only(shortcut(project)).nodes[2].op.mode == "identity"


def test_unequal_shapes_are_refused_dropped_or_projected():
    with pytest.raises(SpaceError, match=r"node 'sum': a shortcut was given 3x8x8 for a body of 6x4x4.*project='conv'"):
        shortcut("error", 6, 2)
    with pytest.raises(SpaceError, match="project='maybe'; expected one of"):
        shortcut("maybe")
    assert "Residual" not in kinds(only(shortcut("none", 6, 2)))
    plain = only(shortcut("none", 6, 2)).total("params")
    for project, pooled in (("conv", False), ("pool+conv", True)):
        lowered = only(shortcut(project, 6, 2))
        assert lowered.total("params") == plain + 6 * 3 + 2 * 6
        parts = [step.op for step in lowered.primitives if step.part.startswith("shortcut")]
        assert [type(op).__name__ for op in parts] == ["Pool"] * pooled + ["Conv2d", "BatchNorm"]
        assert [op.stride for op in parts if isinstance(op, Conv2d)] == [1 if pooled else 2]


def test_a_shortcut_is_no_accident_of_equal_sampled_widths():
    x = Conv2d(choice(4, 8, name="before"), 3)(image())
    body = Conv2d(choice(4, 8, name="after"), 3)(x)
    for project in ("none", "error"):
        with pytest.raises(SpaceError, match="couple the choices 'before' and 'after'"):
            space_of(residual(body, x, project=project))
    space = space_of(residual(body, x, project="conv"))
    assert {
        node.op.mode for a in space.enumerate() for node in space.lower(a).nodes if isinstance(node.op, Residual)
    } == {"conv"}


def test_a_projected_shortcut_around_zero_is_the_projection_alone_with_its_weights():
    x = image()
    body = one_of([Conv2d(6, 3, 2)(x), Zero(6, 2)(x)], name="op", labels=["conv", "zero"])
    space = space_of(residual(body, x, project="conv", name="sum"))
    both, alone = (space.lower(space.architecture({"op": label})) for label in ("conv", "zero"))
    assert [type(node.op) for node in alone.nodes if node.name == "sum"] == [Shortcut]

    def projection(lowered):
        return {(s.weights, s.part, s.op) for s in lowered.primitives if s.part.startswith("shortcut")}

    assert projection(both) == projection(alone) != set()


# Pruning


def test_zero_cuts_off_what_depends_on_it_alone():
    x = image()
    cut = Conv2d(3, 3)(Pool("max")(Zero()(x)))
    assert kinds(only(space_of(Add()(cut, x)))) == ["InputOp", "GlobalPool", "Linear"]


def test_everything_cut_off_leaves_zeros_for_the_head():
    lowered = only(space_of(Conv2d(5, 3)(Zero()(image()))))
    assert kinds(lowered) == ["InputOp", "Zeros", "GlobalPool", "Linear"]
    assert lowered.total("params") == 5 * 2 + 2


def test_a_concat_keeps_the_slot_of_a_part_that_is_zero():
    x = image()
    lowered = only(space_of(Concat()(Zero()(x), Conv2d(4)(x))))
    assert kinds(lowered) == ["InputOp", "Conv2d", "Zeros", "Concat", "GlobalPool", "Linear"]
    assert lowered.nodes[-2].input_types[0].channels == 7


def test_identities_and_sums_of_one_vanish():
    x = image()
    assert kinds(only(space_of(Add()(Identity()(Identity()(x)))))) == ["InputOp", "GlobalPool", "Linear"]


def test_boundaries_are_positions_of_what_they_name_and_compute_nothing():
    x = boundary("early", Conv2d(4)(image(), name="first"))
    x = boundary("late", repeat(lambda y, i: Conv2d(4)(y, name=f"more{i}"), x, depth=choice(1, 2, name="depth")))
    space = space_of(x)
    for architecture, last in zip(space.enumerate(), ("more0", "more1"), strict=True):
        lowered = space.lower(architecture)
        assert {name: lowered.nodes[place].name for name, place in lowered.cuts.items()} == {
            "early": "first",
            "late": last,
        }


def test_a_mixed_choice_lowers_to_the_support_and_nothing_else():
    x = image()
    space = space_of(one_of([Conv2d(3, k)(x) for k in (1, 3, 5)], name="op"))
    architecture = next(space.enumerate())
    lowered = space.lower(architecture, {0: (0, 2)})
    assert [node.op.kernel for node in lowered.nodes if isinstance(node.op, Conv2d)] == [1, 5]
    assert kinds(lowered).count("MixOp") == 1


# The networkx DAG and the adjacency


def test_the_dag_holds_every_node_edge_and_place():
    x = image()
    space = space_of(Concat()(Conv2d(4, choice(1, 3, name="k"))(x), x))
    architecture = space.architecture({"k": 3})
    dag, lowered = space.lower(architecture).graph(), space.lower(architecture)
    assert nx.is_directed_acyclic_graph(dag)
    assert [dag.nodes[i]["name"] for i in range(len(dag))] == [node.name for node in lowered.nodes]
    assert {(u, v): d["place"] for u, v, d in dag.edges(data=True)} == {
        (source, index): place for index, node in enumerate(lowered.nodes) for place, source in enumerate(node.inputs)
    }
    matrix, keys = space.adjacency(architecture)
    assert np.array_equal(matrix, nx.to_numpy_array(dag, dtype=np.int8))
    assert keys == [dag.nodes[i]["key"] for i in range(len(dag))]


def test_the_adjacency_counts_an_input_read_twice():
    x = image()
    space = space_of(Add()(x, x))
    matrix, _ = space.adjacency(next(space.enumerate()))
    assert matrix[0].tolist() == [0, 2, 0, 0]


# network_id


def identity(x):
    return only(space_of(x)).network_id


def test_network_id_sees_through_names_skips_sums_and_their_order():
    x = image()
    a, b, c = Conv2d(3, 1), Conv2d(3, 3), Conv2d(3, 5)
    expected = identity(Add()(a(x), b(x), c(x)))
    assert identity(Add()(c(x, name="other"), Identity()(a(x)), b(x))) == expected
    assert identity(Add()(Add()(c(x), b(x)), Zero()(x), Add()(a(x)))) == expected
    assert identity(Add()(a(x), b(x), c(x), c(x))) != expected


def test_network_id_tells_shared_from_repeated_computation():
    x = image()
    conv, left, right = Conv2d(3, 3), Conv2d(3, 1), Conv2d(3, 5)
    shared = conv(x)
    assert identity(Add()(left(shared), right(shared))) != identity(Add()(left(conv(x)), right(conv(x))))


def test_network_id_of_twins_does_not_depend_on_which_one_is_read_elsewhere():
    def made(swap):
        x = image()
        twins = [Conv2d(3, 3)(x), Conv2d(3, 3)(x)]
        summed = Add()(*(Conv2d(3, 1)(twin) for twin in twins))
        return identity(Concat()(summed, Conv2d(3, 5)(twins[swap])))

    assert made(0) == made(1)


def test_network_id_tells_rings_of_equal_neighbourhoods_apart():
    """Six sums over pairs of six equal convolutions: one ring of six, or two of three; no local view differs."""

    def made(pairs):
        x = image()
        convolutions = [Conv2d(3, 3)(x) for _ in range(6)]
        return identity(Add()(*(Conv2d(3, 1)(Add()(convolutions[a], convolutions[b])) for a, b in pairs)))

    ring = [(i, (i + 1) % 6) for i in range(6)]
    two = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)]
    assert made(ring) != made(two)
    relabelled = [(p[a], p[b]) for p in [(3, 0, 5, 1, 4, 2)] for a, b in ring]
    assert made(relabelled[::-1]) == made(ring)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Conv(3, eps=1e-5), Conv(3, eps=1e-3)),
        (Conv(3), Conv(3, zero_init=True)),
        (Conv(3), Conv(3, act="relu6")),
        (Conv(3), Conv(3, weight_bits=8)),
        (Quantise(8), Quantise(4)),
        (Pool("max"), Pool("avg")),
    ],
)
def test_network_id_sees_every_field_that_training_sees(one, other):
    assert identity(one(image())) != identity(other(image()))


def test_network_id_sees_dropout_though_its_latency_key_does_not():
    def made(dropout):
        return only(SearchSpace({"logits": Linear(2, dropout=dropout)(GlobalPool()(image()))}))

    assert made(0.0).network_id != made(0.5).network_id
    assert made(0.0).nodes[-1].key == made(0.5).nodes[-1].key


def test_network_id_does_not_see_where_weights_lie_in_the_supernet():
    x = image()
    space = space_of(Conv2d(4, 1)(Concat()(Conv2d(choice(4, 8, name="w"), 3)(x), Conv2d(4, 5)(x))))
    alone = space_of(Conv2d(4, 1)(Concat()(Conv2d(4, 3)(x), Conv2d(4, 5)(x))))
    assert space.network_id(space.architecture({"w": 4})) == only(alone).network_id


def test_depth_and_skips_of_equal_networks_agree():
    decision = operator_choice(["conv", "skip"], name="op")
    x = image()
    space = space_of(one_of([Conv2d(3, 3)(x), Identity()(x)], by=decision))
    deep = space_of(repeat(lambda y, i: Conv2d(3, 3)(y), x, depth=choice(0, 1, name="d")))
    assert space.network_id(space.architecture({"op": "skip"})) == deep.network_id(deep.architecture({"d": 0}))
    assert space.network_id(space.architecture({"op": "conv"})) == deep.network_id(deep.architecture({"d": 1}))


# Bits and costs


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
