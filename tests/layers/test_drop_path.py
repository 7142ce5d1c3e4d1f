"""ScheduledDropPath (N-4): the formula, masks of whole images, expectation, and that evaluation drops nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.build import build_network
from nasforge.errors import SpaceError
from nasforge.layers.drop_path import DropPath as Dropped
from nasforge.layers.drop_path import drop_path, schedule_drop_path
from nasforge.ops import Conv, DropPath, GlobalPool, Linear, drop_chance
from nasforge.space import Input, SearchSpace

SHARES = st.floats(0.05, 1.0)
PROGRESS = st.floats(0.0, 1.0)
PLACES = st.integers(1, 30).flatmap(lambda count: st.tuples(st.integers(0, count - 1), st.just(count)))


def keep(place, places, final, progress, ramp="both"):
    return 1 - drop_chance((place + 1) / places, progress, final, ramp)


@given(PLACES, SHARES, PROGRESS)
def test_keep_follows_the_published_formula(where, final, progress):
    place, places = where
    expected = 1 - progress * (place + 1) / places * (1 - final)
    assert keep(place, places, final, progress) == pytest.approx(expected, abs=1e-12)
    assert keep(place, places, final, 0.0) == 1.0
    assert keep(places - 1, places, final, 1.0) == pytest.approx(final, abs=1e-12)


@given(PLACES, SHARES, PROGRESS, PROGRESS)
def test_keep_falls_with_time_and_depth(where, final, first, second):
    place, places = where
    early, late = sorted((first, second))
    assert keep(place, places, final, late) <= keep(place, places, final, early)
    if place:
        assert keep(place, places, final, late) <= keep(place - 1, places, final, late)


@given(PLACES, SHARES, PROGRESS)
def test_one_ramp_is_blind_to_what_the_other_sees(where, final, progress):
    place, places = where
    assert keep(place, places, final, progress, "time") == keep(0, 1, final, progress)
    assert keep(place, places, final, progress, "depth") == keep(place, places, final, 1.0)


@given(st.floats(0.1, 0.99), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_whole_images_are_dropped_and_the_mean_is_the_input(share, seed):
    torch.manual_seed(seed)
    x = torch.rand(4000, 2, 2) + 0.5
    y = drop_path(x, 1 - share)
    kept = y.reshape(len(x), -1) != 0
    assert torch.equal(kept.all(dim=1), kept.any(dim=1))  # by image: not by pixel, not by batch
    torch.testing.assert_close(y[kept[:, 0]], x[kept[:, 0]] / share)
    sigma = ((1 - share) / share / len(x)) ** 0.5
    mask = kept[:, 0].float() / share
    assert abs(float(mask.mean()) - 1) < 5 * sigma


def marked(first, second):
    node = DropPath(first)(Conv(4)(Input(3, 4, 4)))
    node = DropPath(second)(Conv(4)(node))
    return SearchSpace({"logits": Linear(2)(GlobalPool()(node))})


def paths_of(network):
    return [module for module in network.modules() if isinstance(module, Dropped)]


def test_training_sets_the_chance_of_every_marked_path_and_nothing_is_dropped_before():
    space = marked(0.5, 1.0)
    network = build_network(space.lower(space.architecture({})), seed=0)
    drops = paths_of(network)
    assert [(module.depth, module.chance) for module in drops] == [(0.5, 0.0), (1.0, 0.0)]
    schedule_drop_path(network, 0.5, 0.6)
    assert [module.chance for module in drops] == pytest.approx([0.1, 0.2])
    assert not [name for name in network.state_dict() if "paths" in name]


def test_only_training_drops():
    space = marked(1.0, 1.0)
    network = build_network(space.lower(space.architecture({})), seed=0)
    x = torch.randn(64, 3, 4, 4)
    schedule_drop_path(network, 1.0, 0.5)
    dropped = (network(x) == list(network.layers.values())[-1].bias).all(dim=1)  # nothing but the bias is left
    before = network.eval()(x)
    schedule_drop_path(network, 0.0, 0.5)
    assert torch.equal(network(x), before)
    assert dropped.any()
    assert not dropped.all()


def test_a_mark_changes_no_identity_cost_or_key_and_depth_0_is_no_mark():
    spaces = [marked(*depths) for depths in ((0.0, 0.0), (0.5, 1.0))]
    plain, other = (space.lower(space.architecture({})) for space in spaces)
    assert plain.network_id == other.network_id
    assert [node.key for node in plain.nodes] == [node.key for node in other.nodes]
    assert spaces[0].fingerprint == spaces[1].fingerprint
    assert not paths_of(build_network(plain, seed=0))


def test_bad_depths_and_schedules_are_refused():
    with pytest.raises(SpaceError, match="depth"):
        marked(1.0, 1.5)
    for final, ramp in ((0.0, "time"), (1.5, "time"), (0.5, "tiem")):
        with pytest.raises(SpaceError, match=r"drop.path"):
            drop_chance(1.0, 1.0, final, ramp)
