"""`nats_sss` and `nasbench_macro` as networks: wiring by hand, shapes, presets, what is refused."""

from __future__ import annotations

import pytest
import torch
from nasforge_spaces.nasbench_macro import nasbench_macro
from nasforge_spaces.nats_sss import nats_sss

from nasforge.build import build_network
from nasforge.errors import SpaceError
from nasforge.rng import generator


def sized(space, *channels):
    return space.architecture(dict(zip([each.name for each in space.choices], map(str, channels), strict=True)))


def params_by_hand(widths, classes):
    """Count stem, three cells and two reductions as the benchmark's paper describes them."""

    def conv(read, written, kernel):
        return read * written * kernel * kernel + 2 * written

    stem, first, second, third, last = widths
    total = conv(3, stem, 3)
    total += cell_of(stem, stem)
    for read, halved, written in ((stem, first, second), (second, third, last)):
        total += conv(read, halved, 3) + conv(halved, halved, 3) + read * halved
        total += cell_of(halved, written)
    return total + 2 * last + (last + 1) * classes


def cell_of(read, written):
    """Edges 1<-0 and 2<-0 read the input, 2<-1, 3<-1 and 3<-2 states; 3<-0 is a shortcut."""
    from_input = read * written * 9 + 2 * written
    from_state = written * written * 9 + 2 * written
    shortcut = 0 if read == written else read * written + 2 * written
    return 2 * from_input + 3 * from_state + shortcut


@pytest.mark.parametrize("widths", [(8, 8, 8, 8, 8), (64, 64, 64, 64, 64), (8, 16, 40, 24, 64), (64, 8, 16, 16, 8)])
def test_parameters_of_sizes_are_those_counted_by_hand(widths):
    space = nats_sss(classes=10)
    architecture = sized(space, *widths)
    assert space.params(architecture) == params_by_hand(widths, 10)
    network = build_network(space.lower(architecture), seed=0)
    assert sum(each.numel() for each in network.parameters()) == params_by_hand(widths, 10)


@pytest.mark.parametrize("make", [nats_sss, nasbench_macro])
@pytest.mark.parametrize("size", [8, 16, 32])
def test_networks_of_every_preset_answer(make, size):
    space = make((3, size, size), 5)
    rng = generator(0, "size")
    for architecture in [space.smallest(), space.largest(), space.sample(rng)]:
        network = build_network(space.lower(architecture), seed=0).eval()
        assert network(torch.zeros(2, 3, size, size)).shape == (2, 5)


def test_an_identity_of_macro_is_nothing_but_where_the_image_is_halved():
    space = nasbench_macro()
    names = [each.name for each in space.choices]
    plain = space.architecture(dict.fromkeys(names, "identity"))
    lowered = [node.name for node in space.lower(plain).nodes]
    halving = [name for name in names if any(str(each).startswith(f"{name}.identity") for each in lowered)]
    assert halving == [names[0], names[2], names[5]]


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (nats_sss, {"preset": "ful"}, "full"),
        (nats_sss, {"input_shape": (3, 2, 2)}, "at least 4"),
        *((nats_sss, {"input_shape": (3, side, 8)}, f"given {side} x 8 pixels; resize") for side in (7, 30, 33)),
        (nats_sss, {"input_shape": (3, 8, 7)}, "multiple of 4"),
        (nats_sss, {"width": 0.05}, "larger"),
        (nasbench_macro, {"preset": "smal"}, "small"),
        (nasbench_macro, {"input_shape": (3, 4, 4), "preset": "full"}, "1/8"),
    ],
)
def test_what_cannot_be_declared_is_refused(make, options, said):
    with pytest.raises(SpaceError, match=said):
        make(**options)
