"""The model of a card's kernels: bounds that it must keep whatever its coefficients are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from nasforge.hardware import roofline
from nasforge.hardware.kernel_fit import networks_of
from nasforge.hardware.kernel_model import KINDS, KernelModel, kernel_kind, make_model, work_of
from nasforge.ops import Activation, Add, BatchNorm, Conv, Conv2d, GlobalPool, LayerNorm, Linear, MBConv, Pool
from nasforge.space import Input, SearchSpace, TensorType, choice

CARD = roofline.card("gtx1080ti")
shares = some.floats(0.05, 1.0)
models = some.builds(
    lambda launch, arithmetic, memory, call, half, sharpness: KernelModel(
        CARD,
        dict(zip(KINDS, launch, strict=True)),
        dict(zip(KINDS, arithmetic, strict=True)),
        dict(zip(KINDS, memory, strict=True)),
        call,
        half,
        sharpness,
    ),
    some.lists(some.floats(1e-3, 1.0), min_size=len(KINDS), max_size=len(KINDS)),
    some.lists(shares, min_size=len(KINDS), max_size=len(KINDS)),
    some.lists(shares, min_size=len(KINDS), max_size=len(KINDS)),
    some.floats(0.01, 5.0),
    some.floats(1.0, 1e5),
    some.floats(1.0, 32.0),
)
operators = some.builds(
    lambda op, channels, size: (op, (TensorType((channels, size, size)),)),
    some.sampled_from(
        [Conv(24, 3), Conv(64, 1, order="act-conv-bn"), MBConv(32, 5, 6), MBConv(16, 3, 1, se=0.25), Pool("avg", 3),
         Conv2d(8, 1, groups=2), GlobalPool(), BatchNorm(), LayerNorm()],
    ),
    some.sampled_from([4, 16, 96]),
    some.integers(2, 40),
)  # fmt: skip


def flat(**changes):
    table = dict.fromkeys(KINDS, 1.0)
    given = {"launch_ms": table, "arithmetic": table, "memory": table, "call_ms": 1.0, "half_outputs": 1.0}
    return make_model(CARD, {**given, "sharpness": 2.0, **changes})


@given(models, operators, some.integers(1, 512))
def test_latencies_are_positive_and_never_fall_with_the_batch(model, pair, batch):
    op, types = pair
    one, more = model.node_ms(op, types, batch), model.node_ms(op, types, batch + 1)
    assert 0.0 < one <= more * (1 + 1e-12)
    assert more < 2 * one * (1 + 1e-9)  # two images cost at most twice one


@given(models, operators, some.integers(1, 512))
def test_a_node_takes_at_least_its_dispatch_its_arithmetic_and_its_memory_traffic(model, pair, batch):
    op, types = pair
    found = model.node_ms(op, types, batch)
    parts = [(leaf, given) for leaf, given in op.primitives(types) if given]
    launches = sum(model.launch_ms[kernel_kind(leaf, given)] for leaf, given in parts)
    operations = 2.0 * op.macs(types) * batch
    moved = sum(4.0 * batch * (leaf.shape(given).size + sum(each.size for each in given)) for leaf, given in parts)
    assert found >= launches * (1 - 1e-9)
    assert found >= operations / (CARD.tflops * 1e9) * (1 - 1e-9)
    assert found >= moved / (CARD.bandwidth_gbs * 1e6) * (1 - 1e-9)


@given(models, operators, some.integers(1, 512), some.floats(1.0, 3.0))
def test_a_slower_host_never_makes_it_faster_and_a_faster_card_never_slower(model, pair, batch, factor):
    op, types = pair
    now = model.node_ms(op, types, batch)
    assert now <= model.node_ms(op, types, batch, factor) * (1 + 1e-12)
    better = dataclasses.replace(model.card, tflops=factor * CARD.tflops, bandwidth_gbs=factor * CARD.bandwidth_gbs)
    assert dataclasses.replace(model, card=better).node_ms(op, types, batch) <= now * (1 + 1e-12)


@settings(max_examples=15)
@given(models, some.sampled_from([1, 7, 64]))
def test_a_network_is_its_call_plus_the_sum_of_its_nodes(model, batch):
    x = Conv(choice(8, 16, name="width"), 3)(Input(3, 12, 12))
    space = SearchSpace({"y": Linear(3)(GlobalPool()(MBConv(12, choice(3, 5, name="kernel"), 3)(x)))}, name="four")
    architectures = list(space.enumerate())
    lowered = [space.lower(each) for each in architectures]
    sums = [sum(model.node_ms(node.op, node.input_types, batch) for node in each.nodes) for each in lowered]
    together = networks_of(lowered).latency_ms(model, batch)
    np.testing.assert_allclose(together, model.call_ms + np.asarray(sums), rtol=1e-12)
    cost = space.additive("ms", lambda op, types: model.node_ms(op, types, batch))
    np.testing.assert_allclose(cost.batch(space.integers(architectures)), sums, rtol=1e-12)


def test_the_model_by_hand():
    types = (TensorType((4, 2, 2)),)  # 1x1 to 8 channels, batch 3: 128 MACs, 16 + 32 elements, 32 weights
    model = flat(launch_ms=dict.fromkeys(KINDS, 1e-9), half_outputs=64.0)
    arithmetic = 2 * 128 * (3 + 64 / 32) / (CARD.tflops * 1e9)
    memory = 4 * (3 * 48 + 32) / (CARD.bandwidth_gbs * 1e6)
    assert model.node_ms(Conv2d(8, 1), types, 3) == pytest.approx(np.hypot(arithmetic, memory), rel=1e-6)
    assert flat().node_ms(Conv2d(8, 1), types, 3) == pytest.approx(1.0, rel=1e-6)
    assert flat().node_ms(Conv2d(8, 1), ()) == 0.0


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        (Conv2d(8, 3), "dense"), (Conv2d(8, 1), "pointwise"), (Conv2d(8, 3, groups=2), "grouped"),
        (Conv2d(8, 3, depthwise=True), "depthwise"), (Conv2d(4, 7, groups=4), "depthwise_large"),
        (BatchNorm(), "normalisation"), (Activation("relu"), "activation"), (Add(), "add"), (Pool(), "pool"),
        (GlobalPool(), "pool"), (LayerNorm(), "other"),
    ],
)  # fmt: skip
def test_kinds_of_kernel(op, kind):
    assert kernel_kind(op, (TensorType((4, 8, 8)),)) == kind


def test_nothing_is_fused_and_shapes_are_those_of_the_leaves():
    work = work_of([(Conv(8, 3), (TensorType((4, 6, 6)),)), (GlobalPool(), (TensorType((8, 6, 6)),))])
    assert [KINDS[kind] for kind in work.kind] == ["dense", "normalisation", "activation", "pool"]
    assert work.node.tolist() == [0, 0, 0, 1]
    assert work.nodes == 2
    assert work.operations.tolist() == [2 * 8 * 36 * 9 * 4, 0, 0, 0]
    assert work.image_bytes.tolist() == [4 * (4 + 8) * 36, 8 * 8 * 36, 8 * 8 * 36, 4 * (8 * 36 + 8)]
    assert work.weight_bytes.tolist() == [4 * 9 * 4 * 8, 4 * 16, 0, 0]


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_coefficients_that_are_not_positive_are_refused(wrong):
    with pytest.raises(ValueError, match="not positive"):
        flat(call_ms=wrong)
    with pytest.raises(ValueError, match="not positive"):
        flat(memory={"other": 1.0, "dense": wrong})


def test_kinds_that_a_file_does_not_hold_are_as_the_others():
    assert flat(memory={"other": 0.25, "dense": 0.5}).memory == {**dict.fromkeys(KINDS, 0.25), "dense": 0.5}
