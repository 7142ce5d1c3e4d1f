"""Wrong declarations and foreign architectures are refused, each with its sentence."""

import numpy as np
import pytest

from nasforge.errors import ArchitectureError, SpaceError
from nasforge.ops import Add, Conv2d, GlobalPool, Identity, Linear, Pool, Zero
from nasforge.space import (
    Input,
    SearchSpace,
    chain,
    choice,
    inputs,
    one_of,
    operator_choice,
    repeat,
    select,
    subset,
    when,
)


def space_of(x, **options):
    return SearchSpace({"logits": Linear(2)(GlobalPool()(x))}, **options)


def image(size=8):
    return Input(3, size, size)


def names(space):
    return [read.name for read in space.choices]


def steered():
    a = choice(0, 1, name="a")
    x = image()
    first = select(a, [x, Conv2d(3, 3)(x)])
    b = choice(1, 3, name="b", when=when(a, bool))
    return space_of(Conv2d(3, b)(first))


def deciding_each_other():
    b = choice(1, 3, name="b")
    a = choice(0, 1, name="a", kind="operator", when=when(b, lambda v: v == 3))
    x = image()
    return space_of(select(a, [Conv2d(3, b)(x), Pool("max")(x)]))


def nested_both_ways():
    a, b = operator_choice(["u", "v"], name="a"), operator_choice(["u", "v"], name="b")
    x = image()
    inner_b = one_of([Identity()(x), Conv2d(3, 3)(x)], by=b)
    outer_a = one_of([Identity()(x), inner_b], by=a)
    inner_a = one_of([Identity()(x), Conv2d(3, 5)(x)], by=a)
    outer_b = one_of([Identity()(x), inner_a], by=b)
    return outer_a, outer_b


def test_a_condition_may_be_decided_by_what_it_steers_from_outside():
    assert steered().size == 1 + 2


def test_choices_that_decide_each_other_only_inside_branches_are_live_from_outside():
    outer_a, outer_b = nested_both_ways()
    assert space_of(Add()(outer_a, outer_b)).size == 4


ERRORS = {
    "no options": (lambda: choice(name="c"), "choice 'c' was given 0 options"),
    "equal labels": (lambda: choice(1, 1, name="c"), "options with equal labels"),
    "labels": (lambda: choice(1, 2, name="c", labels=["x"]), "2 options and 1 labels"),
    "share": (lambda: choice(1, 2, name="c", share="both"), "share='both'; expected 'slice' or 'none'"),
    "kind": (lambda: choice(1, 2, name="c", kind="dept"), "Did you mean 'depth'"),
    "subset": (lambda: subset(2, 3, name="s"), "3 of 2 places"),
    "large subset": (lambda: subset(40, 20, name="s"), "use several choices"),
    "dead chain": (lambda: chain(2, (1, 2), lambda a, b: b < a), "chain option 1 may be followed by none"),
    "chain names": (lambda: chain(2, (1, 2), lambda a, b: True, names=["a"]), "chain of 2 decisions was given 1 names"),
    "inputs": (lambda: inputs(3, [image(), image()], name="i"), "inputs 'i' was asked for 3 of 2 candidates"),
    "no inputs": (lambda: inputs(0, [image()], name="i"), "asked for 0 of 1"),
    "depth": (lambda: repeat(lambda x, i: x, image(), depth=choice(-1, 2)), "whole numbers from 0"),
    "fractional depth": (lambda: repeat(lambda x, i: x, image(), depth=choice(1.5, 2)), "whole numbers from 0"),
    "select": (lambda: select(choice(0, 1, 2), [image(), image()]), "2 candidates and the index 2"),
    "no node": (lambda: Conv2d(4)(3), "Conv2d was applied to 3; expected the node of another operator"),
    "input": (lambda: Input(3, 0, 8), "expected positive sizes"),
    "no output": (lambda: SearchSpace({}), "was given no output"),
    "no head": (lambda: SearchSpace({"logits": []}), "was given no output"),
    "law": (lambda: space_of(image(), sampling="fair"), "sampling law 'fair' is unknown"),
    "node names": (
        lambda: space_of(Conv2d(3)(Conv2d(3)(image(), name="c"), name="c")),
        "node name 'c' was given 2 times",
    ),
    "choice names": (
        lambda: space_of(Conv2d(3, choice(1, 3, name="k"))(Conv2d(3, choice(1, 3, name="k"))(image()))),
        "two choices are named 'k'",
    ),
    "input names": (lambda: space_of(Add()(image(), image())), "node name 'image' was given 2 times"),
    "unread": (
        lambda: space_of(Conv2d(3, choice(1, 3, when=when(choice(0, 1, name="lost"), bool)))(image())),
        "no operator reads choice 'lost'",
    ),
    "activity": (deciding_each_other, "the choices b, a decide each other's activity"),
    "strides": (lambda: space_of(Pool("max", 16, 16)(image())), "the input is too small for the strides"),
    "linear": (lambda: SearchSpace({"logits": Linear(2)(image())}), "put GlobalPool\\(\\) before it"),
    "flat conv": (lambda: space_of(Conv2d(3)(GlobalPool()(image()))), "a convolution was given 3; expected"),
    "groups": (lambda: space_of(Conv2d(4, groups=2)(image())), "of 2 groups was given 3 -> 4 channels"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_wrong_declaration_is_refused_with_its_sentence(name):
    make, sentence = ERRORS[name]
    with pytest.raises(SpaceError, match=sentence):
        make()


def simple():
    return space_of(one_of([Conv2d(3, choice(1, 3, name="kernel"))(x := image()), Zero()(x)], name="op"), name="simple")


def test_architectures_are_refused_with_their_sentence():
    space = simple()
    conv = {"op": space.choices[names(space).index("op")].labels[0], "kernel": 3}
    with pytest.raises(ArchitectureError, match=r"choice 'kernle' is unknown.*Did you mean 'kernel'"):
        space.architecture({**conv, "kernle": 3})
    with pytest.raises(ArchitectureError, match="option of choice 'kernel' '5' is unknown"):
        space.architecture({**conv, "kernel": 5})
    with pytest.raises(ArchitectureError, match="choice 'kernel' was given no option"):
        space.architecture({"op": conv["op"]})
    with pytest.raises(ArchitectureError, match="use the space it was made for"):
        space.validated(steered().sample(np.random.default_rng(0)))
    with pytest.raises(ArchitectureError, match="the data hold no architecture"):
        space.from_json({"decisions": 3})
    data = space.to_json(space.architecture(conv))
    with pytest.raises(ArchitectureError, match="is of space 'simple' \\(0\\), not of 'simple'"):
        space.from_json({**data, "fingerprint": "0"})
    with pytest.raises(ArchitectureError, match="3 decisions were given, space 'simple' has 2 choices"):
        space.repair([0, 0, 0], np.random.default_rng(0))
    with pytest.raises(SpaceError, match="leaves no option to choice 'kernel'"):
        space.restrict({"kernel": []})
    with pytest.raises(ArchitectureError, match="choice 'kernal' is unknown"):
        space.restrict({"kernal": [1]})
    with pytest.raises(SpaceError, match=r"cost 'mac' is unknown.*Did you mean 'macs'"):
        space.cost("mac")


def test_what_restriction_excludes_is_refused_and_what_is_left_serves_unchanged():
    space = simple()
    small = space.restrict({"kernel": ["3"]})
    kept = next(a for a in space.enumerate() if space.describe(a).get("kernel") == "3")
    lost = next(a for a in space.enumerate() if space.describe(a).get("kernel") == "1")
    assert small.contains(kept)
    assert not small.contains(lost)
    with pytest.raises(ArchitectureError, match=r"choice 'kernel' was given 1; expected \['3'\]"):
        small.validated(lost)
    assert small.restrict({"op": [small.choices[names(small).index("op")].labels[0]]}).size == 1
    assert small.size == space.size - 1
