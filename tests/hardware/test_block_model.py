"""Blocks that were not measured are estimated from those that were, with an error that can be believed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nasforge.hardware import block_table as tables
from nasforge.hardware.block_model import LEAST_OF_KIND, TREND_ERROR, BlockModel, block_vector
from nasforge.hardware.profile import Profile
from nasforge.ops import Conv, GlobalPool, Linear, MBConv
from nasforge.space import Input, SearchSpace, choice


def declare():
    x = Conv(choice(8, 16, 24, 32, name="stem"), 3)(Input(3, 16, 16))
    for stage, channels in enumerate((16, 32)):
        width = choice(channels // 2, 3 * channels // 4, channels, name=f"width{stage}")
        kernel, expansion = (
            choice(3, 5, 7, name=f"kernel{stage}"),
            choice(2, 3, 4, name=f"expansion{stage}"),
        )
        x = MBConv(width, kernel, expansion, 2)(x)
    return SearchSpace({"logits": Linear(4)(GlobalPool()(x))}, name="elastic")


@pytest.fixture(scope="module")
def blocks():
    return tables.single_blocks(declare().node_variants())


def device_ms(op, types):
    """A made-up device: not linear in MACs, slow for channels that are no multiple of 16 and for large kernels."""
    hidden = max([types[0].channels, *(leaf.shape(inner).channels for leaf, inner in op.primitives(types) if inner)])
    misaligned = 1.5 if hidden % 16 else 1.0
    return 0.002 + 2e-6 * (op.macs(types) + 1.0) ** 0.8 * misaligned * (1.0 + 0.1 * getattr(op, "kernel", 1))


@pytest.fixture(scope="module")
def parted(blocks):
    """Entries of three in four blocks, and the keys of the others."""
    every = {key: device_ms(*block) for key, block in blocks.items()}
    order = np.random.default_rng(0).permutation(sorted(every))
    known = {key: every[key] for key in order[len(order) // 4 :]}
    return known, every, sorted(set(every) - set(known))


def test_a_device_that_is_not_linear_is_learnt(blocks, parted):
    known, every, others = parted
    others = [key for key in others if type(blocks[key][0]) is MBConv]
    trends = tables.fit_by_kind(declare().node_variants(), known)
    found = BlockModel(blocks, known, trends).estimates(others)
    errors = np.asarray([math.log(found[key].latency_ms / every[key]) for key in others])
    trend = np.asarray([math.log(tables.estimate_ms(trends, *blocks[key]) / every[key]) for key in others])
    assert np.sqrt((errors**2).mean()) < 0.4 * np.sqrt((trend**2).mean())
    assert np.abs(errors).max() < 0.2


def test_the_stated_error_is_wider_far_from_what_was_measured(blocks, parted):
    known, every, _ = parted
    trends = tables.fit_by_kind(declare().node_variants(), known)
    mbconvs = sorted(key for key in known if type(blocks[key][0]) is MBConv)
    small = [key for key in mbconvs if blocks[key][0].kernel == 3]
    large = [key for key in mbconvs if blocks[key][0].kernel == 7]
    model = BlockModel(blocks, {key: every[key] for key in small}, trends)
    near, far = (np.mean([each.error for each in model.estimates(keys).values()]) for keys in (small, large))
    assert far > 2 * near


def test_the_same_estimates_come_from_the_stored_scales(blocks, parted):
    known, _, others = parted
    trends = tables.fit_by_kind(declare().node_variants(), known)
    first = BlockModel(blocks, known, trends)
    again = BlockModel(blocks, known, trends, first.scales)
    assert set(first.scales) == {"MBConv"}
    for key, each in again.estimates(others).items():
        assert each.latency_ms == pytest.approx(first.estimates([key])[key].latency_ms, rel=1e-6)


def test_kinds_with_few_measured_blocks_have_their_trend_and_its_wide_error(blocks, parted):
    known, _, others = parted
    few = dict(sorted(known.items())[: LEAST_OF_KIND - 1])
    trends = tables.fit_by_kind(declare().node_variants(), few)
    model = BlockModel(blocks, few, trends)
    assert model.scales == {}
    for key, each in model.estimates(others).items():
        assert each.latency_ms == tables.estimate_ms(trends, *blocks[key])
        assert each.error == TREND_ERROR


def test_vectors_have_one_length_and_tell_blocks_apart(blocks):
    rows = {key: tuple(block_vector(*block)) for key, block in blocks.items()}
    assert len({len(row) for row in rows.values()}) == 1
    assert len(set(rows.values())) == len(rows)
    assert all(np.isfinite(row).all() for row in map(np.asarray, rows.values()))


def test_the_blocks_to_add_are_missing_ones_that_err_and_are_used(parted):
    known, _, others = parted
    space = declare()
    profile = tables_profile(known, space)
    table = tables.BlockTable(profile, space)
    added = tables.blocks_to_add(table, space, 5)
    assert set(added) < set(others) == set(table.missing)
    assert tables.blocks_to_add(table, space, 10_000) == table.missing
    ms = {key: table.estimates[key].error * table.estimates[key].latency_ms for key in table.missing}
    assert np.mean([ms[key] for key in added]) > np.mean(list(ms.values()))


def tables_profile(entries, space):
    trends = tables.fit_by_kind(space.node_variants(), entries)
    return Profile(
        device={"model": "test"}, device_key="k", runtime={"onnxruntime": "1", "threads": 1}, precision="float32",
        space={}, protocol={}, noise={}, entries=entries, kernels=trends,
        scales=BlockModel(tables.single_blocks(space.node_variants()), entries, trends).scales,
        correction={"offset": 0.0, "per_block": 0.0, "factor": 1.0, "factors": {}}, validation={}, created="2026-01-01",
    )  # fmt: skip
