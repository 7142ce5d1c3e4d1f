"""Merges, channel slots and shortcuts: checked for every combination when the space is declared."""

import pytest

from nasforge.errors import SpaceError
from nasforge.ops import (
    Activation,
    Add,
    Concat,
    Conv2d,
    GlobalPool,
    Linear,
    Multiply,
    Pool,
    Residual,
    UnusedConcat,
    Zero,
    residual,
)
from nasforge.ops.combine import Shortcut
from nasforge.space import (
    Input,
    SearchSpace,
    choice,
    combine,
    one_of,
    select,
    when,
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
