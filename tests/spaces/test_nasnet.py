"""The space nasnet: golden counts, size, unused states, stems, and what it refuses."""

import numpy as np
import pytest
from nasforge_spaces.nasnet import NASNET_A, decisions_of, nasnet, nasnet_a, nasnet_a_mobile

from nasforge.build import build_network
from nasforge.errors import SpaceError
from nasforge.ops import GlobalPool
from nasforge.testing.spaces import count


def small(**options):
    return nasnet((3, 12, 12), 4, blocks=2, repeats=1, filters=96, **options)


def test_the_size_counts_five_decisions_a_block():
    assert small().size == ((2 * 3) ** 2 * (13**2 * 2) ** 2) ** 2


@pytest.mark.parametrize("concat", ["unused", "all"])
def test_the_last_cell_puts_out_its_unused_states_or_all_blocks(concat):
    space, rng = small(concat=concat), np.random.default_rng(0)
    for _ in range(10):
        architecture = space.sample(rng)
        said = space.describe(architecture)
        used = {said[f"normal.b{b}.in{side}"] for b in (1, 2) for side in (1, 2)}
        lowered = space.lower(architecture)
        (pool,) = (node for node in lowered.nodes if isinstance(node.op, GlobalPool))
        assert pool.input_types[0].channels == 16 * (4 - len(used) if concat == "unused" else 2)
        assert space.params(architecture) == count(build_network(lowered, seed=0))


@pytest.mark.slow
@pytest.mark.parametrize(("make", "params", "width"), [(nasnet_a, 3_346_538, 768), (nasnet_a_mobile, 5_289_978, 1056)])
def test_the_released_networks_have_the_published_parameters_and_penultimate_width(make, params, width):
    space, architecture = make()
    assert space.params(architecture) == params
    (pool,) = (node for node in space.lower(architecture).nodes if isinstance(node.op, GlobalPool))
    assert pool.input_types[0].channels == width


@pytest.mark.slow
def test_without_the_two_exceptions_the_penultimate_width_is_640():
    space = nasnet()
    lowered = space.lower(space.architecture(decisions_of(NASNET_A)))
    (pool,) = (node for node in lowered.nodes if isinstance(node.op, GlobalPool))
    assert pool.input_types[0].channels == 640


@pytest.mark.parametrize("options", [{"filters": 100}, {"concat": "al"}, {"stem": "cifer"}, {"blocks": 0}])
def test_bad_options_are_refused(options):
    with pytest.raises(SpaceError, match=r"was given|Did you mean"):
        nasnet((3, 12, 12), **options)
