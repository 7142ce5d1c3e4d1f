"""The block table: sums, estimates, and the correction fitted on whole networks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nasforge.hardware import block_table as tables
from nasforge.hardware.profile import Profile
from nasforge.ops import Add, Conv, GlobalPool, Linear, Pool, Zero
from nasforge.space import Input, SearchSpace, choice, one_of


def declare():
    x = Conv(choice(8, 16, 32, name="width"), choice(1, 3, 5, name="kernel"))(Input(3, 8, 8), name="stem")
    x = one_of([Pool("max", 3)(x), Conv(16, 3)(x)], name="middle", labels=["pool", "conv"])
    x = Conv(choice(8, 24, 48, 64, name="mix"), 1)(x, name="last")
    return SearchSpace({"logits": Linear(3)(GlobalPool()(x))}, name="small")


@pytest.fixture
def space():
    return declare()


def profile_of(space, entries=None, correction=None):
    blocks = space.node_variants()
    truth = {key: 0.01 + 1e-6 * blocks[key].total("macs") for key in blocks}
    entries = truth if entries is None else entries
    return Profile(
        device={"model": "test"}, device_key="k", runtime={"onnxruntime": "1"}, precision="float32",
        space={}, protocol={}, noise={}, entries=entries, kernels=tables.fit_by_kind(blocks, entries),
        correction=correction or {"offset": 0.0, "per_block": 0.0, "factor": 1.0, "factors": {}},
        validation={}, created="2026-01-01T00:00:00",
    )  # fmt: skip


def test_without_correction_the_prediction_is_the_sum_of_the_blocks(space):
    profile = profile_of(space)
    cost = tables.corrected_cost(profile, space)
    for architecture in space.enumerate():
        nodes = [node for node in space.lower(architecture).nodes if node.input_types]
        assert cost(architecture) == pytest.approx(sum(profile.entries[node.key] for node in nodes), rel=1e-12)


def test_each_kind_of_block_has_its_factor_and_every_block_its_constant(space):
    correction = {"offset": 0.5, "per_block": 0.25, "factor": 3.0, "factors": {"Conv3": 2.0}}
    profile = profile_of(space, correction=correction)
    cost = tables.corrected_cost(profile, space)
    for architecture in space.enumerate():
        nodes = [node for node in space.lower(architecture).nodes if node.input_types]
        factors = [2.0 if getattr(n.op, "kernel", 0) == 3 and isinstance(n.op, Conv) else 3.0 for n in nodes]
        expected = 0.5 + sum(0.25 + f * profile.entries[n.key] for f, n in zip(factors, nodes, strict=True))
        assert cost(architecture) == pytest.approx(expected, rel=1e-12)


def test_the_fit_recovers_factors_that_differ_by_kind(space):
    profile = profile_of(space)
    architectures = list(space.enumerate())
    truth_of = {"Conv3": 0.5, "Conv5": 0.8, "Conv1": 1.5, "Pool3": 6.0}
    lowered = [space.lower(architecture) for architecture in architectures]
    truth = []
    for graph in lowered:
        _, sums = tables.BlockTable(profile, space).features(graph)
        truth.append(sum(truth_of.get(group, 1.0) * value for group, value in sums.items()))
    fitted = dataclasses.replace(
        profile, correction=tables.fit_correction(tables.BlockTable(profile, space), lowered[::3], truth[::3])
    )
    cost = tables.corrected_cost(fitted, space)
    relative = np.asarray([cost(a) for a in architectures]) / truth - 1.0
    assert np.abs(relative).max() < 0.08  # priors hold a little
    plain = tables.corrected_cost(profile, space)
    assert np.abs(np.asarray([plain(a) for a in architectures]) / truth - 1.0).max() > 0.2


def test_with_no_networks_the_table_stays_as_it_is(space):
    correction = tables.fit_correction(tables.BlockTable(profile_of(space), space), [], [])
    assert correction == {"offset": 0.0, "per_block": 0.0, "factor": 1.0, "factors": {}}


def test_one_network_moves_the_factor_without_making_others_absurd(space):
    profile = profile_of(space)
    graph = space.lower(space.largest())
    table = tables.BlockTable(profile, space)
    total = sum(table.features(graph)[1].values())
    correction = tables.fit_correction(table, [graph], [2.0 * total])
    fitted = dataclasses.replace(profile, correction=correction)
    assert tables.corrected_cost(fitted, space)(space.largest()) == pytest.approx(2.0 * total, rel=0.05)
    assert all(0.3 < factor < 4.0 for factor in correction["factors"].values())


def test_no_prediction_is_negative_whatever_the_correction_says(space):
    correction = {"offset": -10.0, "per_block": -5.0, "factor": 1.0, "factors": {}}
    cost = tables.corrected_cost(profile_of(space, correction=correction), space)
    assert all(cost(architecture) >= 0.0 for architecture in space.enumerate())


def test_missing_blocks_are_estimated_near_their_true_cost(space):
    full = profile_of(space)
    keys = sorted(full.entries)
    kept = {key: full.entries[key] for number, key in enumerate(keys) if number % 4}
    partial = profile_of(space, entries=kept)
    whole, guess = tables.corrected_cost(full, space), tables.corrected_cost(partial, space)
    ratios = np.asarray([guess(a) / whole(a) for a in space.enumerate()])
    assert (np.abs(ratios - 1.0) < 0.25).all()
    predictor = tables.predictor_from(partial, space, "file")
    assert predictor.details["estimated_keys"] == len(keys) - len(kept) > 0
    assert f"{len(keys) - len(kept)} of {len(keys)} blocks estimated" in predictor.source


def test_the_source_says_that_the_host_was_noisy_and_the_held_out_error(space):
    validation = {
        "n": 12.0, "within_5_percent": 0.5, "within_10_percent": 0.75, "rmspe": 0.1, "spearman": 0.9
    }  # fmt: skip
    profile = dataclasses.replace(profile_of(space), noise={"sentence": "host too noisy"}, validation=validation)
    source = tables.predictor_from(profile, space, "file").source
    assert "75% of 12 held-out networks within 10 %" in source
    assert "host too noisy" in source


def test_blocks_to_measure_are_all_or_the_ones_that_networks_run(space):
    blocks = space.node_variants()
    assert tables.blocks_to_measure(space, blocks, len(blocks)) == sorted(blocks)
    chosen = tables.blocks_to_measure(space, blocks, 8)
    assert set(chosen) < set(blocks)
    assert chosen == tables.blocks_to_measure(declare(), declare().node_variants(), 8)
    kinds = {type(blocks[key].nodes[-1].op).__name__ for key in chosen}
    assert {"Conv", "Pool", "GlobalPool", "Linear"} <= kinds


def test_spread_networks_differ_and_reach_from_small_to_large(space):
    found = tables.spread_networks(space, 6)
    assert len(set(found)) == 6
    macs = sorted(space.macs(architecture) for architecture in found)
    every = sorted(space.macs(architecture) for architecture in space.enumerate())
    assert macs[0] <= every[len(every) // 10]
    assert macs[-1] >= every[-len(every) // 10]
    assert found == tables.spread_networks(declare(), 6)


@pytest.mark.parametrize(("networks", "fitted"), [(32, 20), (12, 6), (3, 2), (1, 1), (0, 0)])
def test_at_most_half_is_held_out(networks, fitted):
    assert tables.fitted_of(networks, 20, 12) == fitted


def test_networks_to_measure_depend_on_the_image():
    image = Input(3, 8, 8)
    x = Add()(*(one_of([Zero()(image), Conv(3, 3)(image, name=f"c{i}")], name=f"edge{i}") for i in range(4)))
    space = SearchSpace({"logits": Linear(3)(GlobalPool()(x))}, name="zeros")
    found = tables.spread_networks(space, 12)
    assert len(found) == len(set(found)) == 12
    assert all(any(each.decisions) for each in found)


def test_held_out_networks_are_compared_at_equal_speed_and_as_they_were_read(space):
    profile = profile_of(space)
    cost = tables.corrected_cost(profile, space)
    held = tables.spread_networks(space, 9)
    found = tables.validated(profile, space, held, [1.25 * cost(each) for each in held], speed=1.25)
    assert found.validation["rmspe"] == pytest.approx(0.0, abs=1e-9)
    assert found.validation["within_5_percent"] == 1.0
    assert found.validation["rmspe_as_read"] == pytest.approx(0.2)
    assert found.validation["within_10_percent_as_read"] == 0.0
    assert [each["measured_ms"] for each in found.held_out] == pytest.approx([cost(each) for each in held])


def test_repeats_and_constants_are_left_out_of_sums_and_of_fits():
    image = Conv(4, 3)(Input(3, 8, 8), name="stem")
    edges = [one_of([Zero()(image), Pool("avg", 3)(image)], name=f"edge{i}") for i in range(3)]
    space = SearchSpace({"logits": Linear(3)(GlobalPool()(Add()(*edges)))}, name="pools")
    profile = profile_of(space)
    blocks = tables.BlockTable(profile, space)
    lowered = space.lower(space.architecture({f"edge{i}": "avg pool 3x3" if i < 2 else "zero" for i in range(3)}))
    count, sums = blocks.features(lowered)
    assert count == len([node for node in lowered.nodes if node.inputs]) - 1
    assert sum("Pool3" in group for group in sums) == 1
    whole = [space.lower(each) for each in space.enumerate()]
    alone = [sum(blocks.features(each)[1].values()) for each in whole[1:]]
    less = [max(total - 0.004, 1e-4) for total in alone]
    assert tables.fit_correction(blocks, whole[1:], less)["offset"] == 0.0
    assert tables.fit_correction(blocks, whole[1:], [total + 0.004 for total in alone])["offset"] > 0.0005
    blocks.spares = False
    assert tables.fit_correction(blocks, whole[1:], less)["offset"] < -0.0005
