"""What a declaration says: sharing by identity, choices of every kind, conditions, relations, and their errors."""

import itertools
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from nasforge.errors import ArchitectureError, SpaceError
from nasforge.ops import Add, Conv2d, GlobalPool, Linear, MBConv, Pool
from nasforge.space import (
    Input,
    Operator,
    SearchSpace,
    TensorType,
    chain,
    choice,
    combine,
    inputs,
    one_of,
    operator_choice,
    repeat,
    subset,
    when,
)


def space_of(x, **options):
    return SearchSpace({"logits": Linear(2)(GlobalPool()(x))}, **options)


def image(size=8):
    return Input(3, size, size)


def names(space):
    return [read.name for read in space.choices]


# Identity is sharing


def test_one_object_at_two_places_is_one_decision():
    kernel = choice(1, 3, name="kernel")
    space = space_of(Conv2d(4, kernel)(Conv2d(4, kernel)(image())))
    assert (space.size, names(space)) == (2, ["kernel"])
    lowered = space.lower(space.architecture({"kernel": 3}))
    assert [node.op.kernel for node in lowered.nodes if isinstance(node.op, Conv2d)] == [3, 3]


def test_two_objects_that_look_alike_are_two_decisions():
    assert space_of(Conv2d(4, choice(1, 3))(Conv2d(4, choice(1, 3))(image()))).size == 4


def test_a_choice_made_inside_repeat_is_each_places_own_and_one_outside_is_shared():
    outside = choice(4, 8, name="width")

    def make(x, place):
        return Conv2d(outside, choice(1, 3, name=f"kernel{place}"))(x)

    space = space_of(repeat(make, image(), depth=choice(1, 2, 3, name="depth")))
    assert names(space) == ["width", "depth", "kernel0", "kernel1", "kernel2"]
    assert space.size == 2 * (2 + 4 + 8)


def test_sharing_a_decision_does_not_share_weights():
    kernel = choice(1, 3, name="kernel")
    space = space_of(Conv2d(4, kernel, bias=True)(Conv2d(4, kernel, bias=True)(image())))
    lowered = space.lower(space.architecture({"kernel": 1}))
    assert len({node.weights for node in lowered.nodes}) == len(lowered.nodes)


def test_nodes_of_one_weights_key_say_so_and_are_counted_each():
    x = image()
    first = Conv2d(4, 3)(x, weights="shared")
    second = Conv2d(4, 3)(Conv2d(3, 1)(first), weights="shared")
    alone = space_of(first)
    space = space_of(Add()(first, second))
    lowered = space.lower(space.sample(np.random.default_rng(0)))
    assert [node.weights for node in lowered.nodes].count("shared") == 2
    assert space.params(space.sample(np.random.default_rng(0))) > alone.params(alone.sample(np.random.default_rng(0)))


def test_options_with_own_weights_have_a_key_each_and_sliced_ones_one_key():
    for share, count in (("none", 2), ("slice", 1)):
        space = space_of(Conv2d(4, choice(1, 3, name="k", share=share))(image(), name="conv"))
        keys = {space.lower(architecture).nodes[1].weights for architecture in space.enumerate()}
        assert len(keys) == count
        assert all(key.startswith("conv") for key in keys)


# Kinds of choice


def test_one_of_names_its_options_by_operator_and_says_operator():
    x = image()
    space = space_of(one_of([Conv2d(3, 3)(x), Pool("max")(x), Pool("max")(x)], name="op"))
    assert space.choices[0].kind == "operator"
    assert space.choices[0].labels == ("conv 3x3", "max pool 3x3#1", "max pool 3x3#2")


def test_one_of_may_share_an_existing_choice():
    decision = operator_choice(["conv", "pool"], name="op")
    x = image()
    for _ in range(3):
        x = one_of([Conv2d(3, 3)(x), Pool("max")(x)], by=decision)
    space = space_of(x)
    assert space.size == 2
    assert len([n for n in space.lower(space.architecture({"op": "pool"})).nodes if isinstance(n.op, Pool)]) == 3


def test_inputs_choose_different_nodes_in_no_order():
    x = image()
    states = [Conv2d(4, k)(x) for k in (1, 3, 5, 7)]
    space = space_of(Add()(*inputs(2, states, name="in")))
    assert space.size == 6
    kernels = {
        tuple(sorted(n.op.kernel for n in space.lower(a).nodes if isinstance(n.op, Conv2d))) for a in space.enumerate()
    }
    assert kernels == set(itertools.combinations((1, 3, 5, 7), 2))


def test_depth_zero_passes_the_input_on_and_depth_counts_nested_choices_once():
    space = space_of(repeat(lambda x, i: Conv2d(3, choice(1, 3))(x), image(), depth=choice(0, 1, 2, 4)))
    assert space.size == 1 + 2 + 4 + 16
    assert [read.kind for read in space.choices].count("depth") == 1


def test_depth_may_be_an_expression_shared_by_two_stages():
    size = choice("small", "large", name="size")
    depth = size.map(lambda name: {"small": 1, "large": 3}[name])
    x = repeat(lambda x, i: Conv2d(3, 3)(x), image(), depth=depth)
    x = repeat(lambda x, i: Conv2d(3, 5)(x), x, depth=depth)
    space = space_of(x)
    count = {a: sum(isinstance(n.op, Conv2d) for n in space.lower(a).nodes) for a in space.enumerate()}
    assert sorted(count.values()) == [2, 6]


def test_subset_counts_combinations():
    assert len(subset(9, 2).options) == 36
    assert subset(3, 0).labels == ("none",)
    assert subset(4, 2).labels[0] == "0-1"


def test_a_chain_allows_only_what_may_follow():
    made = chain(3, (3, 2, 1), lambda before, after: after <= before, names=["a", "b", "c"])
    x = image()
    for each in made:
        x = Conv2d(4, each.map(lambda v: 2 * v - 1))(x)
    space = space_of(x)
    found = {tuple(space.choices[i].options[o] for i, o in enumerate(a.decisions)) for a in space.enumerate()}
    assert found == {t for t in itertools.product((3, 2, 1), repeat=3) if t[0] >= t[1] >= t[2]}
    assert space.size == 10
    with pytest.raises(ArchitectureError, match=r"choice 'b' was given 3; expected \['2', '1'\]"):
        space.architecture({"a": 2, "b": 3, "c": 1})


def test_a_chain_whose_later_places_are_skipped_constrains_only_what_is_there():
    made = chain(3, (5, 3, 1), lambda before, after: after < before or after == 1)
    depth = choice(1, 2, 3, name="depth")
    space = space_of(repeat(lambda x, i: Conv2d(3, made[i])(x), image(), depth=depth))
    assert space.size == 3 + (2 + 1 + 1) + len(
        [t for t in itertools.product((5, 3, 1), repeat=3) if all(b < a or b == 1 for a, b in itertools.pairwise(t))]
    )


def test_restricting_a_chain_leaves_no_dead_end():
    made = chain(2, (3, 2, 1), lambda before, after: after <= before, names=["a", "b"])
    space = space_of(Conv2d(4, made[1].map(lambda v: 2 * v - 1))(Conv2d(4, made[0].map(lambda v: 2 * v - 1))(image())))
    small = space.restrict({"b": [2]})
    assert [len(options) for options in small.allowed] == [2, 1]
    assert small.size == 2
    stuck = space.restrict({"a": [1]})
    assert stuck.size == 1
    only = stuck.sample(np.random.default_rng(0))
    assert stuck.mutate(only, np.random.default_rng(0)) == only
    with pytest.raises(SpaceError, match="leaves no option to choice 'a'"):
        space.restrict({"a": [1], "b": [2, 3]})


def test_a_choice_is_asked_only_where_its_condition_holds():
    big = choice(False, True, name="big")
    extra = choice(1, 3, 5, name="extra", when=when(big, bool))
    space = space_of(Conv2d(big.map(lambda yes: 8 if yes else 4), extra)(image()))
    assert space.size == 1 + 3
    small = space.architecture({"big": False})
    assert small.decisions[names(space).index("extra")] == -1
    assert [n.op.kernel for n in space.lower(small).nodes if isinstance(n.op, Conv2d)] == [1]
    with pytest.raises(ArchitectureError, match="'extra' was given 5; expected none, for it is inactive"):
        space.validated(space.from_decisions([0, 2]))
    with pytest.raises(ArchitectureError, match="choice 'extra' was given no option"):
        space.architecture({"big": True})


def test_a_condition_on_an_inactive_choice_does_not_hold():
    outer = choice(0, 1, name="outer")
    inner = choice(0, 1, name="inner", when=when(outer, bool))
    last = choice(1, 3, name="last", when=when(inner, lambda v: v == 0))
    x = Conv2d(inner.map(lambda v: v + 3), outer.map(lambda v: 2 * v + 1))(image())
    space = space_of(Conv2d(3, last)(x))
    assert space.size == 1 + (2 + 1)


def test_a_condition_may_read_several_choices():
    a, b = choice(0, 1, name="a"), choice(0, 1, name="b")
    both = combine(lambda x, y: (x, y), a, b)
    c = choice(1, 3, name="c", when=when(both, lambda pair: pair == (1, 1)))
    space = space_of(Conv2d(3, c)(Conv2d(a.map(lambda v: v + 3), b.map(lambda v: 2 * v + 1))(image())))
    assert space.size == 3 + 2


# Several inputs and outputs


def test_several_inputs_and_outputs_keep_their_names():
    left, right = Input(3, 8, 8, name="left"), Input(1, 8, 8, name="right")
    x = Add()(Conv2d(4, 3)(left), Conv2d(4, choice(1, 3, name="k"))(right))
    pooled = GlobalPool()(x)
    space = SearchSpace({"a": Linear(2)(pooled), "b": [Linear(3)(pooled), Linear(3)(pooled)]})
    lowered = space.lower(space.architecture({"k": 3}))
    assert space.input_shapes == lowered.input_shapes == {"left": (3, 8, 8), "right": (1, 8, 8)}
    assert {name: len(heads) for name, heads in lowered.outputs.items()} == {"a": 1, "b": 2}


# A custom operator is one dataclass


@dataclass(frozen=True)
class Widen(Operator):
    """Repeats every channel."""

    times: Any = 2
    layer: ClassVar[str | None] = "nowhere:Nothing"

    def shape(self, inputs):
        return TensorType((inputs[0].channels * self.times, *inputs[0].spatial))


def test_a_custom_operator_is_one_dataclass_and_its_layer_is_not_imported():
    space = space_of(Widen(choice(1, 2, 3, name="times"))(image()))
    assert [space.params(a) for a in space.enumerate()] == [2 * 3 * t + 2 for t in (1, 2, 3)]
    assert space.lower(space.architecture({"times": 3})).nodes[1].key == "widen-i3x8x8-times3"


def test_an_operator_without_shape_or_expansion_is_refused():
    with pytest.raises(SpaceError, match="operator Empty defines neither 'shape' nor 'expand'"):
        type("Empty", (Operator,), {})


# Size


def test_sizes_are_exact_and_never_enumerate():
    def stage(x):
        def inner(x, i):
            return Conv2d(3, choice(1, 3, 5, 7))(repeat(lambda y, j: MBConv(3, choice(3, 5))(y), x, depth=choice(1, 2)))

        return repeat(inner, x, depth=choice(*range(1, 9)))

    x = image()
    for _ in range(4):
        x = stage(x)
    space = space_of(x)
    start = time.perf_counter()
    assert space.size == sum((4 * (2 + 4)) ** depth for depth in range(1, 9)) ** 4
    assert space.size > 10**40
    assert time.perf_counter() - start < 1.0


def test_a_space_without_choices_holds_one_architecture():
    space = space_of(Conv2d(4, 3)(image()))
    rng = np.random.default_rng(0)
    only = space.sample(rng)
    assert space.size == 1
    assert space.mutate(only, rng) == space.crossover(only, only, rng) == space.repair([], rng) == only
    assert list(space.neighbours(only)) == []
    assert space.sample_batch(3, rng).shape == space.mutate_batch(space.sample_batch(3, rng), rng).shape == (3, 0)
    assert space.one_hot([only]).shape == (1, 0)


@pytest.mark.parametrize(("law", "expected"), [("choices", 1 / 3), ("architectures", 81 / 117)])
def test_the_two_laws_differ_widely_in_depth(law, expected):
    depth = choice(2, 3, 4, name="depth")
    space = space_of(repeat(lambda x, i: Conv2d(3, choice(1, 3, 5))(x), image(), depth=depth), sampling=law)
    assert space.size == 9 + 27 + 81
    rng = np.random.default_rng(0)
    draws = 3000
    deepest = sum(space.describe(space.sample(rng))["depth"] == "4" for _ in range(draws))
    assert abs(deepest / draws - expected) < 4 * (expected * (1 - expected) / draws) ** 0.5
