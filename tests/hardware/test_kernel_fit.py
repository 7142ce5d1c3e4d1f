"""Fitting finds the coefficients of a made-up card from the latencies of whole networks, and says how well."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nasforge.errors import ProfileError
from nasforge.hardware import roofline
from nasforge.hardware.kernel_fit import Readings, accuracy, fit_kernel_model, networks_of
from nasforge.hardware.kernel_model import KINDS, make_model
from nasforge.ops import Conv, GlobalPool, Linear, MBConv
from nasforge.space import Input, SearchSpace, TensorType, choice

CARD = roofline.card("rtx2080ti")
BATCHES = (1, 32, 1024)
TRUTH = {
    "launch_ms": {**dict.fromkeys(KINDS, 0.03), "depthwise": 0.08},
    "arithmetic": {**dict.fromkeys(KINDS, 0.3), "dense": 0.7},
    "memory": {**dict.fromkeys(KINDS, 0.5), "depthwise": 0.25},
    "call_ms": 0.8,
    "half_outputs": 2e4,
    "sharpness": 6.0,
}


@pytest.fixture(scope="module")
def space():
    x = Input(3, 32, 32)
    for place, stride in enumerate((1, 2, 2)):
        width = choice(32, 64, 128, name=f"width{place}")
        x = Conv(width, choice(1, 3, name=f"kernel{place}"), stride)(x, name=f"conv{place}")
        x = MBConv(width, 3, choice(1, 3, 6, name=f"expansion{place}"))(x, name=f"block{place}")
    return SearchSpace({"y": Linear(10)(GlobalPool()(x))}, name="made_up")


@pytest.fixture(scope="module")
def networks(space):
    rng = np.random.default_rng(0)
    fitted, held_out = (networks_of(space.lower(space.sample(rng)) for _ in range(120)) for _ in range(2))
    return fitted, held_out


def readings_of(networks, model, factors=(1.0, 1.0, 1.0), noise=0.0):
    rng = np.random.default_rng(1)
    return [
        Readings(
            f"batch {batch}",
            networks,
            batch,
            networks.latency_ms(model, batch, factor) * np.exp(noise * rng.standard_normal(len(networks.counts))),
        )
        for batch, factor in zip(BATCHES, factors, strict=True)
    ]


def test_a_made_up_card_is_recovered(networks):
    fitted, held_out = networks
    truth = make_model(CARD, TRUTH)
    found = fit_kernel_model(CARD, readings_of(fitted, truth)).model
    for batch in (*BATCHES, 200):  # and at a batch that was not measured
        error = held_out.latency_ms(found, batch) / held_out.latency_ms(truth, batch) - 1.0
        assert np.abs(error).max() < 0.02
    assert found.arithmetic["dense"] == pytest.approx(0.7, rel=0.1)
    block = MBConv(64, 3, 6), (TensorType((64, 32, 32)),)
    for batch in BATCHES:
        assert found.node_ms(*block, batch) == pytest.approx(truth.node_ms(*block, batch), rel=0.03)
    dispatch = [
        sum(model.launch_ms[kind] for kind in ("dense", "normalisation", "activation")) for model in (found, truth)
    ]
    assert dispatch[0] == pytest.approx(dispatch[1], rel=0.1)


def test_hosts_that_dispatch_slower_are_told_apart_from_the_card(networks):
    fitted, _ = networks
    truth = make_model(CARD, TRUTH)
    found = fit_kernel_model(CARD, readings_of(fitted, truth, factors=(1.0, 1.5, 1.0)))
    factors = found.launch_factors
    assert factors["batch 32"] / factors["batch 1"] == pytest.approx(1.5, rel=0.05)
    assert found.model.arithmetic["dense"] == pytest.approx(0.7, rel=0.1)


def test_the_fit_is_no_worse_than_the_noise(networks):
    fitted, held_out = networks
    truth = make_model(CARD, TRUTH)
    found = fit_kernel_model(CARD, readings_of(fitted, truth, noise=0.02)).model
    for batch in BATCHES:
        error = held_out.latency_ms(found, batch) / held_out.latency_ms(truth, batch) - 1.0
        assert np.sqrt((error**2).mean()) < 0.01


def test_coefficients_that_nothing_speaks_of_stay_at_their_assumption(networks):
    fitted, _ = networks
    found = fit_kernel_model(CARD, readings_of(fitted, make_model(CARD, TRUTH))).model
    assert found.arithmetic["grouped"] == pytest.approx(0.4)
    assert found.memory["other"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda rows: [], "at least one"),
        (lambda rows: [rows[0], rows[0]], "each named once"),
        (lambda rows: [dataclasses.replace(rows[0], latency_ms=rows[0].latency_ms[1:])], "expected one for each"),
        (lambda rows: [dataclasses.replace(rows[0], latency_ms=0.0 * rows[0].latency_ms)], "no number above 0"),
        (lambda rows: [dataclasses.replace(rows[0], latency_ms=np.nan * rows[0].latency_ms)], "no number above 0"),
    ],
)
def test_sittings_that_cannot_be_fitted_are_refused(networks, change, sentence):
    with pytest.raises(ProfileError, match=sentence):
        fit_kernel_model(CARD, change(readings_of(networks[0], make_model(CARD, TRUTH))))


def test_accuracy_tells_rank_and_explained_variance_from_shares_within_ten_percent():
    rng = np.random.default_rng(2)
    measured = 10.0 * (1.0 + 0.03 * rng.standard_normal(500))
    constant = accuracy(np.full(500, measured.mean()) + 1e-6 * rng.standard_normal(500), measured)
    assert constant["within_10_percent"] > 0.99
    assert abs(constant["spearman"]) < 0.15
    assert constant["explained"] == pytest.approx(0.0, abs=0.01)
    assert constant["spread"] == pytest.approx(0.03, rel=0.1)
    perfect = accuracy(measured, measured)
    assert (perfect["explained"], perfect["spearman"], perfect["bias"], perfect["rmspe"]) == pytest.approx((1, 1, 0, 0))
    assert accuracy(1.1 * measured, measured)["bias"] == pytest.approx(0.1)
