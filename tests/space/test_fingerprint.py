"""The fingerprint covers the decisions a space offers, and nothing of the network's size."""

import pytest

from nasforge.ops import Conv2d, GlobalPool, Linear
from nasforge.space import (
    Input,
    SearchSpace,
    chain,
    choice,
    repeat,
    when,
)


def space_of(x, **options):
    return SearchSpace({"logits": Linear(2)(GlobalPool()(x))}, **options)


def image(size=8):
    return Input(3, size, size)


def names(space):
    return [read.name for read in space.choices]


def stack(size=16, classes=2, width=8, repeats=2, kernels=(1, 3), law="choices"):
    kernel = choice(*kernels, name="kernel")
    x = repeat(lambda x, i: Conv2d(width, kernel)(x), image(size), depth=repeats)
    return SearchSpace({"logits": Linear(classes)(GlobalPool()(x))}, name="stack", sampling=law)


@pytest.mark.parametrize(
    "change", [{"size": 32}, {"classes": 7}, {"width": 24}, {"repeats": 5}, {"law": "architectures"}]
)
def test_the_fingerprint_does_not_see_sizes_classes_widths_and_repeats(change):
    small, large = stack(), stack(**change)
    architecture = small.architecture({"kernel": 3})
    assert large.fingerprint == small.fingerprint
    assert large.validated(architecture) == architecture
    assert large.from_json(small.to_json(architecture)) == architecture


@pytest.mark.parametrize("kernels", [(1, 5), (3, 1), (1, 3, 5), (1,)])
def test_the_fingerprint_changes_with_the_options_offered(kernels):
    assert stack(kernels=kernels).fingerprint != stack().fingerprint


def test_the_fingerprint_sees_names_conditions_and_relations():
    def made(name="a", condition=False, allowed=None):
        first = choice(1, 3, name=name)
        second = choice(1, 3, name="b", when=when(first, lambda v: v == 1) if condition else None)
        if allowed:
            first, second = chain(2, (1, 3), allowed, names=[name, "b"])
        return space_of(Conv2d(3, second)(Conv2d(3, first)(image()))).fingerprint

    found = [
        made(),
        made("c"),
        made(condition=True),
        made(allowed=lambda a, b: b <= a),
        made(allowed=lambda a, b: b >= a),
    ]
    assert len(set(found)) == len(found)
    assert made() == made()
