"""The analytic model of GPUs: bounds that physics sets, and what is assumed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from nasforge.errors import UsageError
from nasforge.hardware import roofline
from nasforge.ops import Conv, MBConv
from nasforge.registry import load
from nasforge.run.artifact import find_architecture
from nasforge.space import TensorType

CARDS = sorted(roofline.CARDS)


def case(channels, size, out, kernel):
    return Conv(out, kernel), (TensorType((channels, size, size)),)


operators = some.builds(
    case, some.integers(1, 256), some.integers(4, 64), some.integers(1, 256), some.sampled_from([1, 3, 5])
)


@given(operators, some.sampled_from(CARDS), some.integers(1, 128))
def test_nothing_is_faster_than_the_peak_or_the_bandwidth(pair, name, batch):
    op, types = pair
    card = roofline.card(name)
    found = roofline.node_ms(card, op, types, batch)
    assert found * 1e-3 * card.tflops * 1e12 >= 2 * op.macs(types) * batch
    moved = 4 * batch * (types[0].size + op.shape(types).size)
    assert found * 1e-3 * card.bandwidth_gbs * 1e9 >= moved


@given(operators, some.sampled_from(CARDS), some.integers(1, 64))
def test_latency_grows_with_the_batch_but_never_faster_than_it(pair, name, batch):
    op, types = pair
    card = roofline.card(name)
    one, more = roofline.node_ms(card, op, types, batch), roofline.node_ms(card, op, types, 2 * batch)
    assert one < more <= 2 * one


@given(operators, some.sampled_from(CARDS))
def test_layer_by_layer_is_slower_than_fused_by_one_kernel_for_each_layer(pair, name):
    op, types = pair
    card = roofline.card(name)
    fused, apart = roofline.node_ms(card, op, types), roofline.node_ms(card, op, types, fused=False)
    assert apart - fused >= 2 * roofline.LAUNCH_MS  # BatchNorm and activation


def test_a_faster_card_is_never_slower():
    slow, fast = roofline.Card("slow", 5.0, 300.0), roofline.Card("fast", 10.0, 600.0)
    types = (TensorType((32, 28, 28)),)
    for op in (Conv(64, 3), MBConv(32, 5, 6), Conv(8, 1)):
        assert roofline.node_ms(fast, op, types) < roofline.node_ms(slow, op, types)


def test_the_model_by_hand():
    card = roofline.Card("unit", tflops=1.0, bandwidth_gbs=1e9)
    op, types = Conv(8, 1), (TensorType((4, 2, 2)),)
    arithmetic = 2 * (4 * 8 * 4) * 3 / (1e9 * roofline.DENSE_EFFICIENCY)
    assert roofline.node_ms(card, op, types, 3) == pytest.approx(roofline.LAUNCH_MS + arithmetic)


def test_unknown_cards_name_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'rtx2080ti'"):
        roofline.card("rtx2080")


@pytest.mark.plugins
def test_the_network_found_for_the_gpu_is_faster_there_than_the_one_found_for_the_cpu():
    """ProxylessNAS, table 4: 5.1 ms against 7.4 ms on a V100 at batch 8."""
    target = load("targets", "gpu")(batch=8)
    latency = {}
    for name in ("proxyless-gpu", "proxyless-cpu"):
        artifact = find_architecture(name)
        latency[name] = target.predictor(artifact.space).cost(artifact.architecture)
    assert latency["proxyless-gpu"] < 0.9 * latency["proxyless-cpu"]
    assert np.isfinite(list(latency.values())).all()
