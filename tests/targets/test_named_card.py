"""`gpu` without a GPU: the fitted profile of a card where one ships, the roofline elsewhere, and which it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from nasforge.errors import ProfileError
from nasforge.hardware import card_profile, roofline
from nasforge.hardware.card_profile import shipped_profile
from nasforge.targets.torch_cuda import TorchCuda


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("batch", [1, 32])
def test_a_fitted_card_is_predicted_by_its_profile_and_says_so(make_space, batch):
    space, heard = make_space(), []
    predictor = TorchCuda(card="gtx1080ti", batch=batch).predictor(space, lambda *done: heard.append(done))
    profile = shipped_profile("gtx1080ti")
    for architecture in space.enumerate():
        nodes = space.lower(architecture).nodes
        expected = profile.model.call_ms + sum(profile.model.node_ms(n.op, n.input_types, batch) for n in nodes)
        assert predictor.cost(architecture) == pytest.approx(expected, rel=1e-12)
    rows = [row for row in profile.validation if row["batch"] == batch]
    assert predictor.profile == "gpu-gtx1080ti.json"
    assert f"fitted to published measurements, at batch {batch}, PyTorch" in predictor.source
    assert all(f"{row['table']} Spearman {row['as_shipped']['spearman']:.3f}" in predictor.source for row in rows)
    assert predictor.validated["spearman"] == min(row["as_shipped"]["spearman"] for row in rows)
    assert predictor.validated["rmspe"] == max(row["as_shipped"]["rmspe"] for row in rows)
    assert predictor.details["kind"] == "fitted kernel model"
    assert predictor.details["sha256"] == profile.to_json()["sha256"]
    assert json.loads(json.dumps(dict(predictor.details))) == predictor.details
    assert heard[-1] == (1.0, 1.0)


def test_a_batch_that_was_not_validated_is_predicted_by_the_model_and_names_the_nearest(make_space):
    space = make_space()
    costs = [TorchCuda(card="rtx2080ti", batch=batch).predictor(space) for batch in (32, 50, 64)]
    assert "at batch 50 by the model (validated at batch 64)" in costs[1].source
    assert costs[1].details["validated_batch"] == 64
    assert costs[1].validated == costs[2].validated
    rows = space.integers(list(space.enumerate()))
    below, found, above = (each.cost.batch(rows) for each in costs)
    assert np.all(below <= found)
    assert np.all(found <= above)


def test_what_is_fused_is_asked_of_the_roofline(make_space):
    space = make_space()
    fused = TorchCuda(card="gtx1080ti", fused=True).predictor(space)
    assert fused.source.startswith("analytic roofline of NVIDIA GeForce GTX 1080 Ti")
    assert fused.details["fused"] is True
    assert "fitted" in TorchCuda(card="gtx1080ti", fused=False).predictor(space).source


@pytest.mark.parametrize("card", sorted(set(roofline.CARDS) - {"gtx1080ti", "rtx2080ti"}))
def test_other_cards_stay_analytic_and_unvalidated(make_space, card):
    predictor = TorchCuda(card=card).predictor(make_space())
    assert predictor.source.startswith(f"analytic roofline of {roofline.card(card).name} at batch 1")
    assert predictor.validated == {}
    assert predictor.details["kind"] == "analytic roofline"


def test_the_default_card_is_still_the_v100(make_space):
    assert TorchCuda().predictor(make_space()).details["device"] == "NVIDIA Tesla V100 SXM2"


def test_a_damaged_profile_is_refused_rather_than_replaced_by_a_guess(make_space, monkeypatch):
    data = shipped_profile("gtx1080ti").to_json()
    data["coefficients"]["call_ms"] = 0.001
    monkeypatch.setattr(card_profile, "shipped_cards", lambda: {"gtx1080ti": json.dumps(data)})
    with pytest.raises(ProfileError, match="edited or damaged"):
        TorchCuda(card="gtx1080ti").predictor(make_space())
