"""From architecture to computed graph: merges, slots, shortcuts, pruning, identity of networks, boundaries, keys."""

import networkx as nx
import numpy as np

from nasforge.ops import (
    Add,
    Concat,
    Conv2d,
    GlobalPool,
    Identity,
    Linear,
    Pool,
    Zero,
)
from nasforge.space import (
    Input,
    SearchSpace,
    boundary,
    choice,
    one_of,
    repeat,
)


def space_of(x, **options):
    return SearchSpace({"logits": Linear(2)(GlobalPool()(x))}, **options)


def image(size=8):
    return Input(3, size, size)


def only(space):
    (architecture,) = space.enumerate()
    return space.lower(architecture)


def kinds(lowered):
    return [type(node.op).__name__ for node in lowered.nodes]


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
