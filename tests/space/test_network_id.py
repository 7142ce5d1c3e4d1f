"""Two architectures of one network_id compute the same network: names, skips and the order of sums do not matter."""

import pytest

from nasforge.ops import (
    Add,
    Concat,
    Conv,
    Conv2d,
    GlobalPool,
    Identity,
    Linear,
    Pool,
    Quantise,
    Zero,
)
from nasforge.space import (
    Input,
    SearchSpace,
    choice,
    one_of,
    operator_choice,
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
