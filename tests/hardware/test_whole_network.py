"""Kernels learnt from whole networks: they add up, are never negative, and recover a device that is such a sum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.hardware.kernel import kernels_of, network_kernels
from nasforge.hardware.whole_network import (
    compared,
    count_kernels,
    cross_validate,
    fit_lowered,
    fit_networks,
    left_out_guesses,
)
from nasforge.ops import Activation, Conv, GlobalPool, Linear, MBConv, Pool, residual
from nasforge.space import Input, SearchSpace, TensorType, choice, one_of


def declare(size: int = 16) -> SearchSpace:
    x = Conv(16, 3)(Input(3, size, size), name="stem")
    for place, (channels, stride) in enumerate(((16, 1), (24, 2), (24, 1), (40, 2), (40, 1))):
        block = MBConv(
            channels,
            kernel=choice(3, 5, 7, name=f"kernel{place}"),
            expansion=choice(1, 3, 6, name=f"expansion{place}"),
            stride=stride,
        )(x, name=f"block{place}")
        kept = Conv(channels, 1, stride)(x, name=f"conv{place}")
        inner = residual(block, x, name=f"sum{place}") if place in (2, 4) else block
        x = one_of([inner, kept], name=f"place{place}", labels=["mbconv", "conv"])
    x = one_of([Pool("max", 3)(x, name="pooled"), Conv(40, 3)(x, name="mixed")], name="end", labels=["pool", "conv"])
    return SearchSpace({"logits": Linear(7)(GlobalPool()(x))}, name="device_test")


SPACE = declare()
RATES = {"dense": 3e-7, "pointwise": 1e-7, "depthwise": 9e-7, "linear": 2e-7}


def true_ms(kernel) -> float:
    """A device: 5 microseconds a kernel, a rate for each family, a bandwidth."""
    return 0.005 + RATES.get(kernel.family, 0.0) * kernel.macs + 2e-7 * kernel.moved


def device_ms(nodes) -> float:
    return 0.4 + sum(true_ms(kernel) for node in nodes for kernel in node)


def drawn(count: int, seed: int, space: SearchSpace = SPACE):
    rng = np.random.default_rng(seed)
    architectures = [space.sample(rng) for _ in range(count)]
    return architectures, [network_kernels(space.lower(each)) for each in architectures]


@pytest.fixture(scope="module")
def fit():
    _, networks = drawn(40, 1)
    return fit_networks(networks, [device_ms(each) for each in networks])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_latency_is_a_constant_plus_the_sum_over_nodes_of_any_architecture(fit, seed):
    (architecture,), (nodes,) = drawn(1, seed)
    lowered = SPACE.lower(architecture)
    total = fit.offset_ms + sum(fit.node_ms(kernels_of(node.op, node.input_types)) for node in lowered.nodes)
    assert fit.network_ms(nodes) == pytest.approx(total, rel=1e-12)
    cost = fit.cost(SPACE)
    assert cost(architecture) == pytest.approx(total, rel=1e-9)
    assert cost.batch(SPACE.integers([architecture]))[0] == pytest.approx(total, rel=1e-9)


def test_a_space_too_entangled_for_tables_is_walked_and_costs_the_same(fit):
    walked = declare()
    walked.__dict__["_variants"] = None  # what a space finds that is too entangled
    architectures, networks = drawn(10, 11, walked)
    cost = fit.cost(walked)
    assert cost.tables == ()
    assert cost.batch(walked.integers(architectures)) == pytest.approx([fit.network_ms(each) for each in networks])


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    latencies=st.lists(st.floats(0.01, 1e4), min_size=10, max_size=14),
)
def test_whatever_was_measured_no_kernel_is_free_and_no_network_negative(seed, latencies):
    _, networks = drawn(len(latencies), seed)
    found = fit_networks(networks, latencies)
    kernels, _ = count_kernels(networks)
    assert found.offset_ms >= 0.0
    assert all(found.node_ms([kernel]) > 0.0 for kernel in kernels)
    assert np.isfinite(found.cost(SPACE)(SPACE.smallest()))
    assert found.cost(SPACE)(SPACE.smallest()) > 0.0


@settings(max_examples=15, deadline=None)
@given(factor=st.floats(1e-3, 1e3))
def test_the_unit_of_time_does_not_matter(factor):
    _, networks = drawn(15, 3)
    truth = np.asarray([device_ms(each) for each in networks])
    plain, scaled = fit_networks(networks, truth.tolist()), fit_networks(networks, (factor * truth).tolist())
    _, others = drawn(5, 4)
    for nodes in others:
        assert scaled.network_ms(nodes) == pytest.approx(factor * plain.network_ms(nodes), rel=1e-4)


def test_a_device_that_is_a_sum_of_kernels_is_learnt_from_forty_networks(fit):
    _, others = drawn(200, 2)
    truth = np.asarray([device_ms(each) for each in others])
    found = compared(np.asarray([fit.network_ms(each) for each in others]), truth)
    assert found["within_5_percent"] == 1.0
    assert found["spearman"] > 0.995
    assert found["explained_variance"] > 0.99
    macs = np.asarray([sum(kernel.macs for node in each for kernel in node) for each in others], dtype=float)
    assert compared(macs, truth)["spearman"] < found["spearman"] - 0.01


def test_more_networks_make_the_error_smaller():
    _, others = drawn(100, 2)
    truth = np.asarray([device_ms(each) for each in others])
    errors = []
    for count in (10, 40, 120):
        _, networks = drawn(count, 5)
        learnt = fit_networks(networks, [device_ms(each) for each in networks])
        errors.append(compared(np.asarray([learnt.network_ms(each) for each in others]), truth)["rmspe"])
    assert errors[0] > errors[1] > errors[2]


@settings(max_examples=10, deadline=None)
@given(place=st.integers(0, 19), factor=st.floats(1.5, 5.0))
def test_the_latency_of_a_network_has_no_say_in_its_own_cross_validation(place, factor):
    _, networks = drawn(20, 6)
    truth = [device_ms(each) for each in networks]
    changed = [factor * value if number == place else value for number, value in enumerate(truth)]
    before, after = left_out_guesses(networks, truth), left_out_guesses(networks, changed)
    assert after[place] == before[place]
    assert not np.array_equal(after, before)


def test_cross_validation_says_what_other_networks_show():
    rng = np.random.default_rng(7)
    _, networks = drawn(60, 7)
    truth = np.asarray([device_ms(each) for each in networks]) * rng.normal(1.0, 0.05, 60)
    inside = cross_validate(networks, truth.tolist())
    learnt = fit_networks(networks, truth.tolist())
    _, others = drawn(300, 8)
    measured = np.asarray([device_ms(each) for each in others]) * rng.normal(1.0, 0.05, 300)
    outside = compared(np.asarray([learnt.network_ms(each) for each in others]), measured)
    assert inside["rmspe"] == pytest.approx(outside["rmspe"], abs=0.02)
    assert inside["n"] == 60


def test_a_noisy_device_is_taken_for_noisy():
    rng = np.random.default_rng(9)
    _, networks = drawn(60, 9)
    truth = np.asarray([device_ms(each) for each in networks])
    quiet = fit_networks(networks, truth.tolist())
    noisy = fit_networks(networks, (truth * rng.normal(1.0, 0.1, 60)).tolist())
    assert quiet.noise < 0.02 < noisy.noise


def test_the_deviation_is_wider_where_nothing_alike_was_measured(fit):
    _, known = drawn(20, 1)
    _, larger = drawn(20, 1, declare(64))
    assert np.median(fit.deviation(larger)) > 3.0 * np.median(fit.deviation(known))


def test_lowered_networks_and_their_kernels_fit_alike():
    architectures, networks = drawn(12, 10)
    truth = [device_ms(each) for each in networks]
    found = fit_lowered([SPACE.lower(each) for each in architectures], truth)
    assert found.network_ms(networks[0]) == fit_networks(networks, truth).network_ms(networks[0])


def test_equal_latencies_explain_nothing():
    assert compared(np.ones(5), np.ones(5))["explained_variance"] == 0.0


def test_kernels_are_named_by_what_a_runtime_runs():
    image = (TensorType((16, 8, 8)),)
    kinds = [kernel.kind for kernel in kernels_of(MBConv(24, 5, 6, stride=2), image)]
    assert kinds == ["pointwise1", "depthwise5", "pointwise1"]
    assert [kernel.kind for kernel in kernels_of(Conv(24, 3, groups=2), image)] == ["dense3_grouped"]
    assert [kernel.kind for kernel in kernels_of(Pool("max", 3), image)] == ["pool3"]
    assert kernels_of(Activation("relu"), image) == []
    assert [kernel.kind for kernel in kernels_of(Activation("hswish"), image)] == ["activationhswish"]
    (conv,) = kernels_of(Conv(24, 3, 2), image)
    assert (conv.macs, conv.resolution, conv.channels, conv.alignment) == (24 * 16 * 16 * 9, 4, 24, 8)
    assert conv.moved == 4 * (16 * 64 + 24 * 16 + 24 * 16 * 9)
