"""Fitted profiles: the file gives the same predictions, damage is found, another space has a wider error."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nasforge.errors import ProfileError, UsageError
from nasforge.hardware import fitted_profile as fitted
from nasforge.hardware.block_table import spread_networks
from nasforge.hardware.fitted_file import describe_fitted, fitted_names, profile_path
from nasforge.hardware.kernel import network_kernels
from nasforge.hardware.profile import checksum
from nasforge.hardware.whole_network import cross_validate, fit_networks
from nasforge.ops import Conv, GlobalPool, Linear, MBConv
from nasforge.space import Input, SearchSpace, choice


def declare(size: int = 12, kernels: tuple[int, ...] = (3, 5)) -> SearchSpace:
    x = Conv(choice(8, 16, 24, name="stem"), 3)(Input(3, size, size))
    for place in range(3):
        x = MBConv(16, choice(*kernels, name=f"kernel{place}"), choice(1, 3, 6, name=f"expansion{place}"))(x)
    return SearchSpace({"logits": Linear(4)(GlobalPool()(x))}, name="fitted_test")


@pytest.fixture(scope="module")
def profile():
    space = declare()
    architectures = spread_networks(space, 25)
    networks = [network_kernels(space.lower(each)) for each in architectures]
    rng = np.random.default_rng(0)
    truth = [(1.0 + space.macs(each) / 1e5) * rng.normal(1.0, 0.02) for each in architectures]
    fit, found = fit_networks(networks, truth), cross_validate(networks, truth)
    return fitted.FittedProfile("phone", fitted.space_facts(space), fit, found, "2026-01-02T03:04:05")


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("NASFORGE_CACHE", str(tmp_path))
    return tmp_path / "profiles"


def test_a_profile_read_back_predicts_the_same_to_the_bit(profile, folder):
    fitted.write_fitted(profile_path("phone"), profile)
    found, path = fitted.find_fitted("phone")
    assert path == folder / "phone.json"
    assert found.to_json() == profile.to_json()
    rows = declare().sample_batch(200, np.random.default_rng(1))
    before, after = (each.predictor(declare(), "").cost.batch(rows) for each in (profile, found))
    np.testing.assert_array_equal(before, after)
    assert fitted.find_fitted(str(path))[0].to_json() == profile.to_json()
    assert fitted_names() == ["phone"]
    assert describe_fitted(path) == profile.sentence


@pytest.mark.parametrize("part", ["networks", "kernels", "noise", "validation", "name"])
def test_an_edited_profile_does_not_match_its_checksum(profile, tmp_path, part):
    data = profile.to_json()
    data[part] = data[part][:-1] if isinstance(data[part], list | str) else 0.5
    (tmp_path / "p.json").write_text(json.dumps(data))
    with pytest.raises(ProfileError, match="checksum"):
        fitted.read_fitted(tmp_path / "p.json")


def test_of_another_kind_schema_or_torn_it_is_refused_in_a_sentence(profile, tmp_path):
    path = tmp_path / "p.json"
    for changes, words in (({"kind": "blocks"}, "not one fitted"), ({"schema": 9}, "schema 9")):
        path.write_text(json.dumps({**profile.to_json(), **changes}))
        with pytest.raises(ProfileError, match=words):
            fitted.read_fitted(path)
    text = json.dumps(profile.to_json())
    for cut in (0, 1, len(text) // 2, len(text) - 1):
        path.write_text(text[:cut])
        with pytest.raises(ProfileError, match="cannot be read"):
            fitted.read_fitted(path)
        assert "damaged" in describe_fitted(path)
    lacking = {key: value for key, value in profile.to_json().items() if key not in ("noise", "sha256")}
    path.write_text(json.dumps({**lacking, "sha256": checksum(lacking)}))
    with pytest.raises(ProfileError, match="lacks a part"):
        fitted.read_fitted(path)


def test_an_unknown_name_says_the_nearest_and_how_to_make_one(profile, folder):
    fitted.write_fitted(profile_path("phone"), profile)
    with pytest.raises(UsageError, match=r"Did you mean 'phone'\?.*--from-measurements"):
        fitted.find_fitted("fone")
    with pytest.raises(UsageError, match="does not exist"):
        fitted.find_fitted("folder/phone.json")
    with pytest.raises(UsageError, match="letters, digits"):
        profile_path("../phone")


def test_a_folder_that_cannot_be_written_says_what_to_set(profile, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ProfileError, match="NASFORGE_CACHE"):
        fitted.write_fitted(tmp_path / "file" / "p.json", profile)


def test_on_its_own_space_it_states_its_cross_validated_error(profile):
    predictor = profile.predictor(declare(), "phone.json")
    assert predictor.validated == profile.validation
    assert "cross-validated" in predictor.source
    assert "expect errors" not in predictor.source


@pytest.mark.parametrize("other", [declare(48), declare(12, (3, 7))], ids=["larger", "other kernels"])
def test_on_another_space_it_states_a_wider_error_and_claims_none_validated(profile, other):
    predictor = profile.predictor(other, "phone.json")
    assert predictor.validated == {}
    assert predictor.details["expected_relative_error"] > profile.validation["rmspe"]
    assert "not validated" in predictor.source
    error, unknown = profile.foreign_error(other)
    assert unknown == (["depthwise7"] if other.input_shapes["image"] == (3, 12, 12) else [])
    assert error > profile.foreign_error(declare())[0]
    assert all(name in predictor.source for name in unknown)
